"""GradientCheck: every tensor that a task trains gets a gradient in the task's first step."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.nn import Parameter

from multitask.runtime.messages import logger


class GradientCheck:
    """Warns once of tensors that have no gradient after a task's first step.

    `expected(task)` are the tensors that the task uses, by name; frozen ones among them are passed over. A
    gradient must be there, and that of LoRA's `.B` must not be zero, as it is where nothing reaches the
    adapter (that of `.A` is zero at first, since B is). In a step of several tasks, a gradient from any of
    them will do.
    """

    def __init__(self, expected: Callable[[str], Mapping[str, Parameter]]):
        self.expected = expected
        self.checked: set[str] = set()

    def __call__(self, tasks: Iterable[str]) -> None:
        """Checks those of the step's tasks that are new, before the gradients are dropped."""
        for task in tasks:
            if task in self.checked:
                continue
            self.checked.add(task)
            missing = [name for name, tensor in self.expected(task).items() if not _arrived(name, tensor)]
            if missing:
                logger.info(
                    f"after the first step of {task}, trained tensors without a gradient: "
                    f"{', '.join(missing)}; freeze what should stay as it is, or look for a detach"
                )

    def state_dict(self) -> dict[str, Any]:
        return {"checked": sorted(self.checked)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.checked = set(state["checked"])


def _arrived(name: str, tensor: Parameter) -> bool:
    """Returns whether a tensor is frozen or got a gradient."""
    if not tensor.requires_grad:
        return True
    if tensor.grad is None:
        return False
    return not name.endswith(".B") or bool(tensor.grad.any())
