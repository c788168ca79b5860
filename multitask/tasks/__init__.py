"""Tasks: base classes, the kinds of the course and of public corpora, splits, prediction files."""
