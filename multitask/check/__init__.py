"""Losses and metrics checked against reference outputs: formulas, tables of mistakes, parts for minbert.check."""
