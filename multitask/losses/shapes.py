"""Checks of shapes and precision that every loss makes first."""

import torch
from torch import Tensor

from minbert import InputError


def check_shapes(outputs: Tensor, targets: Tensor) -> None:
    """Raises InputError unless both have one shape; a loss that broadcasts averages the wrong numbers."""
    if outputs.shape != targets.shape:
        raise InputError(
            f"outputs have shape {tuple(outputs.shape)}, targets {tuple(targets.shape)}; they must be equal"
        )


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Raises InputError unless logits are (B, C) and labels (B,)."""
    if logits.ndim != 2:
        raise InputError(f"logits have shape {tuple(logits.shape)}; they must be (B, C)")
    check_shapes(logits[:, 0], labels)


def check_targets(outputs: Tensor, targets: Tensor) -> None:
    """Raises InputError unless targets have the outputs' shape, or, as whole numbers, lack its last axis."""
    if targets.is_floating_point() or outputs.shape[:-1] != targets.shape:
        check_shapes(outputs, targets)


def at_least_fp32(values: Tensor) -> Tensor:
    """Converts fp16 and bf16 to fp32; fp32 and fp64 stay as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
