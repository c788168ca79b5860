"""Losses and metrics checked with the kit of minbert.check: formulas, tables of mistakes, the two parts."""
