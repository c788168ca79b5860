"""Losses of scores: pure functions of tensors, in fp32 at least. B examples."""

import torch
import torch.nn.functional as F
from torch import Tensor

from multitask.losses.shapes import at_least_fp32, check_shapes


def mean_squared_error(outputs: Tensor, scores: Tensor) -> Tensor:
    """Mean of (output - score)^2; both (B,)."""
    check_shapes(outputs, scores)
    outputs = at_least_fp32(outputs)
    return F.mse_loss(outputs, scores.to(outputs.dtype))


def rescale(scores: Tensor, low: float, high: float, label_scale: tuple[float, float]) -> Tensor:
    """Maps scores from [low, high] onto the label scale: 0..5 onto 0..1 for a cosine, say."""
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
    outputs, scores = at_least_fp32(outputs), at_least_fp32(scores)
    x, y = outputs - outputs.mean(), scores - scores.mean()
    defined = _varies(outputs) & _varies(scores)
    # The roots stay outside the branch that is not taken: its gradient would be 0 times infinity.
    length = (
        torch.where(defined, x.square().sum(), 1).sqrt() * torch.where(defined, y.square().sum(), 1).sqrt()
    )
    return 1.0 - torch.where(defined, (x * y).sum() / length, 0)


def cosent(outputs: Tensor, scores: Tensor, temperature: float = 0.05) -> Tensor:
    """log(1 + sum of exp((outputs[j] - outputs[i]) / temperature) over i, j with scores[i] > scores[j]).

    Both (B,). Only the order of the scores counts: each pair of examples in the wrong order, or hardly in the
    right one, adds to the loss; a batch of equal scores gives 0. Su 2022 (CoSENT), for cosines.
    """
    check_shapes(outputs, scores)
    outputs = at_least_fp32(outputs) / temperature
    excess = outputs[None, :] - outputs[:, None]  # (B, B): how far j stands above i
    wrong_order = excess.masked_fill(scores[:, None] <= scores[None, :], -torch.inf)
    return torch.cat([excess.new_zeros(1), wrong_order.flatten()]).logsumexp(dim=0)


def angle_similarity(u: Tensor, v: Tensor) -> Tensor:
    """|sum of the real and imaginary parts of u / v| for vectors read as complex numbers; (B, D) -> (B,).

    AnglE (Li and Li 2024): the first half of a vector is its real part, the second the imaginary one. With
    both scaled to length 1, the real parts of u times the conjugate of v add up to the cosine, whose slope is
    flat near 1 and -1, and the imaginary ones to a sine, which is steep there. An odd D gets a last zero.
    """
    check_shapes(u, v)
    u, v = (F.normalize(F.pad(at_least_fp32(x), (0, x.shape[-1] % 2)), dim=-1) for x in (u, v))
    u_real, u_imaginary = u.chunk(2, dim=-1)
    v_real, v_imaginary = v.chunk(2, dim=-1)
    cosine = (u * v).sum(dim=-1)
    sine = (u_imaginary * v_real - u_real * v_imaginary).sum(dim=-1)
    return (cosine + sine).abs()


def _varies(values: Tensor) -> Tensor:
    """Returns a boolean scalar, True where the values differ by more than rounding."""
    rounding = 8 * torch.finfo(values.dtype).eps * values.abs().amax()
    return values.amax() - values.amin() > rounding
