"""Geometry of sentence vectors: alignment, uniformity, isotropy. N vectors of size D."""

import numpy as np

from minbert import InputError

ROWS = 1024  # whose distances to all others are held in memory at once


def alignment(first: np.ndarray, second: np.ndarray, alpha: float = 2.0) -> float:
    """Computes the mean distance of positive pairs on the unit sphere, to the power `alpha`; lower is better.

    Wang & Isola 2020, section 4.1; row i of `first` and of `second` (N, D) are a pair. NaN without a pair.
    """
    if first.shape != second.shape:
        raise InputError(f"the pairs' vectors have shapes {first.shape} and {second.shape}; give equal ones")
    if not len(first):
        return float("nan")
    distances = np.linalg.norm(_unit(first) - _unit(second), axis=1)
    return float(np.mean(distances**alpha))


def uniformity(vectors: np.ndarray, t: float = 2.0) -> float:
    """log of the mean of exp(-t * squared distance) over all pairs of (N, D) on the unit sphere.

    Wang & Isola 2020, section 4.1; lower is better: vectors that are spread evenly. NaN for fewer than two.
    """
    if len(vectors) < 2:
        return float("nan")
    unit, total = _unit(vectors), 0.0
    lengths = np.sum(unit * unit, axis=1)  # squared; 1, or 0 of a zero vector
    for start in range(0, len(unit), ROWS):
        rows = unit[start : start + ROWS]
        squared = np.maximum(0.0, lengths[start : start + ROWS, None] + lengths - 2.0 * rows @ unit.T)
        terms = np.exp(-t * squared)
        terms[np.arange(len(rows)), np.arange(start, start + len(rows))] = 0.0  # a vector with itself
        total += float(terms.sum())
    return float(np.log(total / (len(unit) * (len(unit) - 1))))


def isotropy(vectors: np.ndarray) -> float:
    """min Z(c) / max Z(c), Z(c) = sum of exp(c . v) over the vectors (N, D); 1 is even in all directions.

    Mu & Viswanath 2018, section 2.2; c are the eigenvectors of V'V, of either sign, so that the result does
    not depend on which sign a library picks. The vectors' lengths matter. NaN without a vector.
    """
    if not len(vectors):
        return float("nan")
    vectors = np.asarray(vectors, dtype=np.float64)
    _, directions = np.linalg.eigh(vectors.T @ vectors)  # (D, D), one a column
    products = vectors @ directions  # (N, D)
    logs = np.concatenate([_log_sum_exp(products), _log_sum_exp(-products)])
    return float(np.exp(logs.min() - logs.max()))


def mean_cosine(vectors: np.ndarray) -> float:
    """Computes the mean cosine of all pairs of vectors of (N, D); 0 is isotropic, 1 a narrow cone.

    Ethayarajh 2019 estimates it from random pairs as a layer's anisotropy. NaN for fewer than two vectors.
    """
    count = len(vectors)
    if count < 2:
        return float("nan")
    unit = _unit(vectors)
    total = unit.sum(axis=0)
    return float((total @ total - np.sum(unit * unit)) / (count * (count - 1)))


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Computes (N,) cosines of the rows of two arrays (N, D)."""
    return np.sum(_unit(first) * _unit(second), axis=1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scales vectors to length 1; a zero vector stays zero."""
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _log_sum_exp(products: np.ndarray) -> np.ndarray:
    """(N, D) -> (D,), without overflow."""
    highest = products.max(axis=0)
    return highest + np.log(np.exp(products - highest).sum(axis=0))
