"""GradientCheck: every tensor that a task trains gets a gradient in the task's first step."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from multitask.runtime.messages import logger


class GradientCheck:
    """Warns once of trained tensors of a MultitaskModel without a gradient after a task's first step.

    The gradient of LoRA's `.B` must not be zero either, as it is where nothing reaches the adapter (that of
    `.A` is zero at first, since B is). In a step of several tasks, a gradient from any of them will do.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.checked: set[str] = set()

    def __call__(self, tasks: Iterable[str]) -> None:
        """Checks those of the step's tasks that are new, before the gradients are dropped."""
        for task in tasks:
            if task in self.checked:
                continue
            self.checked.add(task)
            read, tensors = self.model.read_by(task), self.model.named_parameters()
            missing = [name for name, tensor in tensors if name in read and _is_missing(name, tensor)]
            if missing:
                logger.info(
                    f"after the first step of {task}, trained tensors without a gradient: "
                    f"{', '.join(missing)}; freeze what should stay as it is, or look for a detach"
                )

    def state_dict(self) -> dict[str, Any]:
        return {"checked": sorted(self.checked)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.checked = set(state["checked"])


def _is_missing(name: str, parameter: nn.Parameter) -> bool:
    """Returns True if a trained tensor has no gradient, or LoRA's B none but zeros."""
    gradient = parameter.grad
    return parameter.requires_grad and (gradient is None or (name.endswith(".B") and not gradient.any()))
