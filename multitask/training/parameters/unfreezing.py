"""Gradual unfreezing: the encoder begins frozen and joins the training from the top, one layer at a time."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn import Parameter

from multitask.runtime.messages import logger
from multitask.training.parameters.freezing import is_added
from multitask.training.plan import Step


class Unfreezing:
    """Gradual unfreezing (Howard and Ruder 2018, section 3.3): first the heads alone, then ever more layers.

    Freezes the encoder of a MultitaskModel. At the end of each epoch (`every` is "epoch"), or of every N-th
    step ("N"), the next part is unfrozen: the last layer together with the pooler, which stands on it; then
    one layer after the other; the embeddings last. All L layers are trained from epoch L + 2 on.

    Tensors that no task reads, that are frozen already, or added to the encoder (see `is_added`) stay as they
    are. The optimizer holds all from the start: AdamW passes a tensor without a gradient over, so that its
    moments and bias correction begin with its own first step. `names` are the tensors that begin frozen.
    """

    def __init__(self, model: nn.Module, every: str):
        self.model = model
        self.steps = None if every == "epoch" else int(every)
        self.unfrozen = 0  # parts
        self.parts = _parts(model)
        self.names = {name for tensors in self.parts.values() for name in tensors}
        for tensors in self.parts.values():
            for parameter in tensors.values():
                parameter.requires_grad_(False)
        moment = "each epoch" if self.steps is None else f"every {self.steps} steps"
        logger.info(f"gradual unfreezing: after {moment} the next of {', '.join(self.parts)}")

    def after_step(self, step: Step) -> None:
        """Unfreezes the next part where it is time."""
        due = step.ends_epoch if self.steps is None else step.number % self.steps == 0
        if not due or self.unfrozen == len(self.parts):
            return
        name = list(self.parts)[self.unfrozen]
        self._unfreeze(self.unfrozen + 1)
        left = len(self.parts) - self.unfrozen
        logger.info(f"step {step.number}: unfroze {name}; {left} of {len(self.parts)} parts are still frozen")

    def left_frozen(self, epochs: int, steps: int) -> list[str]:
        """Returns the parts that a run of so many epochs, and so many steps in all, never trains."""
        moments = epochs - 1 if self.steps is None else (steps - 1) // self.steps
        return list(self.parts)[moments:]

    def _unfreeze(self, count: int) -> None:
        """Makes the first `count` parts trainable; modules change to the mode that goes with it."""
        for tensors in list(self.parts.values())[:count]:
            for parameter in tensors.values():
                parameter.requires_grad_(True)
        self.unfrozen = count
        self.model.train(self.model.training)

    def state_dict(self) -> dict[str, Any]:
        return {"unfrozen": self.unfrozen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Unfreezes what the state has unfrozen, of a fresh object."""
        self._unfreeze(state["unfrozen"])


def _parts(model: nn.Module) -> dict[str, dict[str, Parameter]]:
    """Returns the tensors that are unfrozen together, by name: part by part, in their order."""
    unused = model.unused_parameters()
    frozen = {
        name: parameter
        for name, parameter in model.encoder.named_parameters(prefix="encoder")
        if parameter.requires_grad and name not in unused and not is_added(name)
    }
    depth = len(model.encoder.encoder.layers)
    parts = {f"layer {number}": (f"encoder.encoder.layers.{number}.",) for number in reversed(range(depth))}
    if any(name.startswith("encoder.pooler.") for name in frozen):
        (top,) = parts.pop(f"layer {depth - 1}")
        parts = {f"layer {depth - 1} and the pooler": (top, "encoder.pooler.")} | parts
    parts["embeddings"] = ("encoder.embeddings.",)
    chosen = {
        part: {name: parameter for name, parameter in frozen.items() if name.startswith(prefixes)}
        for part, prefixes in parts.items()
    }
    return {part: tensors for part, tensors in chosen.items() if tensors}
