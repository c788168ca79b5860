"""Gradients of the tasks of one step, kept apart on the shared tensors for surgery and telemetry."""

import re
from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from multitask.runtime.precision import Precision
from multitask.runtime.process_group import ProcessGroup
from multitask.training.gradients import Gradients
from multitask.training.methods.surgery import Surgery

Cosines = dict[str, dict[str, float | None]]


class SeparateGradients(Gradients):
    """Gradients whose shared part is held task by task, in one flat buffer each, fp32 at least.

    After each backward the gradients of the tensors that the tasks share (those of the encoder without
    adapters of one task alone) move to the task's buffer, where those of its other micro-batches are added.
    `finish` sums everything over the processes, lets the surgery combine the tasks while the scale is still
    on, and goes on as Gradients does. Where a gradient is not finite the step is skipped.

    Every `conflicts_every` steps the attribute `log` is called with the cosine of each two tasks' gradients,
    as they were before the surgery: {"overall" or a layer: {"TASK TASK": cosine, None where one is zero}}.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        precision: Precision,
        model: nn.Module,
        surgery: Surgery,
        conflicts_every: int | None = None,
        group: ProcessGroup | None = None,
        **finishing: Any,  # clip and check, as for Gradients
    ):
        super().__init__(optimizer, precision, **finishing)
        self.group = group or ProcessGroup()
        self.names = tuple(model.tasks)
        trained = {id(parameter) for parameter in self.parameters}
        layers: dict[str, list[Parameter]] = {}
        for name, parameter in shared_parameters(model.encoder, self.names).items():
            if id(parameter) in trained:
                layers.setdefault(layer_of(name), []).append(parameter)
        self.shared = [parameter for entries in layers.values() for parameter in entries]
        self.sizes = {layer: sum(entry.numel() for entry in entries) for layer, entries in layers.items()}
        in_buffers = {id(parameter) for parameter in self.shared}
        self.others = [parameter for parameter in self.parameters if id(parameter) not in in_buffers]
        self.surgery = surgery
        self.conflicts_every = conflicts_every
        self.log = lambda cosines: None
        self.finished = 0  # steps
        self._buffers: dict[str, Tensor] = {}  # (N,) each, kept from step to step
        self._reached: set[int] = set()  # of `shared`, what any task of the step has a gradient for

    def backward(self, loss: Tensor, task: str) -> None:
        is_first = task not in self.tasks
        super().backward(loss, task)
        buffer = self._buffer(task)
        if is_first:
            buffer.zero_()
        for i, (parameter, part) in enumerate(zip(self.shared, self._parts(buffer), strict=True)):
            if parameter.grad is not None:
                part += parameter.grad
                parameter.grad = None
                self._reached.add(i)

    def finish(self) -> None:
        """Sums over the processes, lets the surgery work, unscales, checks, then clips."""
        self.tasks = [name for name in self.names if name in self.tasks]
        buffers = [self._buffer(task) for task in self.tasks]
        self._sum_over_processes(buffers)
        products = self._products(buffers)
        self.finished += 1
        if self._is_finite(products):
            is_due = self.conflicts_every and self.finished % self.conflicts_every == 0
            if is_due and len(self.tasks) > 1:
                self.log(self._cosines(products))
            self._combine(buffers, self.surgery.factors(_sum(products), self.tasks))
            self._unscale_and_clip()
        elif self.precision.scaler.is_enabled():  # its own look at the gradients skips the step
            self._combine(buffers, [1.0] * len(buffers))
            self._unscale_and_clip()
        else:
            self.precision.skip()
        self.tasks, self._reached = [], set()

    def _sum_over_processes(self, buffers: list[Tensor]) -> None:
        """Sums all gradients; every process has the same tasks, some tensors' gradients maybe in one only."""
        if self.group.size == 1:
            return
        flags = [i in self._reached for i in range(len(self.shared))]
        found = self.group.any(*flags, *(parameter.grad is not None for parameter in self.others))
        self._reached = {i for i, is_there in enumerate(found[: len(self.shared)]) if is_there}
        for buffer in buffers:
            self.group.all_reduce(buffer)
        for parameter, is_there in zip(self.others, found[len(self.shared) :], strict=True):
            if is_there:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                self.group.all_reduce(parameter.grad)

    def _buffer(self, task: str) -> Tensor:
        if task not in self._buffers:
            is_wide = any(parameter.dtype == torch.float64 for parameter in self.shared)
            dtype, device = torch.float64 if is_wide else torch.float32, self.parameters[0].device
            self._buffers[task] = torch.empty(sum(self.sizes.values()), dtype=dtype, device=device)
        return self._buffers[task]

    def _parts(self, buffer: Tensor) -> list[Tensor]:
        """(N,) -> views in the shapes of `shared`."""
        pieces = buffer.split([parameter.numel() for parameter in self.shared]) if self.shared else ()
        return [piece.view_as(parameter) for piece, parameter in zip(pieces, self.shared, strict=True)]

    def _products(self, buffers: list[Tensor]) -> Tensor:
        """Computes the scalar products of the tasks' gradients, (layers, T, T), fp64 on the CPU."""
        pairs = list(combinations_with_replacement(range(len(buffers)), 2))
        tables = torch.zeros(len(self.sizes), len(buffers), len(buffers), dtype=torch.float64)
        if self.shared:
            parts = [buffer.split(list(self.sizes.values())) for buffer in buffers]
            layers = range(len(self.sizes))
            dots = [torch.dot(parts[i][layer], parts[j][layer]) for layer in layers for i, j in pairs]
            values = torch.stack(dots).cpu().double().view(len(self.sizes), len(pairs))
            for column, (i, j) in enumerate(pairs):
                tables[:, i, j] = tables[:, j, i] = values[:, column]
        return tables

    def _is_finite(self, products: Tensor) -> bool:
        """Returns True if all gradients of the step are finite; one's product with itself tells."""
        sums = [parameter.grad.sum() for parameter in self.others if parameter.grad is not None]
        return bool(products.isfinite().all()) and (not sums or bool(torch.stack(sums).isfinite().all()))

    def _combine(self, buffers: list[Tensor], factors: list[float]) -> None:
        """Puts the weighted sum into the shared tensors' gradients, which are views of the first buffer."""
        total = buffers[0].mul_(factors[0])
        for buffer, factor in zip(buffers[1:], factors[1:], strict=True):
            total.add_(buffer, alpha=factor)
        for i, (parameter, part) in enumerate(zip(self.shared, self._parts(total), strict=True)):
            if i in self._reached:
                parameter.grad = part.to(parameter.dtype)

    def _cosines(self, products: Tensor) -> Cosines:
        """Returns the cosines of each two tasks, over all layers and in each one with gradients."""
        found: Cosines = {}
        for layer, table in zip(("overall", *self.sizes), (_sum(products), *products), strict=True):
            lengths = [float(square) ** 0.5 for square in table.diagonal()]
            for i, j in combinations(range(len(self.tasks)), 2) if table.any() else ():
                scale = lengths[i] * lengths[j]
                cosine = float(table[i, j]) / scale if scale else None
                found.setdefault(layer, {})[f"{self.tasks[i]} {self.tasks[j]}"] = cosine
        return found

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"finished": self.finished, "surgery": self.surgery.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.finished = state["finished"]
        self.surgery.load_state_dict(state["surgery"])


def _sum(products: Tensor) -> Tensor:
    """(layers, T, T) -> (T, T), added one by one: the order of `Tensor.sum` depends on the shape."""
    return sum(products, products.new_zeros(products.shape[1:]))


def shared_parameters(encoder: nn.Module, tasks: Sequence[str]) -> dict[str, Parameter]:
    """Returns the encoder's tensors by name, apart from adapters that belong to one task alone."""
    own = tuple(f".adapters.{task}." for task in tasks)
    return {n: p for n, p in encoder.named_parameters() if not any(part in n for part in own)}


def layer_of(name: str) -> str:
    """Returns the part of the encoder that a tensor belongs to: embeddings, layers.N or pooler."""
    found = re.search(r"(?:^|\.)(layers\.\d+)\.", name)
    return found[1] if found else name.partition(".")[0]
