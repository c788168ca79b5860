"""The momentum teacher: an exponential moving average of the model's weights."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class MomentumTeacher:
    """SMART's momentum Bregman point (Jiang et al. 2020, equation 6; Tarvainen and Valpola 2017).

    After each real step, with the weights theta: teacher = momentum * teacher + (1 - momentum) * theta. Only
    what is trained is held twice; frozen tensors are the model's own, and one that is unfrozen later is
    followed from the value that it then has. Runs in evaluation mode, without gradients.
    `real_steps()` counts the steps that were not skipped.
    """

    def __init__(self, model: nn.Module, momentum: float, real_steps: Callable[[], int]):
        self.model = model
        self.momentum = momentum
        self.real_steps = real_steps
        self.counted = 0
        self.weights: dict[str, Tensor] = {}
        self._follow()

    @torch.no_grad()
    def __call__(self, task: str, inputs) -> Tensor:
        """Returns the teacher's outputs for a task's inputs."""
        self._follow()
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            return functional_call(self.model, self.weights, (task, inputs))
        finally:
            for module, training in modes:
                module.training = training

    @torch.no_grad()
    def after_step(self, step) -> None:
        """Updates the average, unless the step was skipped."""
        before, self.counted = self.counted, self.real_steps()
        if self.counted == before:
            return
        self._follow()
        current = dict(self.model.named_parameters())
        weights = [current[name].detach() for name in self.weights]
        torch._foreach_lerp_(list(self.weights.values()), weights, 1 - self.momentum)

    def _follow(self) -> None:
        """Copies tensors that have become trainable, before their first step."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and name not in self.weights:
                self.weights[name] = parameter.detach().clone()

    def state_dict(self) -> dict[str, Any]:
        return {"counted": self.counted, "weights": dict(self.weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counted = state["counted"]
        current = dict(self.model.named_parameters())
        self.weights = {
            name: value.detach().to(current[name], copy=True) for name, value in state["weights"].items()
        }
