"""MultitaskModel: one encoder, one head a task."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from minbert import Batch, BertModel, BertOutput
from multitask.data.collate import TaskBatch


class Task(Protocol):
    """What the model asks of a task; see multitask/tasks/base.py."""

    config: Any

    def head(self, hidden_size: int) -> nn.Module: ...

    def forward(self, encode: Callable[[Batch], BertOutput], head: nn.Module, inputs: Batch) -> Tensor: ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor: ...


class MultitaskModel(nn.Module):
    """Runs a task's batch through the shared encoder and the task's own head.

    The encoder's forward runs inside `autocast`; its rows are raised to fp32 at least, and everything after
    it (pooling, normalisation, similarities, heads, losses) runs outside, here and nowhere else.
    """

    def __init__(
        self,
        encoder: BertModel,
        tasks: Mapping[str, Task],
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ):
        super().__init__()
        self.encoder = encoder
        self.tasks = dict(tasks)
        size = encoder.config.hidden_size
        self.heads = nn.ModuleDict({name: task.head(size) for name, task in self.tasks.items()})
        self.autocast = autocast

    def encode(self, batch: Batch) -> BertOutput:
        with self.autocast():
            output = self.encoder(batch)
        return replace(
            output, packed=output.packed.to(torch.promote_types(output.packed.dtype, torch.float32))
        )

    def forward(self, task: str, inputs: Batch) -> Tensor:
        """A task's outputs, the first dimension is examples."""
        return self.tasks[task].forward(self.encode, self.heads[task], inputs)

    def loss(self, task: str, batch: TaskBatch) -> Tensor:
        """The mean loss of a task's batch times the task's weight, a scalar."""
        batch = batch.to(self.device)
        return self.tasks[task].loss(self(task, batch.inputs), batch.targets) * self.tasks[task].config.weight

    @property
    def device(self) -> torch.device:
        return self.encoder.embeddings.word.weight.device

    def train(self, mode: bool = True) -> "MultitaskModel":
        """As torch's, but a frozen encoder stays in evaluation mode, without dropout."""
        super().train(mode)
        if mode and not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def unused_parameters(self) -> set[str]:
        """Names of tensors that no task reads: the pooler where no task pools by it."""
        reads_pooler = any(task.config.pooling == "pooler" for task in self.tasks.values())
        if reads_pooler or self.encoder.pooler is None:
            return set()
        return {f"encoder.pooler.{name}" for name, _ in self.encoder.pooler.named_parameters()}
