"""Quora question pairs: do two questions ask the same? Labels in the files are 1.0 and 0.0."""

from multitask.tasks.generic import PairTask


class Paraphrase(PairTask):
    """Accuracy at a logit of 0; the files' format is in predictions.py, their columns in config.py."""
