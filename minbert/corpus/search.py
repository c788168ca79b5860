"""Exact nearest neighbours by cosine among vectors that need not fit into memory: an array or parts."""

import numpy as np

from minbert.corpus.parts import PartFolder
from minbert.errors import InputError

BLOCK_ROWS = 4096
BLOCK_QUERIES = 256


def nearest(
    vectors: np.ndarray, queries: np.ndarray, top: int, block_rows: int = BLOCK_ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """The `top` rows with the largest cosine -> scores (Q, K) float64, rows (Q, K) int64, K = min(top, N).

    `vectors` (N, D), an array or a memory map, is read in blocks of `block_rows`; `queries` is (Q, D). The
    best come first, equal ones by the lower row. A vector of zeros has the cosine 0 with all others.

    A matrix product in fp32 finds the rows that can be among the best, to within its largest rounding error;
    their cosines are then computed in fp64, each in the same order of operations, so that equal rows have
    equal scores wherever they stand.
    Raises InputError for shapes that do not fit, `top` below 1, and numbers that are not finite.
    """
    _check(vectors, queries, top)
    count, size = vectors.shape
    kept = min(top, count)
    scores = np.full((len(queries), kept), -np.inf)
    rows = np.full((len(queries), kept), -1, dtype=np.int64)
    exact, units = _unit(queries, "queries", 0)
    # products of two rounded numbers, D sums (Higham 2002, eq. 3.5); both vectors have length 1
    error = (size + 4) * 2.0**-24
    for start in range(0, count, block_rows):
        block, block_units = _unit(vectors[start : start + block_rows], "vectors", start)
        for first in range(0, len(queries), BLOCK_QUERIES):
            chosen = slice(first, first + BLOCK_QUERIES)
            rough = units[chosen] @ block_units.T  # (queries, rows of the block)
            least = scores[chosen, -1] - error
            if kept < len(block):
                least = np.maximum(least, np.partition(rough, -kept, axis=1)[:, -kept] - 2 * error)
            candidates = rough >= least[:, None]
            for query in np.flatnonzero(candidates.any(axis=1)):
                found = np.flatnonzero(candidates[query])
                cosines = (block[found] * exact[first + query]).sum(axis=1)
                _merge(scores[first + query], rows[first + query], cosines, start + found)
    return scores, rows


def nearest_in_parts(folder: PartFolder, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `nearest` returns for all vectors of the folder, read piece by piece."""
    kept = min(top, folder.rows)
    scores = np.full((len(queries), kept), -np.inf)
    rows = np.full((len(queries), kept), -1, dtype=np.int64)
    for start, vectors in folder.pieces():
        new_scores, new_rows = nearest(vectors, queries, top)
        for query in range(len(queries)):
            _merge(scores[query], rows[query], new_scores[query], start + new_rows[query])
    return scores, rows


def _merge(scores: np.ndarray, rows: np.ndarray, new_scores: np.ndarray, new_rows: np.ndarray) -> None:
    """Puts the best of both, in order, into `scores` and `rows` (K,)."""
    all_scores, all_rows = np.concatenate([scores, new_scores]), np.concatenate([rows, new_rows])
    order = np.lexsort((all_rows, -all_scores))[: len(scores)]
    scores[:], rows[:] = all_scores[order], all_rows[order]


def _unit(vectors: np.ndarray, name: str, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors (n, D) at length 1, zeros left alone, in fp64 and in fp32."""
    exact = np.array(vectors, dtype=np.float64)
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    wrong = np.flatnonzero(~np.isfinite(lengths))
    if len(wrong):
        raise InputError(
            f"row {start + wrong[0]} of the {name} holds numbers that are not finite; encode the text again"
        )
    np.divide(exact, lengths, out=exact, where=lengths > 0)
    return exact, exact.astype(np.float32)


def _check(vectors: np.ndarray, queries: np.ndarray, top: int) -> None:
    if top < 1:
        raise InputError(f"top is {top}; give at least 1")
    for name, array in (("vectors", vectors), ("queries", queries)):
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
            raise InputError(
                f"the {name} are {array.dtype} of shape {array.shape}; give floats (rows, features)"
            )
    if vectors.shape[1] != queries.shape[1]:
        raise InputError(
            f"the vectors have {vectors.shape[1]} features and the queries {queries.shape[1]}; "
            f"encode both with the same weights"
        )
