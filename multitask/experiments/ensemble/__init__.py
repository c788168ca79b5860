"""Several runs as one: averages of their predictions or of their weights."""
