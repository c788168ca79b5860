"""Gradients between backward and step: scaled, summed over processes, unscaled once, clipped."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from multitask.runtime.precision import Precision, has_gradients
from multitask.training.methods.gradient_check import GradientCheck


class Gradients:
    """`backward` adds a piece's gradients; `finish` makes them ready for the optimizer.

    `parameters` are the tensors of the optimizer. `reduce(parameters)` sums their gradients over the
    processes of a run. A tensor that a step does not use keeps its gradient None.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        precision: Precision,
        optimizer,
        clip: float = 0.0,
        reduce: Callable[[Sequence[Tensor]], None] = lambda parameters: None,
        check: GradientCheck | None = None,
    ):
        self.parameters = list(parameters)
        self.precision = precision
        self.optimizer = optimizer
        self.clip = clip
        self.reduce = reduce
        self.check = check
        self.tasks: list[str] = []  # of the step in hand, in their order

    def backward(self, loss: Tensor, task: str) -> None:
        """Adds the gradients of a loss, scaled; none where it depends on nothing that is trained."""
        if task not in self.tasks:
            self.tasks.append(task)
        if loss.requires_grad:
            self.precision.scaler.scale(loss).backward()

    def finish(self) -> None:
        """Sums over the processes, unscales, checks, then clips."""
        self.reduce(self.parameters)
        self._unscale_and_clip()
        self.tasks = []

    def _unscale_and_clip(self) -> None:
        """Clips to a norm of `clip` over all parameters (0: no limit), which unscaling has to precede."""
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
