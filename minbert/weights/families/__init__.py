"""Families of encoders that are one transformer: a table of names and rules for each. No torch here."""
