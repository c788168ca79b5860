"""Precision: in which numbers the encoder computes, and the optimizer step that goes with it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.optim import Optimizer

from minbert import InputError


class Precision:
    """fp32, bf16 or fp16 (with loss scaling). Master weights stay fp32 in each.

    `schedule` maps the number of real steps to a factor on each group's `initial_lr`. A step that the scaler
    skips, because an fp16 gradient overflowed, does not count.
    """

    def __init__(self, name: str, device: torch.device, schedule: Callable[[int], float] = lambda step: 1.0):
        self.name = resolve_precision(name, device)
        self.device = device
        self.schedule = schedule
        self.steps = 0
        self.skipped = 0
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.name == "fp16")

    def autocast(self) -> AbstractContextManager:
        """The context that the encoder's forward runs in."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.name)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def set_rates(self, optimizer: Optimizer) -> None:
        """Gives each group the rate of the next step."""
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.schedule(self.steps)

    def step(self, optimizer: Optimizer) -> None:
        """One optimizer step at the scheduled rates; then the gradients are dropped."""
        self.set_rates(optimizer)
        scale = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        if self.scaler.get_scale() < scale:
            self.skipped += 1
        else:
            self.steps += 1
        optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "skipped": self.skipped, "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self.skipped = state["skipped"]
        self.scaler.load_state_dict(state["scaler"])


def resolve_precision(name: str, device: torch.device) -> str:
    """What `auto` means: fp32 on the CPU, bf16 on CUDA cards that have it, else fp16. fp16 needs CUDA."""
    if name == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if name == "fp16" and device.type != "cuda":
        raise InputError(f"precision fp16 needs a CUDA device, this run is on {device}; take bf16 or fp32")
    return name
