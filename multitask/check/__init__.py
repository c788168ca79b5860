"""Losses and metrics compared with references: what `multitask check` runs, on the kit of minbert.check."""
