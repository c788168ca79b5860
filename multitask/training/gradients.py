"""Gradients between backward and step: scaled, unscaled once, clipped."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from multitask.runtime.precision import Precision, has_gradients
from multitask.training.methods.gradient_check import GradientCheck


class Gradients:
    """`backward` adds a micro-batch's gradients; `finish` makes them ready for the optimizer.

    `clip` is the largest norm over all tensors of the optimizer (0: no limit). A tensor that a step does not
    use keeps its gradient None.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        precision: Precision,
        clip: float = 0.0,
        check: GradientCheck | None = None,
    ):
        self.optimizer = optimizer
        self.parameters = [tensor for entries in optimizer.param_groups for tensor in entries["params"]]
        self.precision = precision
        self.clip = clip
        self.check = check
        self.tasks: list[str] = []  # of the current step, in their order

    def backward(self, loss: Tensor, task: str) -> None:
        """Adds the scaled gradients of a loss; there are none where it depends on nothing that is trained."""
        if task not in self.tasks:
            self.tasks.append(task)
        if loss.requires_grad:
            self.precision.scaler.scale(loss).backward()

    def finish(self) -> None:
        """Unscales, checks, then clips."""
        self._unscale_and_clip()
        self.tasks = []

    def _unscale_and_clip(self) -> None:
        if has_gradients(self.optimizer):
            self.precision.scaler.unscale_(self.optimizer)
        if self.check is not None:
            self.check(self.tasks)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)

    def state_dict(self) -> dict[str, Any]:
        return {"check": self.check.state_dict()} if self.check is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.check is not None:
            self.check.load_state_dict(state["check"])
