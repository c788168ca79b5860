"""Semantic textual similarity: how alike are two sentences, from 0 to 5? Labels stay floats."""

from multitask.tasks.generic import SimilarityTask


class STS(SimilarityTask):
    """Pearson's r is what the course scores; Spearman's is reported beside it."""
