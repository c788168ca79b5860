"""MultitaskModel: one encoder, and the tasks with their heads. B examples, T token rows, D hidden size."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from minbert import FIRST_TOKEN_POOLINGS, Batch, BertModel, BertOutput, InputError, pool, use_adapter
from multitask.data.collate import TaskBatch, TokenizedExample
from multitask.model.cache import FrozenRows, kept_pooling
from multitask.model.subset_embedding import SubsetEmbedding

DEFAULT_ADAPTER = "default"  # the one that all tasks share


@dataclass(frozen=True)
class EncoderView:
    """The encoder as a task sees it: `encoder(batch)` is a BertOutput whose rows are fp32 at least.

    The forward runs inside autocast, with the task's own adapters; `noise` (T, D) is added to the embeddings.
    A batch with cached vectors (see TrainingTask.pooled_inputs) has no rows: asking for these, or for vectors
    of another pooling, raises InputError.
    """

    encoder: BertModel
    task: str
    autocast: Callable[[], AbstractContextManager]
    noise: Tensor | None = None

    def __call__(self, batch: Batch, cls_only: bool = False) -> BertOutput:
        if batch.cached is not None and batch.cached.pooling is not None:
            raise self._pooled_otherwise(batch, "token rows")
        return self._run(batch, cls_only, pooler=True)

    def _run(self, batch: Batch, cls_only: bool, pooler: bool) -> BertOutput:
        use_adapter(self.encoder, self.task)
        with self.autocast():
            output = self.encoder(batch, embedding_noise=self.noise, cls_only=cls_only, pooler=pooler)
        wide = torch.promote_types(output.packed.dtype, torch.float32)
        return replace(output, packed=output.packed.to(wide))

    def vectors(self, batch: Batch, pooling: str) -> Tensor:
        """Returns a vector for each sequence, (B, D); the last layer computes only what the pooling reads."""
        cached = batch.cached
        if cached is not None and cached.pooling not in (None, kept_pooling(pooling)):
            raise self._pooled_otherwise(batch, f"vectors pooled by {pooling!r}")
        return pool(self._run(batch, pooling in FIRST_TOKEN_POOLINGS, pooling == "pooler"), pooling)

    def _pooled_otherwise(self, batch: Batch, wanted: str) -> InputError:
        return InputError(
            f"{self.task} reads {wanted}, and the frozen encoder's vectors were computed once, pooled by "
            f"{batch.cached.pooling!r}, as `pooled_inputs` in the task's class says; set it to the pooling "
            f"that the task reads, None for rows"
        )

    @property
    def word_embeddings(self) -> Tensor:
        """The table (V, D), for tasks that say `whole_vocabulary`; else InputError where it is in parts."""
        word = self.encoder.embeddings.word
        if isinstance(word, SubsetEmbedding):
            raise InputError(
                f"{self.task} reads all word embeddings, and the run trains those of its texts; set "
                f"`whole_vocabulary = True` in the task's class"
            )
        return word.weight


class MultitaskModel(nn.Module):
    """One encoder and several tasks, whose heads are `heads[NAME]`.

    The encoder's forward runs inside `autocast`; everything after it (pooling, normalisation, similarities,
    heads, losses) runs outside, in fp32 at least. `gather` collects (B, ...) over the processes of a run, for
    losses that compare a batch's examples. `cache` has activations of frozen layers for `collate`.
    """

    def __init__(
        self,
        encoder: BertModel,
        tasks: Mapping[str, Any],  # TrainingTask, see multitask/tasks/base.py
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        gather: Callable[[Tensor], Tensor] = lambda tensor: tensor,
        frozen_dropout: bool = False,
    ):
        super().__init__()
        self.encoder = encoder
        self.tasks = dict(tasks)  # not registered as modules: their parameters are named heads.NAME.*
        for name, task in self.tasks.items():
            task.build_head(encoder.config)
            if len([*task.parameters()]) > len([*task.head.parameters()]):
                raise InputError(f"{name} has parameters outside of its head; put them into `head`")
        self.heads = nn.ModuleDict({name: task.head for name, task in self.tasks.items()})
        self.autocast = autocast
        self.gather = gather
        self.frozen_dropout = frozen_dropout
        self.cache: dict[str, FrozenRows] = {}  # by task

    def collate(self, task: str, examples: Sequence[TokenizedExample]) -> TaskBatch:
        """Makes a task's batch, with cached activations of frozen layers where they are known."""
        batch = self.tasks[task].collate(examples)
        rows = self.cache.get(task)
        return batch if rows is None else replace(batch, inputs=rows.attach(batch.inputs))

    def view(self, task: str, noise: Tensor | None = None) -> EncoderView:
        """Returns the encoder for one task; `noise` (T, D) is added to the embeddings."""
        return EncoderView(self.encoder, task, self.autocast, noise)

    def forward(self, task: str, inputs: Batch, noise: Tensor | None = None) -> Tensor:
        """Computes a task's outputs (B, ...); `noise` as in `view`."""
        return self.tasks[task](self.view(task, noise), inputs)

    def loss(self, task: str, batch: TaskBatch) -> Tensor:
        """Computes the mean loss of a task's batch times the task's weight, a scalar."""
        batch = batch.to(self.device)
        return self.loss_of(task, self(task, batch.inputs), batch.targets)

    def loss_of(self, task: str, outputs: Tensor, targets: Tensor) -> Tensor:
        """Computes the same from the outputs (B, ...) of the batch's examples."""
        kind = self.tasks[task]
        if kind.batch_level_loss:
            outputs, targets = self.gather(outputs), self.gather(targets)
        return kind.loss(outputs, targets) * kind.config.weight

    def divergence(self, task: str, p: Tensor, q: Tensor) -> Tensor:
        """Computes how far apart two outputs of a task are, times the task's weight, a scalar."""
        return self.tasks[task].divergence(p, q) * self.tasks[task].config.weight

    @property
    def device(self) -> torch.device:
        return self.encoder.embeddings.word.weight.device

    def train(self, mode: bool = True) -> "MultitaskModel":
        """As torch's, but frozen parts stay in evaluation mode, without dropout, unless `frozen_dropout`.

        Parts are the encoder, its embeddings, each layer, the pooler and each head. One without parameters,
        or with a trained adapter, is not frozen.
        """
        super().train(mode)
        for task in self.tasks.values():
            task.train(mode)
        if mode and not self.frozen_dropout:
            encoder = self.encoder
            parts = [encoder, encoder.embeddings, *encoder.encoder.layers, *self.heads.values()]
            for part in [*parts, encoder.pooler] if encoder.pooler is not None else parts:
                trained = [parameter.requires_grad for parameter in part.parameters()]
                if trained and not any(trained):
                    part.eval()
        return self

    def unused_parameters(self) -> set[str]:
        """Returns the names of tensors that no trained task reads."""
        trained = [name for name, task in self.tasks.items() if task.config.train is not None]
        return {name for name, _ in self.named_parameters()}.difference(*map(self.read_by, trained))

    def read_by(self, task: str) -> set[str]:
        """Returns the names of tensors that a task's outputs depend on.

        All but heads and adapters of other tasks, and the pooler of a task that does not pool by it.
        """
        pools = self.tasks[task].config.pooling == "pooler"
        return {
            name
            for name, _ in self.named_parameters()
            if owner_of(name) in (None, task) and (pools or not name.startswith("encoder.pooler."))
        }


def owner_of(name: str) -> str | None:
    """Returns the one task that a tensor belongs to: that of a head, or of an adapter that is not shared."""
    part, _, rest = name.partition(".")
    owner = (rest if part == "heads" else rest.partition(".adapters.")[2]).partition(".")[0]
    return None if part == "encoder" and owner in ("", DEFAULT_ADAPTER) else owner
