"""Dropout (Srivastava et al. 2014) whose random numbers are cheap: four elements from each draw."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 2**16  # rates are rounded to a multiple of 1 / LEVELS


def apply_dropout(x: Tensor, rate: float) -> Tensor:
    """Sets each element to 0 with probability `rate` and divides the others by 1 - rate.

    On the CPU torch's own dropout takes a fifth of a training step, most of it to draw a number for each
    element. Here one draw of 64 bits from the same generator serves four: 16 bits each, compared with the
    rate. Elsewhere, and in a compiled graph, it is torch's kernel.
    """
    if not rate:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, rate)
    return x * dropout_mask(x, rate)


def dropout_mask(x: Tensor, rate: float) -> Tensor:
    """0 or 1 / (1 - rate) for each element of x, on the CPU, by one call of torch's default generator."""
    dropped = round(rate * LEVELS)
    if dropped == LEVELS:
        return torch.zeros_like(x)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)  # all 64 bits
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)  # from -LEVELS / 2 to LEVELS / 2 - 1
    mask = torch.empty(x.shape, dtype=x.dtype)
    torch.ge(bits, dropped - LEVELS // 2, out=mask)
    return mask.mul_(LEVELS / (LEVELS - dropped))


class Dropout(nn.Dropout):
    """torch's module with the cheap random numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return apply_dropout(x, self.p) if self.training else x
