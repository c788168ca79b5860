"""Sentence vectors in fp64: first token, mean and maximum over real tokens, L1 and L2 normalisation.

The mean and the maximum are those of Reimers and Gurevych 2019, section 3.
"""

from typing import Any

import numpy as np

LENGTHS = (6, 4, 2, 1)  # of B = 4 sentences in S = 6 columns

Arrays = dict[str, np.ndarray]


def inputs() -> Arrays:
    """hidden (B, S, D), mask (B, S), vectors (B, D); padding is large, the first feature always negative."""
    rng = np.random.default_rng(0)
    mask = (np.arange(6) < np.array(LENGTHS)[:, None]).astype(np.int64)
    hidden = rng.normal(0, 1, (4, 6, 5))
    hidden[..., 0] = -0.5 - np.abs(hidden[..., 0])
    hidden = np.where(mask[..., None] == 1, hidden, rng.uniform(2, 4, hidden.shape))
    vectors = rng.uniform(0.5, 2, (4, 5)) * rng.choice([-1.0, 1.0], (4, 5))
    return {"hidden": hidden.astype(np.float32), "mask": mask, "vectors": vectors.astype(np.float32)}


def pooled(hidden: np.ndarray, mask: np.ndarray, vectors: np.ndarray) -> Arrays:
    """Sentence by sentence, over its real tokens; vector by vector. Each (B, D)."""
    hidden, vectors = hidden.astype(np.float64), vectors.astype(np.float64)
    real = [tokens[row == 1] for tokens, row in zip(hidden, mask, strict=True)]
    return {
        "cls": np.stack([tokens[0] for tokens in real]),
        "mean": np.stack([tokens.sum(axis=0) / len(tokens) for tokens in real]),
        "max": np.stack([tokens.max(axis=0) for tokens in real]),
        "l1": np.stack([vector / sum(abs(value) for value in vector) for vector in vectors]),
        "l2": np.stack([vector / np.sqrt(vector @ vector) for vector in vectors]),
    }


def fixture() -> tuple[Arrays, dict[str, Any]]:
    """hidden, mask, vectors, and "expected/cls", mean, max, l1, l2."""
    given = inputs()
    return given | {f"expected/{name}": value for name, value in pooled(**given).items()}, {}
