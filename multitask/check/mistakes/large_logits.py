"""What a loss of large logits gives where probabilities are rounded before their logarithm is taken."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from minbert.check import TOLERANCE, Mistake, Outputs, distance
from multitask.check.mistakes.formula import sigmoid, softmax

TINY = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16)  # what people add or cut off at
TORCH_CUT = -100.0  # F.binary_cross_entropy cuts logarithms off here


def large_logits_mistakes(
    function: str, inputs: Callable[[], Mapping[str, np.ndarray]]
) -> tuple[Mistake, ...]:
    """Those of cross_entropy and binary_cross_entropy; `inputs` gives logits and labels."""
    kept_finite = {"cross_entropy": _of_classes, "binary_cross_entropy": _of_two}[function]
    remedy = {
        "cross_entropy": "Use F.cross_entropy or log_softmax on logits; they subtract the largest one first.",
        "binary_cross_entropy": "Use F.binary_cross_entropy_with_logits: max(x, 0) - x y + log(1 + e^-|x|).",
    }[function]
    return (
        Mistake(
            name=f"power that overflows or probability that rounds to 0 or 1 ({function})",
            cause="e^logit becomes infinite, or log is taken of a probability that was rounded to 0.",
            remedy=remedy,
            recognise=_is_not_finite,
        ),
        Mistake(
            name=f"probability kept away from 0 ({function})",
            cause="A small number is added to the probability, or it or its logarithm is cut off.",
            remedy=remedy,
            recognise=partial(_is_one_of, kept_finite, inputs),
        ),
    )


def _is_not_finite(given: Outputs, expected: Outputs) -> bool:
    return given["loss"].shape == () and not np.isfinite(given["loss"])


def _is_one_of(
    losses: Callable[..., Iterator[np.ndarray]],
    inputs: Callable[[], Mapping[str, np.ndarray]],
    given: Outputs,
    expected: Outputs,
) -> bool:
    predicted = losses(*inputs().values())
    return any(distance(given["loss"], np.asarray(loss, np.float64)) <= TOLERANCE for loss in predicted)


def _of_classes(logits: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    for dtype in (np.float32, np.float64):
        p = softmax(logits.astype(dtype))[np.arange(len(labels)), labels]
        for tiny in TINY:
            yield -np.log(p + dtype(tiny)).mean()
            yield -np.log(np.maximum(p, dtype(tiny))).mean()


def _of_two(logits: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore", divide="ignore"):
            p = sigmoid(logits.astype(dtype))
            for p_of_label in _kept_finite(np.where(labels == 1, p, 1 - p), p, labels, dtype):
                yield -np.maximum(np.log(p_of_label), TORCH_CUT).mean()


def _kept_finite(
    of_label: np.ndarray, p: np.ndarray, labels: np.ndarray, dtype: type
) -> Iterator[np.ndarray]:
    yield of_label
    for tiny in TINY:
        yield of_label + dtype(tiny)
        cut = np.clip(p, dtype(tiny), 1 - dtype(tiny))
        yield np.where(labels == 1, cut, 1 - cut)
