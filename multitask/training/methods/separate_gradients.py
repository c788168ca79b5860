"""Gradients of the tasks of one step, kept apart on the shared tensors for surgery and telemetry."""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations, combinations_with_replacement
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from multitask.runtime.precision import Precision
from multitask.runtime.process_group import ProcessGroup
from multitask.training.gradients import Gradients
from multitask.training.methods.gradient_check import GradientCheck
from multitask.training.methods.surgery import Surgery

Cosines = dict[str, dict[str, float | None]]


class SeparateGradients(Gradients):
    """Gradients whose shared part is held task by task, in one flat buffer each, fp32 at least.

    After each backward the gradients of `shared` (tensors by name, see `shared_parameters`) move to the
    task's buffer, where those of its other micro-batches are added; the heads' stay where they are. `finish`
    sums everything over the processes (one that had no micro-batch of a task takes part with zeros), lets the
    surgery combine the tasks while the scale is still on, and goes on as Gradients does. Where a gradient is
    not finite the step is skipped. `names` are the run's tasks; a step may have any of them.

    Every `conflicts_every` steps the attribute `log` is called with the cosine of each two tasks' gradients,
    as they were before the surgery: {"overall" or a layer: {"TASK TASK": cosine, None where one is zero}}.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        precision: Precision,
        shared: Mapping[str, Parameter],
        names: Sequence[str],
        surgery: Surgery,
        conflicts_every: int | None = None,
        clip: float = 0.0,
        group: ProcessGroup | None = None,
        check: GradientCheck | None = None,
    ):
        super().__init__(optimizer, precision, clip, group, check)
        trained = {id(parameter) for parameter in self.parameters}
        layers: dict[str, list[Parameter]] = {}
        for name, parameter in shared.items():
            if id(parameter) in trained:
                layers.setdefault(layer_of(name), []).append(parameter)
        self.shared = [parameter for entries in layers.values() for parameter in entries]
        self.sizes = {layer: sum(entry.numel() for entry in entries) for layer, entries in layers.items()}
        of_encoder = {id(parameter) for parameter in self.shared}
        self.others = [parameter for parameter in self.parameters if id(parameter) not in of_encoder]
        self.names = tuple(names)
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
        self._agree()
        buffers = [self._buffer(task) for task in self.tasks]
        for buffer in buffers:
            self.group.all_reduce(buffer)
        self.group.all_reduce_gradients(self.others)
        products = self._products(buffers)
        self.finished += 1
        if self._is_finite(products):
            is_due = self.conflicts_every and self.finished % self.conflicts_every == 0
            if is_due and len(self.tasks) > 1:
                self.log(_cosines(products, self.tasks))
            whole = sum(products.values(), torch.zeros(len(buffers), len(buffers), dtype=torch.float64))
            self._combine(buffers, self.surgery.factors(whole, self.tasks))
            self._unscale_and_clip()
        elif self.precision.scaler.is_enabled():  # its own look at the gradients skips the step
            self._combine(buffers, [1.0] * len(buffers))
            self._unscale_and_clip()
        else:
            self.precision.skip()
        self.tasks = []
        self._reached = set()

    def _agree(self) -> None:
        """Learns which tasks and shared tensors any process has gradients for, in the same order in each."""
        flags = [name in self.tasks for name in self.names]
        flags += [i in self._reached for i in range(len(self.shared))]
        flags = torch.tensor(flags, dtype=torch.float32, device=self.parameters[0].device)
        self.group.all_reduce(flags)
        found = [flag > 0 for flag in flags.tolist()]
        tasks = [name for name, is_there in zip(self.names, found, strict=False) if is_there]
        for task in tasks:
            if task not in self.tasks:
                self._buffer(task).zero_()
        self.tasks = tasks
        self._reached = {i for i, is_there in enumerate(found[len(self.names) :]) if is_there}

    def _buffer(self, task: str) -> Tensor:
        if task not in self._buffers:
            dtypes = [parameter.dtype for parameter in self.shared]
            wide = torch.float64 if torch.float64 in dtypes else torch.float32
            device = self.parameters[0].device
            self._buffers[task] = torch.empty(sum(self.sizes.values()), dtype=wide, device=device)
        return self._buffers[task]

    def _parts(self, buffer: Tensor) -> list[Tensor]:
        """(N,) -> views in the shapes of `shared`."""
        pieces = buffer.split([parameter.numel() for parameter in self.shared]) if self.shared else ()
        return [piece.view_as(parameter) for piece, parameter in zip(pieces, self.shared, strict=True)]

    def _products(self, buffers: list[Tensor]) -> dict[str, Tensor]:
        """For each layer the scalar products of the tasks' gradients, (T, T), fp64 on the CPU."""
        pairs = list(combinations_with_replacement(range(len(buffers)), 2))
        tables = torch.zeros(len(self.sizes), len(buffers), len(buffers), dtype=torch.float64)
        if self.shared:
            parts = [buffer.split(list(self.sizes.values())) for buffer in buffers]
            dots = [
                torch.dot(parts[i][layer], parts[j][layer])
                for layer in range(len(self.sizes))
                for i, j in pairs
            ]
            values = torch.stack(dots).cpu().double().view(len(self.sizes), len(pairs))
            for column, (i, j) in enumerate(pairs):
                tables[:, i, j] = tables[:, j, i] = values[:, column]
        return dict(zip(self.sizes, tables, strict=True))

    def _is_finite(self, products: Mapping[str, Tensor]) -> bool:
        """Whether all gradients of the step are; a gradient's product with itself tells."""
        if not all(bool(table.isfinite().all()) for table in products.values()):
            return False
        sums = [parameter.grad.sum() for parameter in self.others if parameter.grad is not None]
        return not sums or bool(torch.stack(sums).isfinite().all())

    def _combine(self, buffers: list[Tensor], factors: list[float]) -> None:
        """Puts the weighted sum into the shared tensors' gradients, which are views of the first buffer."""
        total = buffers[0].mul_(factors[0])
        for buffer, factor in zip(buffers[1:], factors[1:], strict=True):
            total.add_(buffer, alpha=factor)
        for i, (parameter, part) in enumerate(zip(self.shared, self._parts(total), strict=True)):
            if i in self._reached:
                parameter.grad = part.to(parameter.dtype)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"finished": self.finished, "surgery": self.surgery.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.finished = state["finished"]
        self.surgery.load_state_dict(state["surgery"])


def shared_parameters(encoder: nn.Module, tasks: Sequence[str]) -> dict[str, Parameter]:
    """The encoder's tensors by name, apart from adapters that belong to one task alone."""
    own = tuple(f".adapters.{task}." for task in tasks)
    return {
        name: parameter
        for name, parameter in encoder.named_parameters()
        if not any(part in name for part in own)
    }


def layer_of(name: str) -> str:
    """The part of the encoder that a tensor belongs to: embeddings, layers.N or pooler."""
    found = re.search(r"(?:^|\.)(layers\.\d+)\.", name)
    return found[1] if found else name.partition(".")[0]


def _cosines(products: Mapping[str, Tensor], tasks: Sequence[str]) -> Cosines:
    """The cosines of each two tasks, over all layers and in each one where there are gradients."""
    tables = {"overall": sum(products.values()), **products} if products else {}
    pairs = list(combinations(range(len(tasks)), 2))
    return {
        layer: {f"{tasks[i]} {tasks[j]}": _cosine(table, i, j) for i, j in pairs}
        for layer, table in tables.items()
        if table.any()
    }


def _cosine(products: Tensor, i: int, j: int) -> float | None:
    lengths = float(products[i, i]) ** 0.5 * float(products[j, j]) ** 0.5
    return float(products[i, j]) / lengths if lengths else None
