"""Scores of predictions. N examples; all functions take plain sequences and return floats."""

from collections.abc import Mapping, Sequence

import numpy as np


def accuracy(predictions: Sequence, labels: Sequence) -> float:
    """The share of equal entries."""
    return float(np.mean(np.asarray(predictions) == np.asarray(labels)))


def off_by_one_accuracy(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """The share of ordinal predictions at most one level away."""
    return float(np.mean(np.abs(np.asarray(predictions) - np.asarray(labels)) <= 1))


def f1(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """2 TP / (2 TP + FP + FN) of class 1; 0 where class 1 is nowhere."""
    predicted, true = np.asarray(predictions) == 1, np.asarray(labels) == 1
    hits = np.sum(predicted & true)
    return float(2 * hits / max(1, predicted.sum() + true.sum()))


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r; NaN where one side is constant or shorter than two."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / np.sqrt((x @ x) * (y @ y)))


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r of the ranks, ties at their mean rank; NaN where one side is constant."""
    return pearson(_ranks(x), _ranks(y))


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, inverse, counts = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def confusion_matrix(predictions: Sequence[int], labels: Sequence[int], classes: int) -> np.ndarray:
    """(C, C) counts: rows are true classes, columns predicted ones."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (np.asarray(labels, dtype=np.int64), np.asarray(predictions, dtype=np.int64)), 1)
    return matrix


def overall_scores(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Both published means over the three course tasks, by name; empty where one of the tasks is missing.

    `overall_2024` maps STS's r from [-1, 1] to [0, 1] first (the course since 2024), `mean_raw` does not (2023).
    Reports mix the two, so neither is ever called just "overall".
    """
    try:
        sst = scores["sst"]["accuracy"]
        paraphrase = scores["paraphrase"]["accuracy"]
        sts = scores["sts"]["pearson"]
    except KeyError:
        return {}
    return {
        "overall_2024": (sst + paraphrase + (sts + 1) / 2) / 3,
        "mean_raw": (sst + paraphrase + sts) / 3,
    }
