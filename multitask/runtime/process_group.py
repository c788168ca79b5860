"""ProcessGroup: the processes that train one model, `torchrun --nproc-per-node N -m multitask train ...`.

What the processes agree on and exchange beside gradients, which are the engine's (multitask/training/
parallel.py). With one process nothing here does anything.
"""

import atexit
import os
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from minbert import InputError

TIMEOUT = timedelta(minutes=30)  # for the others, which may be stopped, or behind on a slow machine


class Channels(NamedTuple):
    """torch's groups beside the default one, on which the engine reduces gradients while others are in use.

    objects   plain values and flags, by gloo, on the CPU
    gathers   examples' vectors and their gradients, on the device
    """

    objects: dist.ProcessGroup
    gathers: dist.ProcessGroup


class ProcessGroup:
    """The processes of a run: this is `rank` of `size`. Rank 0, where `is_main`, writes files."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank = rank
        self.size = size

    @classmethod
    def start(cls, device: torch.device) -> "ProcessGroup":
        """Joins the processes that torchrun started; without torchrun there is one.

        Uses gloo on the CPU, nccl on CUDA. Raises InputError where the group cannot form.
        """
        if "WORLD_SIZE" not in os.environ:
            return cls()
        if not dist.is_initialized():
            own = {"backend": "nccl", "device_id": device} if device.type == "cuda" else {"backend": "gloo"}
            try:
                store, rank, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
                # torchrun keeps its store over restarts: what a lost process left there is no longer true.
                attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
                store = dist.PrefixStore(f"attempt {attempt}", store)
                dist.init_process_group(**own, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
            except (RuntimeError, ValueError) as error:
                raise InputError(
                    f"the processes cannot find one another ({error}); start them with torchrun"
                ) from None
            atexit.register(_leave)
        group = cls(dist.get_rank(), dist.get_world_size())
        if group.size > 1:
            _channels()  # made by all together
        return group

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        """Waits until all processes are here."""
        if self.size > 1:
            dist.barrier(_channels().objects)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Copies rank 0's values into every process's tensors, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def broadcast_object(self, value: Any) -> Any:
        """Returns rank 0's plain value in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=_channels().objects)
        return values[0]

    def all_gather_object(self, value: Any) -> list[Any]:
        """Returns every process's plain value, in order of rank, in every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=_channels().objects)
        return values

    def gather_object(self, value: Any) -> list[Any]:
        """Returns every process's plain value, in order of rank, in rank 0; elsewhere nothing."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_main else None
        dist.gather_object(value, values, dst=0, group=_channels().objects)
        return values or []

    def any(self, *flags: bool) -> list[bool]:
        """Returns for each flag whether it is set in any process."""
        if self.size == 1:
            return list(flags)
        found = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=_channels().objects)
        return [bool(flag) for flag in found]

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """Returns the sum over the processes of each number, in fp64."""
        if self.size == 1 or not numbers:
            return list(numbers)
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total, group=_channels().objects)
        return total.tolist()

    def all_reduce(self, tensor: Tensor) -> None:
        """Sums a tensor over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def all_gather(self, tensor: Tensor) -> Tensor:
        """(B, ...) of each process -> all of them (sum of B, ...), in order of rank; gradients flow back.

        The processes may hold different numbers of rows.
        """
        return tensor if self.size == 1 else _AllGather.apply(tensor, self)

    @contextmanager
    def common_errors(self):
        """Raises in every process the InputError that any of them raises in the block, the lowest rank's."""
        own = None
        try:
            yield
        except InputError as error:
            own = error
        if self.size == 1:
            if own is not None:
                raise own
            return
        errors = self.all_gather_object(None if own is None else str(own))
        rank = next((rank for rank, text in enumerate(errors) if text is not None), None)
        if rank is not None:
            where = f"process {rank}: " if rank else ""
            raise InputError(where + errors[rank]) from own


@cache
def _channels() -> Channels:
    return Channels(dist.new_group(backend="gloo", timeout=TIMEOUT), dist.new_group(timeout=TIMEOUT))


def _leave() -> None:
    """Ends torch's groups with the process, so that none is left to its threads."""
    if dist.is_initialized():
        dist.destroy_process_group()


class _AllGather(torch.autograd.Function):
    """all_gather with a backward: each process's rows get the gradients of all processes' losses."""

    @staticmethod
    def forward(context, tensor: Tensor, group: ProcessGroup) -> Tensor:
        sizes = torch.zeros(group.size, dtype=torch.long, device=tensor.device)
        sizes[group.rank] = len(tensor)
        dist.all_reduce(sizes, group=_channels().gathers)
        counts = sizes.tolist()
        padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=_channels().gathers)
        context.group, context.counts = group, counts
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient, group=_channels().gathers)
        return gradient.split(context.counts)[context.group.rank], None
