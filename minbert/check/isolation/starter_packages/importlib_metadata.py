"""Stands in for a package that the CS224N starter's utils.py imports, where it is not installed."""

from importlib.metadata import *  # noqa: F403
