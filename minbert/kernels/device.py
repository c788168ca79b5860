"""Devices: the one that a name stands for, and copies to it that the host does not wait for."""

import torch
from torch import Tensor

from minbert.errors import InputError, did_you_mean

KINDS = ("cpu", "cuda", "mps")


def find_device(name: str) -> torch.device:
    """Returns a device; `auto` is CUDA where there is a card, else the CPU.

    Raises InputError for another name than auto, cpu, cuda, cuda:N and mps, and for what is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    if kind not in KINDS or (colon and not number.isdecimal()):
        names = ("auto", "cpu", "cuda", "cuda:N", "mps")
        raise InputError(
            f"device {name!r} does not exist{did_you_mean(kind, names)}; choose from {', '.join(names)}"
        )
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here[kind]:
        built = kind != "cuda" or torch.version.cuda or torch.version.hip
        why = "this machine has none that torch can use" if built else "this torch is built without CUDA"
        usable = ", ".join(device for device in KINDS if here[device])
        raise InputError(f"device {name!r} cannot be used: {why}; choose from auto, {usable}")
    device = torch.device(name)
    try:
        torch.empty(1, device=device)
    except RuntimeError as error:  # a card of that number is not there, or is not free
        cards = f"; the cards are 0 to {torch.cuda.device_count() - 1}" if kind == "cuda" else ""
        raise InputError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}{cards}") from None
    return device


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on the device; on its way from the host to CUDA it keeps nobody waiting.

    Only memory that the system cannot move (pinned) is copied while the host goes on. A copy from other
    memory waits until the device has done all that it was told before. torch keeps pinned memory for reuse,
    and hands it out again only when the copy is done.
    """
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
