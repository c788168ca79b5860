"""Scores of predictions. N examples; all functions take plain sequences and return floats."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from minbert import InputError


def accuracy(predictions: Sequence, labels: Sequence) -> float:
    """Computes the share of equal entries."""
    predicted, true = _paired(predictions, labels)
    return _share(predicted == true)


def off_by_one_accuracy(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """Computes the share of ordinal predictions at most one level away."""
    predicted, true = _paired(predictions, labels)
    return _share(np.abs(predicted - true) <= 1)


def f1(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """2 TP / (2 TP + FP + FN) of class 1; 0 where class 1 is nowhere."""
    predicted, true = (values == 1 for values in _paired(predictions, labels))
    hits = np.sum(predicted & true)
    return float(2 * hits / max(1, predicted.sum() + true.sum()))


def multilabel_f1(
    predictions: Sequence[Collection[str]], labels: Sequence[Collection[str]], names: Sequence[str]
) -> dict[str, float]:
    """F1 over all decisions (`micro_f1`), and the mean of each label's F1 (`macro_f1`), 0 for one nowhere.

    An example has any number of labels, out of `names`.
    """
    if len(predictions) != len(labels):
        raise InputError(f"{len(predictions)} predictions and {len(labels)} labels; give one an example")
    hits: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    for predicted, true in zip(predictions, labels, strict=True):
        hits.update({*predicted} & {*true})
        cases.update(predicted)
        cases.update(true)
    each = [2 * hits[name] / max(1, cases[name]) for name in names]
    return {
        "micro_f1": 2 * hits.total() / max(1, cases.total()),
        "macro_f1": sum(each) / max(1, len(each)),
    }


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r; NaN where there is none, see `why_no_correlation`."""
    x, y = _paired(x, y, np.float64)
    if not (_has_spread(x) and _has_spread(y)):
        return float("nan")
    r = float(np.clip(_direction(x) @ _direction(y), -1, 1))
    return float(round(r)) if len(x) == 2 else r


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's r of the ranks, ties at their mean rank; NaN where there is none."""
    x, y = _paired(x, y, np.float64)
    return pearson(_ranks(x), _ranks(y)) if _has_spread(x) and _has_spread(y) else float("nan")


def why_no_correlation(predictions: Sequence[float], labels: Sequence[float]) -> str | None:
    """Returns why there is no correlation, such as that one side is constant; None where there is."""
    predicted, true = _paired(predictions, labels, np.float64)
    if len(true) < 2:
        return f"there is {len(true)} example, and it takes two"
    for name, values in (("predictions", predicted), ("labels", true)):
        if infinite := np.count_nonzero(~np.isfinite(values)):
            return f"{infinite} of {len(values)} {name} are not finite numbers"
        if not _has_spread(values):
            return f"all {len(values)} {name} are {values[0]:g}"
    return None


def confusion_matrix(predictions: Sequence[int], labels: Sequence[int], classes: int) -> np.ndarray:
    """(C, C) counts: rows are true classes, columns predicted ones."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (np.asarray(labels, dtype=np.int64), np.asarray(predictions, dtype=np.int64)), 1)
    return matrix


def overall_scores(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Computes both published means over the three course tasks; empty where one of the tasks is missing.

    `overall_2024` maps STS's r from [-1, 1] to [0, 1] first (the course since 2024), `mean_raw` does not
    (2023). Reports mix the two, so neither is ever called just "overall".
    """
    try:
        sst = scores["sst"]["accuracy"]
        paraphrase = scores["paraphrase"]["accuracy"]
        sts = scores["sts"]["pearson"]
    except KeyError:
        return {}
    return {"overall_2024": (sst + paraphrase + (sts + 1) / 2) / 3, "mean_raw": (sst + paraphrase + sts) / 3}


def _paired(
    predictions: Sequence, labels: Sequence, dtype: type | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays (N,). Raises InputError for unequal lengths, which numpy might broadcast."""
    predicted, true = np.asarray(predictions, dtype), np.asarray(labels, dtype)
    if predicted.shape != true.shape:
        raise InputError(
            f"predictions have shape {predicted.shape}, labels {true.shape}; give one label a prediction"
        )
    return predicted, true


def _share(flags: np.ndarray) -> float:
    return float(np.mean(flags)) if len(flags) else float("nan")


def _has_spread(values: np.ndarray) -> bool:
    return len(values) > 1 and bool(np.isfinite(values).all()) and values.min() < values.max()


def _direction(values: np.ndarray) -> np.ndarray:
    """Returns the centred values at length 1, scaled first by a power of two: squares of 1e200 overflow."""
    _, exponent = np.frexp(np.abs(values).max())
    scaled = np.ldexp(values, -exponent)
    centred = scaled - scaled.mean()
    return centred / np.linalg.norm(centred)


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
