"""Gradients between backward and the optimizer step: scaled, unscaled once, clipped."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from multitask.training.precision import Precision


class Gradients:
    """`backward` adds a piece's gradients; `finish` makes them ready for the optimizer."""

    def __init__(self, parameters: Sequence[Tensor], precision: Precision, optimizer, clip: float = 0.0):
        self.parameters = list(parameters)
        self.precision = precision
        self.optimizer = optimizer
        self.clip = clip

    def backward(self, loss: Tensor) -> None:
        self.precision.scaler.scale(loss).backward()

    def finish(self) -> None:
        """Unscales, then clips to a norm of `clip` over all parameters (0: no limit)."""
        self.precision.scaler.unscale_(self.optimizer)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
