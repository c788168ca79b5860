"""Significance of differences between the rows of a table: paired bootstrap over the dev examples.

R resamples, N examples. All rows are scored on the same resamples (Efron and Tibshirani 1993, chapter 13: the
percentile interval; Koehn 2004: paired). The interval says what other dev examples would have given with
these very weights; how much other seeds would have given, the standard deviation over seeds says. No torch.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
ROUNDING = 1e-12  # smaller differences count as 0
BLOCK = 2**18  # examples drawn at a time, for their counts to stay in the processor's cache


@dataclass(frozen=True)
class Difference:
    """A row minus the baseline; `significant` is None where it cannot be told, and `why` says why."""

    mean: float
    low: float | None = None
    high: float | None = None
    significant: bool | None = None
    why: str | None = None


def summarize(values: Sequence[float]) -> dict[str, float | None]:
    """Returns the mean, the standard deviation of a sample (None for one value) and the number of values."""
    return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None, "n": len(values)}


def statistic(kind: str, values: Sequence[Sequence[float]], counts: np.ndarray | None = None) -> np.ndarray:
    """Computes a score from per-example scores, with each example taken `counts` (R, N) times; -> (R,).

    `kind` and `values` are those of `per_example_scores`. Without counts each example once; (1,). A
    correlation of constant values is NaN, an F1 without any entity 0.
    """
    rows = np.asarray(values, dtype=np.float64)  # (rows, N)
    if counts is None:
        counts = np.ones((1, rows.shape[1]))
    if kind == "mean":
        return counts @ rows[0] / counts.sum(axis=1)
    if kind == "f1":
        right, predicted, true = rows @ counts.T
        return np.divide(2 * right, predicted + true, out=np.zeros_like(right), where=predicted + true > 0)
    assert kind == "pearson", kind
    # Centred first: the moments of values far from zero cancel; those of tiny or huge ones leave fp64.
    rows = rows - rows.mean(axis=1, keepdims=True)
    x, y = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    n = counts.sum(axis=1)
    mean_x, mean_y = counts @ x / n, counts @ y / n
    covariance = counts @ (x * y) / n - mean_x * mean_y
    spread = (counts @ (x * x) / n - mean_x**2) * (counts @ (y * y) / n - mean_y**2)
    varies = spread > 1e-14 * np.mean(x * x) * np.mean(y * y)
    return np.divide(covariance, np.sqrt(np.maximum(spread, 0)), out=np.full_like(n, np.nan), where=varies)


def bootstrap(
    examples: Mapping[Hashable, Mapping[str, Any]], resamples: int = RESAMPLES, seed: int = 0
) -> dict[Hashable, np.ndarray]:
    """Scores all models on the same resamples of the examples that they share; key -> (R,).

    `examples` maps a model's key to its kind and values for the same N examples in the same order.
    """
    if not examples:
        return {}
    size = len(next(iter(examples.values()))["values"][0])
    generator = np.random.default_rng(seed)
    found: dict[Hashable, list[np.ndarray]] = {key: [] for key in examples}
    block = max(1, BLOCK // size)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(size, size=(rows, size)) + np.arange(rows)[:, None] * size
        counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)
        for key, entry in examples.items():
            found[key].append(statistic(entry["kind"], entry["values"], counts))
    return {key: np.concatenate(parts) for key, parts in found.items()}


def interval(replicates: np.ndarray) -> tuple[float, float] | None:
    """Computes the percentile interval of resampled scores (R,); None where one of them is not a number."""
    if not np.isfinite(replicates).all():
        return None
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def difference(
    ours: Mapping[int, float],
    baseline: Mapping[int, float],
    our_replicates: Mapping[int, np.ndarray],
    baseline_replicates: Mapping[int, np.ndarray],
) -> Difference | None:
    """Computes the mean difference over the seeds that both rows have; all arguments are by seed.

    It is significant where the interval leaves out 0 and each seed's difference has its sign. One seed is
    never enough: another seed may turn any difference around. None where the rows share no seed.
    """
    seeds = sorted(ours.keys() & baseline.keys())
    if not seeds:
        return None
    each = [ours[seed] - baseline[seed] for seed in seeds]
    mean = fmean(each)
    if not all(seed in our_replicates and seed in baseline_replicates for seed in seeds):
        return Difference(mean, why="no interval: the score is not resampled")
    found = interval(np.mean([our_replicates[s] - baseline_replicates[s] for s in seeds], axis=0))
    if found is None or not math.isfinite(mean):
        return Difference(mean, why="no interval: a correlation is not defined, predictions are constant")
    low, high = found
    if len(seeds) < 2:
        return Difference(mean, low, high, None, "one seed; a second one is needed to tell")
    outside = low > ROUNDING or high < -ROUNDING
    agree = all(value > 0 for value in each) or all(value < 0 for value in each)
    why = "the seeds disagree about its sign" if outside and not agree else None
    return Difference(mean, low, high, outside and agree, why)
