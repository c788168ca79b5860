"""Tables of experiments: configurations crossed with seeds, each cell computed once, with statistics."""
