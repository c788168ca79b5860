"""The device of a run, and the random generators that it draws from."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from minbert import InputError
from minbert import find_device as find_named_device


def find_device(name: str) -> torch.device:
    """Returns the device of a run; see `minbert.find_device` for its names and errors.

    Of several processes on one machine each takes the card of its LOCAL_RANK, which torchrun sets.
    """
    kind, _, number = ("cuda" if name == "auto" else name).partition(":")
    if "LOCAL_RANK" in os.environ and kind == "cuda" and torch.cuda.is_available():
        if number.isdecimal() or not number:  # before any other card is touched
            name = str(_own_card(torch.device(kind, int(number)) if number else torch.device(kind)))
    device = find_named_device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what names no card, NCCL and kernels among it, takes this one
    return device


def _own_card(device: torch.device) -> torch.device:
    """Returns the card of this process. Raises InputError for one that is named, or that is not there."""
    rank, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device.index is not None and int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1:
        raise InputError(
            f"device {str(device)!r} names one card for all processes; give cuda: each has its own"
        )
    if device.index is not None:
        return device
    if rank >= count:
        raise InputError(
            f"more processes than cards: this is process {rank} of the machine, from 0, and it has {count} "
            f"cards; give torchrun --nproc-per-node {count}"
        )
    return torch.device("cuda", rank)


def random_state(device: torch.device) -> list[Tensor]:
    """Returns the states of torch's generators: the CPU's, and the device's if it is another."""
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(torch.get_device_module(device).get_rng_state(*_index(device)))
    return states


def set_random_state(states: list[Tensor], device: torch.device) -> None:
    """Restores the states of torch's generators; one that was saved without the device's keeps that."""
    torch.set_rng_state(states[0])
    if device.type != "cpu" and len(states) > 1:
        torch.get_device_module(device).set_rng_state(states[1], *_index(device))


@contextmanager
def unchanged_random_state(device: torch.device) -> Iterator[None]:
    """Puts torch's generators back to where they were, whatever the block draws."""
    states = random_state(device)
    try:
        yield
    finally:
        set_random_state(states, device)


def _index(device: torch.device) -> tuple[torch.device, ...]:
    """Returns the arguments that choose a device of its kind; Apple's functions take none."""
    return () if device.type == "mps" else (device,)
