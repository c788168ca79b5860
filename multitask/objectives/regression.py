"""Losses of scores: pure functions of tensors, in fp32 at least. B examples."""

import torch
import torch.nn.functional as F
from torch import Tensor

from multitask.objectives.shapes import check_shapes


def mean_squared_error(outputs: Tensor, scores: Tensor) -> Tensor:
    """Mean of (output - score)^2; both (B,)."""
    check_shapes(outputs, scores)
    return F.mse_loss(outputs, scores)


def rescale(scores: Tensor, low: float, high: float, label_scale: tuple[float, float]) -> Tensor:
    """Scores from [low, high] onto the label scale: 0..5 onto 0..1 for a cosine, say."""
    bottom, top = label_scale
    return bottom + (scores - low) / (high - low) * (top - bottom)


def scaled_mean_squared_error(
    outputs: Tensor, scores: Tensor, low: float, high: float, label_scale: tuple[float, float]
) -> Tensor:
    """Mean of (output - rescaled score)^2; outputs (B,), often cosines, scores (B,) between low and high.

    The scale is an explicit choice: for cosines, 0..1 asks unrelated sentences for a right angle, -1..1 for
    opposite vectors.
    """
    return mean_squared_error(outputs, rescale(scores, low, high, label_scale))


def pearson_loss(outputs: Tensor, scores: Tensor) -> Tensor:
    """1 - Pearson's r within the batch, which is what the task is scored by; both (B,).

    A batch whose scores or outputs are all equal, but for rounding, has no r; it gives 1, with gradient zero.
    """
    check_shapes(outputs, scores)
    x, y = outputs - outputs.mean(), scores - scores.mean()
    defined = _varies(outputs) & _varies(scores)
    # The roots stay outside the branch that is not taken: its gradient would be 0 times infinity.
    length = (
        torch.where(defined, x.square().sum(), 1).sqrt() * torch.where(defined, y.square().sum(), 1).sqrt()
    )
    return 1.0 - torch.where(defined, (x * y).sum() / length, 0)


def _varies(values: Tensor) -> Tensor:
    """Whether the values differ by more than rounding, a boolean scalar."""
    rounding = 8 * torch.finfo(values.dtype).eps * values.abs().amax()
    return values.amax() - values.amin() > rounding
