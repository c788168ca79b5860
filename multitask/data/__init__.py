"""Tables in, tokens out: readers of input files, the token store, batches by length, the report on data
files, downloads of the course's files, the bundled corpus. The tasks decide what a column means."""
