"""Mistakes in pooling and normalisation, by the stage at which each of them shows."""

import numpy as np

from minbert.check.mistakes.table import Wrong, wrong

FIRST_COLUMN = "Take the first column: hidden[:, 0]."
MASKED_MEAN = "Take (hidden * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]."
MASKED_MAX = (
    "Fill padding with -inf before the maximum: hidden.masked_fill(mask[:, :, None] == 0, -inf).amax(1)."
)
SUM = "Divide each vector by the sum of its absolute values: vectors.abs().sum(-1, keepdim=True)."
ROOT = "Divide each vector by the root of the sum of its squares: vectors.norm(dim=-1, keepdim=True)."


def _without_first(mask):
    return mask * (np.arange(mask.shape[1]) > 0)[:, None]


def _without_last(mask):
    """Without the last real token of each sentence."""
    return mask * (np.arange(mask.shape[1]) < mask.sum(axis=1) - 1)[:, :, None]


# fmt: off
def _over_batch(kind: str, order: int, name: str, remedy: str) -> tuple[Wrong, ...]:
    """Mistakes that both normalisations share."""
    return (
        wrong(f"{name} length over the batch",
              "Each feature was divided by its length over the sentences: the axis is 0 instead of the last.",
              remedy, **{kind: lambda self: self.vectors / np.linalg.norm(self.vectors, ord=order, axis=0)}),
        wrong(f"{name} length of the whole batch",
              "All vectors were divided by one length, that of all values together.", remedy,
              **{kind: lambda self: self.vectors / np.linalg.norm(self.vectors.ravel(), ord=order)}),
        wrong(f"vectors not {name}-normalised", "The vectors came back as they were.", remedy,
              **{kind: lambda self: self.vectors}),
        wrong(f"vectors multiplied by their {name} length", "The vectors were multiplied by their length.",
              remedy, **{kind: lambda self: self.vectors * self.length(order)}),
        wrong(f"largest value instead of the {name} length",
              "Each vector was divided by its largest absolute value.", remedy,
              **{kind: lambda self: self.vectors / self.length(np.inf)}),
    )


CLS = (
    wrong("last column instead of the first", "The vector is that of the last column, which may be padding.",
          FIRST_COLUMN, cls=lambda self: self.hidden[:, -1]),
    wrong("last real token instead of the first", "The vector is that of the last real token, [SEP].",
          FIRST_COLUMN, cls=lambda self: self.at((self.lengths[:, 0] - 1).astype(int))),
    wrong("second token instead of the first", "The vector is that of column 1; columns count from 0.",
          FIRST_COLUMN, cls=lambda self: self.hidden[:, 1]),
    wrong("mean instead of the first token", "The vector is the mean over real tokens.", FIRST_COLUMN,
          cls=lambda self: self.mean_of(self.mask)),
)
MEAN = (
    wrong("mean over padding too",
          "Padding was averaged as well, so a vector depends on the longest sentence of the batch.",
          MASKED_MEAN, mean=lambda self: self.hidden.mean(axis=1)),
    wrong("sum of real tokens divided by all columns",
          "Real tokens were summed, but divided by S, padding included.", MASKED_MEAN,
          mean=lambda self: self.masked.mean(axis=1)),
    wrong("sum of all columns divided by the real tokens",
          "The divisor is right, but padding was summed too.", MASKED_MEAN,
          mean=lambda self: self.hidden.sum(axis=1) / self.lengths),
    wrong("sum instead of the mean", "Real tokens were summed, and the sum was not divided.", MASKED_MEAN,
          mean=lambda self: self.masked.sum(axis=1)),
    wrong("sum over padding too instead of the mean", "All columns were summed, and the sum was not divided.",
          MASKED_MEAN, mean=lambda self: self.hidden.sum(axis=1)),
    wrong("divided by the batch's real tokens",
          "The sum was divided by the number of real tokens in the whole batch.", MASKED_MEAN,
          mean=lambda self: self.masked.sum(axis=1) / self.mask.sum()),
    wrong("divided by the number of sentences", "The sum over real tokens was divided by B.", MASKED_MEAN,
          mean=lambda self: self.masked.sum(axis=1) / len(self.mask)),
    wrong("divided by the root of the count", "The sum was divided by the root of the number of real tokens.",
          MASKED_MEAN, mean=lambda self: self.masked.sum(axis=1) / np.sqrt(self.lengths)),
    wrong("divided by one too many", "The sum was divided by the number of real tokens plus 1.", MASKED_MEAN,
          mean=lambda self: self.masked.sum(axis=1) / (self.lengths + 1)),
    wrong("mean without the first token", "[CLS] was left out; a sentence of one token has the mean 0 then.",
          MASKED_MEAN, mean=lambda self: self.mean_of(_without_first(self.mask))),
    wrong("mean without the last token", "[SEP] was left out; a sentence of one token has the mean 0 then.",
          MASKED_MEAN, mean=lambda self: self.mean_of(_without_last(self.mask))),
    wrong("mean without the first and the last token",
          "[CLS] and [SEP] were left out; a sentence of two tokens has the mean 0 then.", MASKED_MEAN,
          mean=lambda self: self.mean_of(_without_first(_without_last(self.mask)))),
    wrong("mean over padding instead of real tokens",
          "The mask was taken the wrong way round: 1 is a real token, 0 is padding.", MASKED_MEAN,
          mean=lambda self: (self.hidden * (1 - self.mask)).sum(axis=1) / (1 - self.mask).sum(axis=1)),
)
MAX = (
    wrong("maximum over padding too", "Padding took part in the maximum.", MASKED_MAX,
          max=lambda self: self.hidden.max(axis=1)),
    wrong("padding as zero in the maximum",
          "Padding was set to 0, or to nearly 0 such as -1e-9, which wins where all real values are "
          "negative.", MASKED_MAX,
          max=lambda self: self.masked.max(axis=1)),
    wrong("maximum over padding instead of real tokens",
          "The mask was taken the wrong way round: 1 is a real token, 0 is padding.", MASKED_MAX,
          max=lambda self: np.where(self.mask == 0, self.hidden, -np.inf).max(axis=1)),
    wrong("maximum of absolute values", "The maximum was taken of |hidden|.", MASKED_MAX,
          max=lambda self: np.abs(self.masked).max(axis=1)),
    wrong("value of the largest size", "The value farthest from zero was taken, whatever its sign.",
          MASKED_MAX,
          max=lambda self: np.take_along_axis(
              self.masked, np.abs(self.masked).argmax(axis=1, keepdims=True), axis=1)[:, 0]),
    wrong("minimum instead of the maximum", "The least value over real tokens was taken.", MASKED_MAX,
          max=lambda self: self.real_or(np.inf).min(axis=1)),
    wrong("column of the maximum instead of its value", "The vector holds the indices that argmax gives.",
          MASKED_MAX, max=lambda self: self.real_or(-np.inf).argmax(axis=1).astype(np.float64)),
    wrong("mean instead of the maximum", "The vector is the mean over real tokens.", MASKED_MAX,
          max=lambda self: self.mean_of(self.mask)),
)
L1 = (
    wrong("L2 length instead of L1", "Each vector was divided by its L2 length.", SUM,
          l1=lambda self: self.vectors / self.length(2)),
    wrong("L1 length without absolute values",
          "Each vector was divided by the sum of its values, in which positive and negative ones cancel.",
          SUM, l1=lambda self: self.vectors / self.vectors.sum(axis=1, keepdims=True)),
    wrong("mean of absolute values instead of their sum",
          "Each vector was divided by the mean of its absolute values.", SUM,
          l1=lambda self: self.vectors / np.abs(self.vectors).mean(axis=1, keepdims=True)),
    *_over_batch("l1", 1, "L1", SUM),
)
L2 = (
    wrong("L1 length instead of L2", "Each vector was divided by the sum of its absolute values.", ROOT,
          l2=lambda self: self.vectors / self.length(1)),
    wrong("L2 length without the root", "Each vector was divided by the sum of its squares.", ROOT,
          l2=lambda self: self.vectors / self.length(2) ** 2),
    wrong("root of the mean square instead of the L2 length",
          "Each vector was divided by the root of the mean of its squares.", ROOT,
          l2=lambda self: self.vectors / np.sqrt((self.vectors**2).mean(axis=1, keepdims=True))),
    *_over_batch("l2", 2, "L2", ROOT),
)
# fmt: on
