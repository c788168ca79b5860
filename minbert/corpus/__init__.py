"""Corpora: texts in files, read in pieces; their vectors in parts, by one process or many; search in them."""
