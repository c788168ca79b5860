"""Precision: the number format in which the encoder computes, and the optimizer step that goes with it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.optim import Optimizer

from minbert import InputError
from multitask.config.option_types import one_of


class Precision:
    """fp32, bf16 or fp16 (with loss scaling). Master weights stay fp32 in each.

    `schedule` maps the number of real steps to a factor on each group's `initial_lr`. A step that is skipped,
    by the scaler because an fp16 gradient overflowed or by `skip`, changes no weight and does not count.
    `factor` and `was_skipped` tell of the last step: the schedule's factor in it, and whether it was skipped.
    """

    def __init__(self, name: str, device: torch.device, schedule: Callable[[int], float] = lambda step: 1.0):
        self.name = resolve_precision(name, device)
        self.device = device
        self.schedule = schedule
        self.steps = 0
        self.skipped = 0
        self.factor = 1.0
        self.was_skipped = False
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.name == "fp16")
        self._skips_next = False

    def autocast(self) -> AbstractContextManager:
        """Returns the context that the encoder's forward runs in."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.name)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def skip(self) -> None:
        """Makes the next `step` drop its gradients: one of them is not finite, and no scaler checks that."""
        self._skips_next = True

    def step(self, optimizer: Optimizer) -> None:
        """Takes an optimizer step at the scheduled rates, then drops the gradients."""
        self.factor = self.schedule(self.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.factor
        self.was_skipped = self._skips_next or not self._update(optimizer)
        self.skipped += self.was_skipped
        self.steps += not self.was_skipped
        self._skips_next = False
        optimizer.zero_grad(set_to_none=True)

    def _update(self, optimizer: Optimizer) -> bool:
        """Steps the optimizer; returns False where the scaler prevented that, and then lowered the scale."""
        if not has_gradients(optimizer):  # the scaler refuses a step without any; it has nothing to skip
            return True
        scale = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        return self.scaler.get_scale() >= scale

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "skipped": self.skipped, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self.skipped = state["skipped"]
        if state["scaler"] and self.scaler.is_enabled():  # else it was saved in another precision
            self.scaler.load_state_dict(state["scaler"])


def has_gradients(optimizer: Optimizer) -> bool:
    """Returns True if any of the optimizer's tensors has a gradient."""
    return any(
        parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"]
    )


def resolve_precision(name: str, device: torch.device) -> str:
    """Returns the name of a precision; `auto` is fp32 on the CPU, bf16 on CUDA cards that have it, else fp16.

    Older cards compute bf16 in software, which is slow.

    fp16 needs CUDA: torch computes it on the CPU as well, as the tests of the scaler do, but slower than fp32
    and with no memory saved that bf16 would not save without a scale.
    """
    one_of("precision", name, ("auto", "fp32", "bf16", "fp16"))
    if name == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name == "fp16" and device.type != "cuda":
        raise InputError(f"precision fp16 needs a CUDA device, this run is on {device}; take bf16 or fp32")
    return name
