"""MultitaskModel: one encoder, one head a task."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from minbert import (
    FIRST_TOKEN_POOLINGS,
    Batch,
    BertModel,
    BertOutput,
    InputError,
    pool,
    use_adapter,
)
from multitask.data.collate import TaskBatch, TokenizedExample
from multitask.model.cache import FrozenCache, kept_pooling
from multitask.model.subset_embedding import SubsetEmbedding

DEFAULT_ADAPTER = "default"  # the one that all tasks share


@dataclass(frozen=True)
class EncoderView:
    """The encoder as a task sees it: `encoder(batch)` is a BertOutput whose rows are fp32 at least.

    Its forward runs inside autocast, with the task's own adapters where there are some; `noise` (T, D) is
    added to the embeddings. A batch with cached vectors (see TrainingTask.pooled_inputs) has no rows: asking
    for these, or for vectors of another pooling, raises InputError.
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
        return replace(
            output, packed=output.packed.to(torch.promote_types(output.packed.dtype, torch.float32))
        )

    def vectors(self, batch: Batch, pooling: str) -> Tensor:
        """One vector a sequence, (B, D), without the tokens of the last layer that the pooling leaves out."""
        cached = batch.cached
        if cached is not None and cached.pooling not in (None, kept_pooling(pooling)):
            raise self._pooled_otherwise(batch, f"vectors pooled by {pooling!r}")
        cls_only = pooling in FIRST_TOKEN_POOLINGS
        return pool(self._run(batch, cls_only, pooler=pooling == "pooler"), pooling)

    def _pooled_otherwise(self, batch: Batch, wanted: str) -> InputError:
        return InputError(
            f"{self.task} reads {wanted}, and the frozen encoder's vectors were computed once, pooled by "
            f"{batch.cached.pooling!r}, as `pooled_inputs` in the task's class says; set it to the pooling "
            f"that the task reads, None for rows"
        )

    @property
    def word_embeddings(self) -> Tensor:
        """(V, D), for tasks that say `whole_vocabulary`; InputError where not all of it is trained."""
        word = self.encoder.embeddings.word
        if isinstance(word, SubsetEmbedding):
            raise InputError(
                f"{self.task} reads all word embeddings, and the run trains those of its texts; set "
                f"`whole_vocabulary = True` in the task's class"
            )
        return word.weight


class MultitaskModel(nn.Module):
    """One encoder and several tasks, whose heads are `heads[NAME]`.

    The encoder's forward runs inside `autocast`; its rows are raised to fp32 at least, and everything after
    it (pooling, normalisation, similarities, heads, losses) runs outside, here and nowhere else.
    `gather` collects (B, ...) over the processes of a run, for losses that compare a batch's examples.
    `cache` has the activations of frozen layers for the batches that `collate` makes.
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
        self.cache: FrozenCache | None = None

    def collate(self, task: str, examples: Sequence[TokenizedExample]) -> TaskBatch:
        """A task's batch, with cached activations of frozen layers, where they are known."""
        tokens = sum(example.length for example in examples)
        batch = replace(self.tasks[task].collate(examples), tokens=tokens)
        return batch if self.cache is None else replace(batch, inputs=self.cache.attach(task, batch.inputs))

    def view(self, task: str, noise: Tensor | None = None) -> EncoderView:
        """Returns the encoder for one task; `noise` (T, D) is added to the embeddings."""
        return EncoderView(self.encoder, task, self.autocast, noise)

    def forward(self, task: str, inputs: Batch, noise: Tensor | None = None) -> Tensor:
        """Computes a task's outputs, the first dimension is examples; `noise` as in `view`."""
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
        """As torch's, but frozen parts stay in evaluation mode, without dropout, unless `frozen_dropout`."""
        super().train(mode)
        for task in self.tasks.values():
            task.train(mode)
        if mode and not self.frozen_dropout:
            set_modes(self)
        return self

    def unused_parameters(self) -> set[str]:
        """Returns the names of tensors that no task trains.

        The pooler where no task pools by it; heads of tasks that are scored only; adapters of other tasks.
        """
        trained = {name for name, task in self.tasks.items() if task.config.train is not None}
        reads_pooler = any(self.tasks[name].config.pooling == "pooler" for name in trained)
        unused = set()
        for name, _ in self.named_parameters():
            head = name.split(".")[1] if name.startswith("heads.") else None
            adapter = adapter_of(name)
            if (
                (head is not None and head not in trained)
                or (name.startswith("encoder.pooler.") and not reads_pooler)
                or (adapter not in (None, DEFAULT_ADAPTER) and adapter not in trained)
            ):
                unused.add(name)
        return unused


def set_modes(model: nn.Module) -> None:
    """Puts frozen modules of a MultitaskModel into evaluation mode, where nothing is dropped.

    These are the whole encoder, its embeddings, each layer, the pooler, and each head, where all their
    parameters are frozen. A module without parameters stays in the mode that it is in, and so does a layer
    with trained adapters.
    """
    encoder = model.encoder
    modules = [encoder, encoder.embeddings, *encoder.encoder.layers, encoder.pooler, *model.heads.values()]
    for module in modules:
        if module is not None and _is_frozen(module):
            module.eval()


def _is_frozen(module: nn.Module) -> bool:
    """Returns whether a module has parameters and all of them are frozen."""
    trained = [parameter.requires_grad for parameter in module.parameters()]
    return bool(trained) and not any(trained)


def adapter_of(name: str) -> str | None:
    """The name of the adapter that a tensor of the encoder belongs to."""
    _, adapted, rest = name.partition(".adapters.")
    return rest.partition(".")[0] if adapted and name.startswith("encoder.") else None
