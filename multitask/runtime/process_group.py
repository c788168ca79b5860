"""ProcessGroup: the processes that train one model, `torchrun --nproc-per-node N -m multitask train ...`.

Every process holds the whole model and takes its share of each batch; gradients are summed explicitly at the
end of a step. With one process nothing here does anything.
"""

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from minbert import InputError

BUCKET = 2**22  # numbers that one reduction takes, 16 MB of fp32


class ProcessGroup:
    """The processes of a run: this is `rank` of `size`. Rank 0, where `is_main`, writes files."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank = rank
        self.size = size

    @classmethod
    def start(cls, device_type: str) -> "ProcessGroup":
        """Joins the processes that torchrun started; without torchrun there is one.

        Uses gloo on the CPU, nccl on CUDA. Raises InputError where the group cannot form.
        """
        if "WORLD_SIZE" not in os.environ:
            return cls()
        if not dist.is_initialized():
            try:
                dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
            except (RuntimeError, ValueError) as error:
                raise InputError(
                    f"the processes cannot find one another ({error}); start them with torchrun"
                ) from None
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        """Waits until all processes are here."""
        if self.size > 1:
            dist.barrier()

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
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def all_gather_object(self, value: Any) -> list[Any]:
        """Returns every process's plain value, in order of rank, in every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def all_reduce(self, tensor: Tensor) -> None:
        """Sums a tensor over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def all_reduce_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sums the parameters' gradients over the processes, in flat fp32 buckets.

        A gradient that is missing on one rank counts as zero there; one that is missing on all stays None, so
        that the optimizer leaves a head alone whose task was not in the step.
        """
        if self.size == 1:
            return
        present = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        self.all_reduce(present)
        needed = [parameter for parameter, count in zip(parameters, present.tolist(), strict=True) if count]
        for bucket in _buckets(needed):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([gradient.float().flatten() for gradient in gradients])
            self.all_reduce(flat)
            parts = flat.split([parameter.numel() for parameter in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter).to(parameter.dtype, copy=True)

    def all_gather(self, tensor: Tensor) -> Tensor:
        """(B, ...) of each process -> all of them (sum of B, ...), in order of rank; gradients flow back.

        The processes may hold different numbers of rows.
        """
        return tensor if self.size == 1 else _AllGather.apply(tensor, self)


class _AllGather(torch.autograd.Function):
    """all_gather with a backward: each process's rows get the gradients of all processes' losses."""

    @staticmethod
    def forward(context, tensor: Tensor, group: ProcessGroup) -> Tensor:
        sizes = torch.zeros(group.size, dtype=torch.long, device=tensor.device)
        sizes[group.rank] = len(tensor)
        group.all_reduce(sizes)
        counts = sizes.tolist()
        padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        context.group, context.counts = group, counts
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        context.group.all_reduce(gradient)
        return gradient.split(context.counts)[context.group.rank], None


def _buckets(parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    """Returns the parameters in order, cut into lists of about BUCKET numbers."""
    buckets: list[list[Tensor]] = []
    size = BUCKET
    for parameter in parameters:
        if size >= BUCKET:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.numel()
    return buckets
