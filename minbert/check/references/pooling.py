"""Sentence vectors in fp64: first token, mean and maximum over real tokens, L1 and L2 normalisation.

The mean and the maximum are those of Reimers and Gurevych 2019, section 3.
"""

from typing import Any

import numpy as np

from minbert.check.stage import Array, Arrays

KINDS = ("cls", "mean", "max", "l1", "l2")
LENGTHS = (6, 4, 2, 1)  # of B = 4 sentences in S = 6 columns


def inputs() -> Arrays:
    """hidden (B, S, D), mask (B, S), vectors (B, D); padding is large, the first feature always negative."""
    rng = np.random.default_rng(0)
    mask = (np.arange(6) < np.array(LENGTHS)[:, None]).astype(np.int64)
    hidden = rng.normal(0, 1, (4, 6, 5))
    hidden[..., 0] = -0.5 - np.abs(hidden[..., 0])
    hidden = np.where(mask[..., None] == 1, hidden, rng.uniform(2, 4, hidden.shape))
    vectors = rng.uniform(0.5, 2, (4, 5)) * rng.choice([-1.0, 1.0], (4, 5))
    return {"hidden": hidden.astype(np.float32), "mask": mask, "vectors": vectors.astype(np.float32)}


class Pooling:
    """hidden (B, S, D), mask (B, S), vectors (B, D), all fp64 -> (B, D), a method for each kind."""

    def __init__(self, hidden: Array, mask: Array, vectors: Array):
        self.hidden, self.vectors = hidden.astype(np.float64), vectors.astype(np.float64)
        self.mask = mask.astype(np.float64)[..., None]  # (B, S, 1)
        self.lengths = self.mask.sum(axis=1)  # (B, 1)
        self.masked = self.hidden * self.mask  # (B, S, D)

    def cls(self) -> Array:
        return self.hidden[:, 0]

    def mean(self) -> Array:
        return self.mean_of(self.mask)

    def max(self) -> Array:
        return self.real_or(-np.inf).max(axis=1)

    def l1(self) -> Array:
        return self.vectors / self.length(1)

    def l2(self) -> Array:
        return self.vectors / self.length(2)

    def at(self, columns: Array) -> Array:
        """Each sentence's row in a column of its own."""
        return self.hidden[np.arange(len(self.hidden)), columns]

    def mean_of(self, columns: Array) -> Array:
        """The mean over the columns (B, S, 1) that are 1; zeros where there are none."""
        return (self.hidden * columns).sum(axis=1) / np.maximum(columns.sum(axis=1), 1)

    def real_or(self, value: float) -> Array:
        """hidden, with `value` at padding."""
        return np.where(self.mask == 1, self.hidden, value)

    def length(self, order: float) -> Array:
        """(B, 1)"""
        return np.linalg.norm(self.vectors, ord=order, axis=1, keepdims=True)


def fixture() -> tuple[Arrays, dict[str, Any]]:
    """hidden, mask, vectors, and "expected/cls", mean, max, l1, l2."""
    given = inputs()
    pooling = Pooling(**given)
    return given | {f"expected/{kind}": getattr(pooling, kind)() for kind in KINDS}, {}
