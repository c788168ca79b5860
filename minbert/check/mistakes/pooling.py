"""Pooling and normalisation in fp64, written out, and what mistakes make of them.

hidden (B, S, D), mask (B, S), vectors (B, D) -> (B, D).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.stage import Mistake, Outputs

CLS = "Take the first column: hidden[:, 0]."
MEAN = "Take (hidden * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]."
MAX = "Fill padding with -inf before the maximum: hidden.masked_fill(mask[:, :, None] == 0, -inf).amax(1)."
L1 = "Divide each vector by the sum of its absolute values: vectors.abs().sum(-1, keepdim=True)."
L2 = "Divide each vector by the root of the sum of its squares: vectors.norm(dim=-1, keepdim=True)."


class Tokens(NamedTuple):
    """The inputs of pooling, fp64, and what is computed from them more than once."""

    hidden: np.ndarray  # (B, S, D)
    mask: np.ndarray  # (B, S, 1)

    @property
    def lengths(self) -> np.ndarray:
        return self.mask.sum(axis=1)  # (B, 1)

    @property
    def masked(self) -> np.ndarray:
        return self.hidden * self.mask  # (B, S, D)

    def at(self, columns: np.ndarray) -> np.ndarray:
        """Each sentence's row in a column of its own."""
        return self.hidden[np.arange(len(self.hidden)), columns]


Pooling = Callable[[Tokens], np.ndarray]
Normalization = Callable[[np.ndarray], np.ndarray]


def mean_columns(tokens: Tokens, columns: np.ndarray) -> np.ndarray:
    """The mean over the columns (B, S, 1) that are 1; zeros where there is none."""
    return (tokens.hidden * columns).sum(axis=1) / np.maximum(columns.sum(axis=1), 1)


def without_first(mask: np.ndarray) -> np.ndarray:
    return mask * (np.arange(mask.shape[1]) > 0)[:, None]


def without_last(mask: np.ndarray) -> np.ndarray:
    """Without the last real token of each sentence."""
    return mask * (np.arange(mask.shape[1]) < mask.sum(axis=1) - 1)[:, :, None]


def mistake(name: str, cause: str, remedy: str, compute: Pooling) -> Mistake:
    return Mistake(name, cause, remedy, partial(pool_wrongly, compute))


def pool_wrongly(compute: Pooling) -> Outputs:
    tensors, _ = model_fixture("pooling")
    hidden, mask = (tensors[name].astype(np.float64) for name in ("hidden", "mask"))
    with np.errstate(all="ignore"):
        return {"vectors": compute(Tokens(hidden, mask[..., None]))}


def length_mistake(name: str, cause: str, remedy: str, compute: Normalization) -> Mistake:
    return Mistake(name, cause, remedy, partial(normalize_wrongly, compute))


def normalize_wrongly(compute: Normalization) -> Outputs:
    with np.errstate(all="ignore"):
        return {"vectors": compute(model_fixture("pooling")[0]["vectors"].astype(np.float64))}


CLS_MISTAKES = (
    mistake(
        "last column instead of the first",
        "The vector is that of the last column, which may be padding.",
        CLS,
        lambda tokens: tokens.hidden[:, -1],
    ),
    mistake(
        "last real token instead of the first",
        "The vector is that of the last real token, [SEP].",
        CLS,
        lambda tokens: tokens.at((tokens.lengths[:, 0] - 1).astype(int)),
    ),
    mistake(
        "second token instead of the first",
        "The vector is that of column 1; columns count from 0.",
        CLS,
        lambda tokens: tokens.hidden[:, 1],
    ),
    mistake(
        "mean instead of the first token",
        "The vector is the mean over real tokens.",
        CLS,
        lambda tokens: mean_columns(tokens, tokens.mask),
    ),
)

MEAN_MISTAKES = (
    mistake(
        "mean over padding too",
        "Padding was averaged as well, so a vector depends on the longest sentence of the batch.",
        MEAN,
        lambda tokens: tokens.hidden.mean(axis=1),
    ),
    mistake(
        "sum of real tokens divided by all columns",
        "Real tokens were summed, but divided by S, padding included.",
        MEAN,
        lambda tokens: tokens.masked.mean(axis=1),
    ),
    mistake(
        "sum of all columns divided by the real tokens",
        "The divisor is right, but padding was summed too.",
        MEAN,
        lambda tokens: tokens.hidden.sum(axis=1) / tokens.lengths,
    ),
    mistake(
        "sum instead of the mean",
        "Real tokens were summed, and the sum was not divided.",
        MEAN,
        lambda tokens: tokens.masked.sum(axis=1),
    ),
    mistake(
        "sum over padding too instead of the mean",
        "All columns were summed, and the sum was not divided.",
        MEAN,
        lambda tokens: tokens.hidden.sum(axis=1),
    ),
    mistake(
        "divided by the batch's real tokens",
        "The sum was divided by the number of real tokens in the whole batch.",
        MEAN,
        lambda tokens: tokens.masked.sum(axis=1) / tokens.mask.sum(),
    ),
    mistake(
        "divided by the number of sentences",
        "The sum over real tokens was divided by B.",
        MEAN,
        lambda tokens: tokens.masked.sum(axis=1) / len(tokens.mask),
    ),
    mistake(
        "divided by the root of the count",
        "The sum was divided by the root of the number of real tokens.",
        MEAN,
        lambda tokens: tokens.masked.sum(axis=1) / np.sqrt(tokens.lengths),
    ),
    mistake(
        "divided by one too many",
        "The sum was divided by the number of real tokens plus 1.",
        MEAN,
        lambda tokens: tokens.masked.sum(axis=1) / (tokens.lengths + 1),
    ),
    mistake(
        "mean without the first token",
        "[CLS] was left out; a sentence of one token has the mean 0 then.",
        MEAN,
        lambda tokens: mean_columns(tokens, without_first(tokens.mask)),
    ),
    mistake(
        "mean without the last token",
        "[SEP] was left out; a sentence of one token has the mean 0 then.",
        MEAN,
        lambda tokens: mean_columns(tokens, without_last(tokens.mask)),
    ),
    mistake(
        "mean without the first and the last token",
        "[CLS] and [SEP] were left out; a sentence of two tokens has the mean 0 then.",
        MEAN,
        lambda tokens: mean_columns(tokens, without_first(without_last(tokens.mask))),
    ),
    mistake(
        "mean over padding instead of real tokens",
        "The mask was taken the wrong way round: 1 is a real token, 0 is padding.",
        MEAN,
        lambda tokens: (tokens.hidden * (1 - tokens.mask)).sum(axis=1) / (1 - tokens.mask).sum(axis=1),
    ),
)

MAX_MISTAKES = (
    mistake(
        "maximum over padding too",
        "Padding took part in the maximum.",
        MAX,
        lambda tokens: tokens.hidden.max(axis=1),
    ),
    mistake(
        "padding as zero in the maximum",
        "Padding was set to 0, or to nearly 0 such as -1e-9, which wins where all real values are negative.",
        MAX,
        lambda tokens: tokens.masked.max(axis=1),
    ),
    mistake(
        "maximum over padding instead of real tokens",
        "The mask was taken the wrong way round: 1 is a real token, 0 is padding.",
        MAX,
        lambda tokens: np.where(tokens.mask == 0, tokens.hidden, -np.inf).max(axis=1),
    ),
    mistake(
        "maximum of absolute values",
        "The maximum was taken of |hidden|.",
        MAX,
        lambda tokens: np.abs(tokens.masked).max(axis=1),
    ),
    mistake(
        "value of the largest size",
        "The value farthest from zero was taken, whatever its sign.",
        MAX,
        lambda tokens: np.take_along_axis(
            tokens.masked, np.abs(tokens.masked).argmax(axis=1, keepdims=True), axis=1
        )[:, 0],
    ),
    mistake(
        "minimum instead of the maximum",
        "The least value over real tokens was taken.",
        MAX,
        lambda tokens: np.where(tokens.mask == 1, tokens.hidden, np.inf).min(axis=1),
    ),
    mistake(
        "column of the maximum instead of its value",
        "The vector holds the indices that argmax gives.",
        MAX,
        lambda tokens: np.where(tokens.mask == 1, tokens.hidden, -np.inf).argmax(axis=1).astype(np.float64),
    ),
    mistake(
        "mean instead of the maximum",
        "The vector is the mean over real tokens.",
        MAX,
        lambda tokens: mean_columns(tokens, tokens.mask),
    ),
)


def lengths(order: int) -> Normalization:
    """(B, D) -> (B, 1)"""
    return lambda vectors: np.linalg.norm(vectors, ord=order, axis=1, keepdims=True)


def over_batch(order: int, name: str, remedy: str) -> tuple[Mistake, ...]:
    """Mistakes that both normalisations share."""
    return (
        length_mistake(
            f"{name} length over the batch",
            "Each feature was divided by its length over the sentences: the axis is 0 instead of the last.",
            remedy,
            lambda vectors: vectors / np.linalg.norm(vectors, ord=order, axis=0),
        ),
        length_mistake(
            f"{name} length of the whole batch",
            "All vectors were divided by one length, that of all values together.",
            remedy,
            lambda vectors: vectors / np.linalg.norm(vectors.ravel(), ord=order),
        ),
        length_mistake(
            f"vectors not {name}-normalised",
            "The vectors came back as they were.",
            remedy,
            lambda vectors: vectors,
        ),
        length_mistake(
            f"vectors multiplied by their {name} length",
            "The vectors were multiplied by their length.",
            remedy,
            lambda vectors: vectors * lengths(order)(vectors),
        ),
        length_mistake(
            f"largest value instead of the {name} length",
            "Each vector was divided by its largest absolute value.",
            remedy,
            lambda vectors: vectors / lengths(np.inf)(vectors),
        ),
    )


L1_MISTAKES = (
    length_mistake(
        "L2 length instead of L1",
        "Each vector was divided by its L2 length.",
        L1,
        lambda vectors: vectors / lengths(2)(vectors),
    ),
    length_mistake(
        "L1 length without absolute values",
        "Each vector was divided by the sum of its values, in which positive and negative ones cancel.",
        L1,
        lambda vectors: vectors / vectors.sum(axis=1, keepdims=True),
    ),
    length_mistake(
        "mean of absolute values instead of their sum",
        "Each vector was divided by the mean of its absolute values.",
        L1,
        lambda vectors: vectors / np.abs(vectors).mean(axis=1, keepdims=True),
    ),
    *over_batch(1, "L1", L1),
)

L2_MISTAKES = (
    length_mistake(
        "L1 length instead of L2",
        "Each vector was divided by the sum of its absolute values.",
        L2,
        lambda vectors: vectors / lengths(1)(vectors),
    ),
    length_mistake(
        "L2 length without the root",
        "Each vector was divided by the sum of its squares.",
        L2,
        lambda vectors: vectors / lengths(2)(vectors) ** 2,
    ),
    length_mistake(
        "root of the mean square instead of the L2 length",
        "Each vector was divided by the root of the mean of its squares.",
        L2,
        lambda vectors: vectors / np.sqrt((vectors**2).mean(axis=1, keepdims=True)),
    ),
    *over_batch(2, "L2", L2),
)
