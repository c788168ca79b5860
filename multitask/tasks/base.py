"""What a task is: how to read its data, what to compute on it, how to score it.

`TrainingTask` is enough to train; `ScoredTask` can be predicted and scored too. `TextTask` carries the
defaults for a sentence or a pair of sentences. B examples, D hidden size.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minbert import Batch, InputError, Tokenizer, normalize
from multitask.config.task_config import TaskConfig
from multitask.data.collate import TaskBatch, TokenizedExample, pack_sides
from multitask.data.readers import Example, Examples, Reject, read_table
from multitask.model.heads import (
    CosineHead,
    MLPHead,
    ProjectedHead,
    pair_feature_size,
    pair_features,
    project,
)
from multitask.model.multitask_model import Encode
from multitask.tasks.predictions import FORMATS, PredictionFormat, generic_format, write_predictions

# The losses that read an option of TaskConfig, for losses of this package; a user's own read what they like.
LOSS_OPTIONS = {
    "label_smoothing": ("cross_entropy",),
    "class_weights": ("cross_entropy", "focal"),
    "focal_gamma": ("focal",),
    "temperature": ("cosent", "angle", "info_nce"),
    "learn_temperature": ("info_nce",),
    "symmetric": ("info_nce",),
    "hard_negative_weight": ("info_nce",),
    "training_head": ("info_nce",),
    "mask_rate": ("masked_lm",),
}
LOSSES = (
    *("cross_entropy", "focal", "ordinal", "binary_cross_entropy", "cosine_mse", "mse", "pearson"),
    *("cosent", "angle", "info_nce", "masked_lm"),
)


def check_loss_options(name: str, config: TaskConfig) -> None:
    """Raises InputError for an option that is not at its default and that the task's loss does not read."""
    if config.loss not in LOSSES:
        return
    for option, readers in LOSS_OPTIONS.items():
        value = getattr(config, option)
        if config.loss not in readers and value != getattr(TaskConfig, option):
            raise InputError(
                f"{name}.{option.replace('_', '-')} is {value!r}, which only the loss {' or '.join(readers)} "
                f"reads; {name}.loss is {config.loss!r}: change the loss, or leave the option out"
            )


class TrainingTask:
    """A task that can be trained. `name` is the instance's name in the configuration."""

    defaults: dict[str, Any] = {}  # what a registered kind changes of TaskConfig's defaults
    # Whether the loss compares the examples of a batch with one another: contrastive losses, ranks,
    # correlations. Processes then gather outputs and targets before they call it.
    batch_level_loss = False
    # Whether training reads word embeddings of tokens that its examples do not have, or all of them.
    whole_vocabulary = False
    # Whether `collate` draws what the model sees: what frozen layers make of it is then not kept.
    random_inputs = False

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

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        """Is called once with the training rows, before they are tokenized; -> notes for the user.

        For what a loss takes from the data: frequencies of classes, groups of known positives.
        """
        return []

    def tokenize(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[TokenizedExample]:
        raise NotImplementedError

    def collate(self, examples: Sequence[TokenizedExample]) -> TaskBatch:
        raise NotImplementedError

    def loss_weights(self, examples: Sequence[TokenizedExample]) -> list[int] | None:
        """How many terms of the loss's mean each example gives, the words of a tagged sentence; None: one.

        Accumulated batches and several processes are weighted by them.
        """
        return None

    @property
    def pooled_inputs(self) -> str | None:
        """The pooling of the vectors that are all that the task reads of the encoder; None: it reads rows.

        Of an encoder that is frozen as a whole such a task gets vectors that were computed once. It asks for
        them by `encode.vectors(inputs, pooling)`, and `inputs` has the first token of each sequence alone.
        """
        return None

    def head(self, hidden_size: int) -> nn.Module:
        """A fresh head for an encoder of D = hidden_size."""
        raise NotImplementedError

    def forward(self, encode: Encode, head: nn.Module, inputs: Batch) -> Tensor:
        """Outputs whose first dimension is examples; `encode` gives rows in fp32 at least."""
        raise NotImplementedError

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A scalar, the mean over the batch's examples; over the batch as a whole if `batch_level_loss`."""
        raise NotImplementedError

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """How far apart two outputs for the same examples are, a scalar: what SMART and R-Drop make small.

        Raises InputError for a kind of task that has none.
        """
        raise InputError(
            f"{self.name}: tasks of type {self.config.type!r} have no divergence, which smart and r-drop "
            f"need; leave these out, or define `divergence` in the task's class"
        )


class ScoredTask(TrainingTask):
    """A task that can also be predicted, scored and written to a prediction file."""

    primary_metric: str  # higher is better
    prediction_values = "text"  # see PredictionFormat

    def decode(self, outputs: Tensor, inputs: Batch) -> list:
        """Predictions from outputs: the only place that rounds, arg-maxes or rescales."""
        raise NotImplementedError

    def soft(self, outputs: Tensor) -> Tensor:
        """Outputs on the scale on which several models' can be averaged, first dimension examples.

        Probabilities of classes, or scores as they are predicted. Raises InputError for a kind without one.
        """
        raise InputError(f"{self.name}: tasks of type {self.config.type!r} give no number for each example")

    def hard(self, soft: np.ndarray) -> list:
        """Predictions from what `soft` gives, or from a mean of several; those of `decode` for one model."""
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

    def write(
        self, predictions: Sequence, rows: Sequence[Example | Reject], path: Path, dialect: str = "code"
    ) -> None:
        """Writes a prediction file, a prediction for each row."""
        write_predictions(path, [row.id for row in rows], predictions, self.format, dialect)


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
        if config.layer_norm and not config.hidden:
            raise InputError(
                f"{name}.layer-norm stands after hidden layers, and there are none; give {name}.hidden"
            )
        if config.hidden and config.head == "cosine":
            raise InputError(f"{name}.hidden is for {name}.head mlp; a cosine has no layers")
        check_loss_options(name, config)

    @property
    def outputs(self) -> int:
        """C, the number of outputs an example."""
        return 1

    @property
    def towers(self) -> bool:
        return self.config.pairs == "bi"

    @property
    def pooled_inputs(self) -> str:
        return self.config.pooling

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
        size = self.config.projection
        return ProjectedHead(hidden_size, size, self.layers(size)) if size else self.layers(hidden_size)

    def layers(self, size: int) -> nn.Module:
        """What reads sentence vectors of that size: the head without its projection."""
        config = self.config
        if config.head == "cosine":
            return CosineHead()
        size = pair_feature_size(size, config.features) if self.towers else size
        return MLPHead(
            size, self.outputs, config.hidden, config.activation, config.dropout, config.layer_norm
        )

    def sentence_vectors(self, encode: Encode, head: nn.Module, inputs: Batch) -> Tensor:
        """Pooled, projected where the head has a projection, normalised; (B or 2B, D or P)."""
        vectors = project(head, encode.vectors(inputs, self.config.pooling))
        return normalize(vectors, self.config.normalize)

    def forward(self, encode: Encode, head: nn.Module, inputs: Batch) -> Tensor:
        """-> (B, C), or (B,) where C is 1"""
        vectors = self.sentence_vectors(encode, head, inputs)
        return self.compare(head, *vectors.chunk(2)) if self.towers else self._squeeze(head(vectors))

    def compare(self, head: nn.Module, u: Tensor, v: Tensor) -> Tensor:
        """The head's outputs for the vectors of two towers, each (B, D or P) -> (B, C), or (B,)."""
        if self.config.head == "cosine":
            return head(u, v)
        return self._squeeze(head(pair_features(u, v, self.config.features)))

    def _squeeze(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(-1) if self.outputs == 1 else outputs

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.losses[self.config.loss](outputs, targets)
