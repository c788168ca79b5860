"""Stands in for a package that the CS224N starter imports and uses for downloads alone, which are refused."""
