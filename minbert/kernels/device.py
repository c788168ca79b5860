"""Copies from the host to a device that the host does not wait for."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on the device; on its way from the host to CUDA it keeps nobody waiting.

    Only memory that the system cannot move (pinned) is copied while the host goes on. A copy from other
    memory waits until the device has done all that it was told before. torch keeps pinned memory for reuse,
    and hands it out again only when the copy is done.
    """
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
