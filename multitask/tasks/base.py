"""What a task is: how to read its data, what to compute on it, how to score it.

`TrainingTask` is enough to train; `ScoredTask` can be predicted and scored too. `TextTask` carries the
defaults for a sentence or a pair of sentences. B examples, D hidden size.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minbert import Batch, BertOutput, InputError, Tokenizer, normalize, pool
from multitask.data.collate import TaskBatch, TokenizedExample, pack_sides
from multitask.data.readers import Example, Examples, read_table
from multitask.heads import CosineHead, MLPHead, pair_feature_size, pair_features
from multitask.predictions import FORMATS, PredictionFormat, generic_format, write_predictions
from multitask.task_config import TaskConfig

Encode = Callable[[Batch], BertOutput]


class TrainingTask:
    """A task that can be trained. `name` is the instance's name in the configuration."""

    defaults: dict[str, Any] = {}  # what a registered kind changes of TaskConfig's defaults

    def __init__(self, name: str, config: TaskConfig):
        self.name = name
        self.config = config

    def file(self, split: str) -> str | None:
        """The split's file name in the data folder; None where the task has no such split."""
        if split not in ("train", "dev", "test"):
            raise InputError(f"there is no split {split!r}; choose from train, dev, test")
        return getattr(self.config, split)

    def load(self, source: Path, split: str) -> Examples:
        """Rows of a split, and the rejected lines with their reasons. Raises InputError for no such file."""
        raise NotImplementedError

    def tokenize(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[TokenizedExample]:
        raise NotImplementedError

    def collate(self, examples: Sequence[TokenizedExample]) -> TaskBatch:
        raise NotImplementedError

    def head(self, hidden_size: int) -> nn.Module:
        """A fresh head for an encoder of D = hidden_size."""
        raise NotImplementedError

    def forward(self, encode: Encode, head: nn.Module, inputs: Batch) -> Tensor:
        """Outputs whose first dimension is examples; `encode` gives rows in fp32 at least."""
        raise NotImplementedError

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A scalar, the mean over the batch's examples."""
        raise NotImplementedError


class ScoredTask(TrainingTask):
    """A task that can also be predicted, scored and written to a prediction file."""

    primary_metric: str  # higher is better
    prediction_values = "text"  # see PredictionFormat

    def decode(self, outputs: Tensor, inputs: Batch) -> list:
        """Predictions from outputs: the only place that rounds, arg-maxes or rescales."""
        raise NotImplementedError

    def score(self, predictions: Sequence, examples: Sequence[Example]) -> dict[str, float]:
        raise NotImplementedError

    def fallback(self, examples: Sequence[Example]) -> Any:
        """What to predict for a row without text, from the training examples."""
        raise NotImplementedError

    @property
    def format(self) -> PredictionFormat:
        """How the task's prediction files look; the course's own where the task is one of the course."""
        course = FORMATS.get(self.config.type)
        if course is None:
            return generic_format(self.name, self.prediction_values)
        return course if self.name == self.config.type else course.named(self.name)

    def write(self, predictions: Sequence, ids: Sequence[str], path: Path, dialect: str = "code") -> None:
        """Writes a prediction file, a row an id."""
        write_predictions(path, ids, predictions, self.format, dialect)


class TextTask(ScoredTask):
    """A sentence or a pair: pooled vector(s) -> head -> outputs.

    A pair runs as one joined input (`pairs = "cross"`) or as two towers (`"bi"`) whose vectors are compared.
    Subclasses say `outputs`, `targets`, `losses`, `decode`, `score`.
    """

    losses: dict[str, Callable[..., Tensor]] = {}
    target_type = torch.float32

    def __init__(self, name: str, config: TaskConfig):
        super().__init__(name, config)
        if config.loss not in self.losses:
            raise InputError(f"{name}.loss is {config.loss!r}; choose from {', '.join(self.losses)}")
        if (config.text2 is None) != (config.pairs is None):
            raise InputError(f"{name}: a pair of texts needs both text2 and pairs, a single text neither")
        if self.towers and config.head == "mlp" and not config.features:
            raise InputError(f"{name}.features is empty; name what the head shall see of the two vectors")

    @property
    def outputs(self) -> int:
        """C, the number of outputs an example."""
        return 1

    @property
    def towers(self) -> bool:
        return self.config.pairs == "bi"

    def parse_label(self, text: str) -> Any:
        """A label from the file; raises ValueError with the reason where it is none."""
        raise NotImplementedError

    def load(self, source: Path, split: str) -> Examples:
        config = self.config
        name = self.file(split)
        if name is None:
            raise InputError(f"task {self.name} has no {split} split; set {self.name}.{split} to a file name")
        texts = [config.text] if config.text2 is None else [config.text, config.text2]
        return read_table(Path(source) / name, texts=texts, label=config.label, parse_label=self.parse_label)

    def tokenize(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[TokenizedExample]:
        texts = [
            [example.texts[side] for example in examples]
            for side in range(1 if self.config.text2 is None else 2)
        ]
        length = self.config.max_length
        if self.config.pairs == "cross":
            sides = [tokenizer.encode(*texts, max_length=length)]
        else:
            sides = [tokenizer.encode(side, max_length=length) for side in texts]
        return [
            TokenizedExample(example, tuple(sequences))
            for example, *sequences in zip(examples, *sides, strict=True)
        ]

    def collate(self, examples: Sequence[TokenizedExample]) -> TaskBatch:
        targets = [0 if entry.example.label is None else self.target(entry.example) for entry in examples]
        return TaskBatch(
            pack_sides([entry.sides for entry in examples]),
            self._tensor(targets),
            tuple(entry.example.id for entry in examples),
        )

    def target(self, example: Example) -> Any:
        """An example's label as the loss wants it: a number, or a list of numbers."""
        return example.label

    def _tensor(self, targets: list) -> Tensor:
        """The targets as `target_type`; InputError where that would cut 4.6 to 4."""
        if torch.tensor(targets).is_floating_point() and not self.target_type.is_floating_point:
            raise InputError(f"{self.name}: the targets are fractions, target_type is {self.target_type}")
        return torch.tensor(targets, dtype=self.target_type)

    def head(self, hidden_size: int) -> nn.Module:
        config = self.config
        if config.head == "cosine":
            return CosineHead()
        size = pair_feature_size(hidden_size, config.features) if self.towers else hidden_size
        return MLPHead(size, self.outputs, config.hidden, config.activation, config.dropout)

    def forward(self, encode: Encode, head: nn.Module, inputs: Batch) -> Tensor:
        """-> (B, C), or (B,) where C is 1"""
        vectors = normalize(pool(encode(inputs), self.config.pooling), self.config.normalize)  # (B or 2B, D)
        if not self.towers:
            return self._squeeze(head(vectors))
        u, v = vectors.chunk(2)  # each (B, D)
        if isinstance(head, CosineHead):
            return head(u, v)
        return self._squeeze(head(pair_features(u, v, self.config.features)))

    def _squeeze(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(-1) if self.outputs == 1 else outputs

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.losses[self.config.loss](outputs, targets)
