"""Several processes, one model: `torchrun --nproc-per-node N -m multitask train ...`.

Every process holds the whole model and takes its share of each batch. Gradients are summed explicitly at the
end of a step; no wrapper around the model hides when that happens. With one process nothing here does
anything.
"""

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from minbert import InputError

BUCKET = 2**22  # numbers that one reduction takes, 16 MB of fp32


class Ranks:
    """The processes of a run: `rank` of `count`, of which rank 0, the `main` one, writes."""

    def __init__(self, rank: int = 0, count: int = 1):
        self.rank = rank
        self.count = count

    @classmethod
    def start(cls, device_type: str) -> "Ranks":
        """Joins the processes that torchrun started; without torchrun there is one.

        gloo carries the CPU's tensors, nccl those of CUDA. Raises InputError where the group cannot form.
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
    def main(self) -> bool:
        return self.rank == 0

    def stop(self) -> None:
        """Leaves the group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Gives every process rank 0's values, in place."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def agree(self, value: Any) -> Any:
        """Rank 0's plain value, in every process."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def collect(self, value: Any) -> list[Any]:
        """Every process's plain value, in order of rank, in every process."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def sum(self, tensor: Tensor) -> None:
        """Adds up a tensor over the processes, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def reduce(self, parameters: Sequence[Tensor]) -> None:
        """Sums the parameters' gradients over the processes, in flat fp32 buckets.

        A gradient that one process lacks counts as zero there; one that all lack stays None, so that a head
        whose task was not in the step is left alone by the optimizer.
        """
        if self.count == 1:
            return
        present = torch.tensor(
            [parameter.grad is not None for parameter in parameters],
            dtype=torch.float32,
            device=parameters[0].device,
        )
        self.sum(present)
        needed = [parameter for parameter, count in zip(parameters, present.tolist(), strict=True) if count]
        for bucket in _buckets(needed):
            gradients = [
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                for parameter in bucket
            ]
            flat = torch.cat([gradient.float().flatten() for gradient in gradients])
            self.sum(flat)
            parts = flat.split([parameter.numel() for parameter in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter).to(parameter.dtype, copy=True)

    def gather(self, tensor: Tensor) -> Tensor:
        """(B, ...) of each process -> all of them (sum of B, ...), in order of rank; gradients flow back.

        The processes may hold different numbers of rows.
        """
        return tensor if self.count == 1 else _Gather.apply(tensor, self)


class _Gather(torch.autograd.Function):
    """all_gather with a backward: each process's rows get the gradients of all processes' losses."""

    @staticmethod
    def forward(context, tensor: Tensor, ranks: Ranks) -> Tensor:
        sizes = torch.zeros(ranks.count, dtype=torch.long, device=tensor.device)
        sizes[ranks.rank] = len(tensor)
        ranks.sum(sizes)
        counts = sizes.tolist()
        padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        context.ranks, context.counts = ranks, counts
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        context.ranks.sum(gradient)
        return gradient.split(context.counts)[context.ranks.rank], None


def _buckets(parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    """The parameters in order, cut into lists of about BUCKET numbers."""
    buckets: list[list[Tensor]] = []
    size = BUCKET
    for parameter in parameters:
        if size >= BUCKET:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.numel()
    return buckets
