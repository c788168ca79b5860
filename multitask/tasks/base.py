"""Base classes of tasks: reading data, computing outputs and losses, scoring and exporting.

`TrainingTask` is enough to train; `ScoredTask` can be predicted and scored too. `TextTask` carries the
defaults for a sentence or a pair of sentences. B examples, C outputs, D hidden size, P projected size.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from minbert import Batch, BertConfig, InputError, Tokenizer, normalize
from multitask.config.option_types import one_of
from multitask.config.task_config import LABEL_OPTIONS, LOSS_OPTIONS, TaskConfig
from multitask.data.collate import TaskBatch, TokenizedExample, pack_sides
from multitask.data.given_rows import SPLITS
from multitask.data.readers import Example, Examples, Reject, read_table
from multitask.losses.classification import cross_entropy, focal
from multitask.losses.shapes import check_targets
from multitask.model.heads import CosineHead, MLPHead, ProjectedHead, pair_feature_size, pair_features
from multitask.model.multitask_model import EncoderView
from multitask.tasks.predictions import PredictionFormat, generic_format, write_predictions

LossFunction = Callable[..., Tensor]
# Keys of TaskConfig that decide what our kinds read and how they tokenize.
DATA_OPTIONS = (
    *("text", "text2", "negatives", "label", "label_separator", "delimiter", "low", "high", "pairs"),
    "max_length",
)


class Loss:
    """A loss function and the keys of TaskConfig that it reads, whose values follow outputs and targets.

    A plain function in `losses` reads no keys, and none are refused for it.
    """

    def __init__(self, function: LossFunction, *options: str):
        self.function = function
        self.options = options

    def __call__(self, outputs: Tensor, targets: Tensor, *values: Any) -> Tensor:
        return self.function(outputs, targets, *values)


class SentenceVectors(NamedTuple):
    """Pooling, normalisation and projection of a task's sentence vectors."""

    pooling: str
    normalization: str | None
    projection: nn.Module | None


class ClassifierOutputs(NamedTuple):
    """The outputs of a linear head as transformers' config.json describes them."""

    names: Sequence[str]
    about: str
    problem_type: str | None = None


class TrainingTask(nn.Module):
    """A task that can be trained. `name` is the instance's name in the configuration.

    The task owns its `head`, whose parameters are named heads.NAME.* in the model; other parameters of a
    task are refused.
    """

    # The form of the task's files: a table, plain text with an example a line, or words with tags.
    reads: ClassVar[Literal["table", "lines", "words"]] = "table"
    # Changes of TaskConfig's defaults; a kind that extends another one writes Base.defaults | {...}.
    defaults: ClassVar[dict[str, Any]] = {}
    losses: ClassVar[dict[str, LossFunction]] = {}
    hub_task: ClassVar[str] = "other"  # the Hugging Face Hub's name for what the task does
    architecture: ClassVar[str | None] = None  # transformers' class for a linear head
    scored: ClassVar[bool] = False  # whether the task is a ScoredTask
    # The label: one of several "classes", any number of "labels", "binary" 0 or 1, or a "number" from low to
    # high. `example_scores` are then (B, C) or (B,) probabilities, or numbers. None for anything else.
    target_kind: ClassVar[Literal["classes", "labels", "binary", "number"] | None] = None
    label_options: ClassVar[tuple[str, ...]] = LABEL_OPTIONS  # those that the kind reads; others are refused
    # Whether the loss compares the examples of a batch with one another: contrastive losses, ranks,
    # correlations. Processes then gather outputs and targets before they call it.
    batch_level_loss: bool = False
    contrastive: ClassVar[bool] = False  # whether the loss compares sentence vectors, without a head of use
    uniform_batches: bool = False  # whether batches are drawn without regard to the inputs' lengths
    # Whether training reads word embeddings of tokens that its examples do not have, or all of them.
    whole_vocabulary: bool = False
    # Of a class outside of this package: any text, and another one with each change of what `load`,
    # `parse_label` or `tokenize` give. Without it the run's tokens are not kept for later runs.
    data_version: ClassVar[str | None] = None
    # Whether `collate` draws the model's inputs at random: activations of frozen layers are then not cached.
    random_inputs: bool = False
    # (pooling, normalization) where sentence vectors as such are trained; evaluation has to use the same.
    sentence_pooling: tuple[str, str | None] | None = None

    def __init__(self, name: str, config: TaskConfig):
        super().__init__()
        self.name = name
        self.config = config
        self.head: nn.Module | None = None
        if config.delimiter is not None and self.reads != "table":
            raise InputError(
                f"{name}.delimiter is {config.delimiter!r}, and tasks of type {config.type!r} read no CSV; "
                f"leave it out"
            )
        self._check_loss()
        for option in LABEL_OPTIONS:
            value = getattr(config, option)
            if option not in self.label_options and value != getattr(TaskConfig, option):
                read = " and ".join(self.label_options) or "none"
                raise InputError(
                    f"{name}.{option.replace('_', '-')} is {value!r}, which tasks of type {config.type!r} do "
                    f"not read (of these options: {read}); leave it out, or take another type"
                )

    def _check_loss(self) -> None:
        """Raises InputError for a loss that is not the kind's, and for an option that the loss ignores."""
        name, config = self.name, self.config
        if not self.losses:
            return
        if config.loss not in self.losses:
            raise InputError(f"{name}.loss is {config.loss!r}; choose from {', '.join(self.losses)}")
        if not isinstance(self.losses[config.loss], Loss):
            return
        for option in LOSS_OPTIONS:
            readers = [key for key, loss in self.losses.items() if option in getattr(loss, "options", ())]
            value = getattr(config, option)
            if config.loss not in readers and value != getattr(TaskConfig, option):
                known = (
                    f"only the loss {' or '.join(readers)} reads" if readers else "no loss of its type reads"
                )
                raise InputError(
                    f"{name}.{option.replace('_', '-')} is {value!r}, which {known}; {name}.loss is "
                    f"{config.loss!r}: change the loss, or leave the option out"
                )

    def file(self, split: str) -> str | None:
        """Returns the split's file name in the data folder; None where the task has no such split."""
        one_of("split", split, SPLITS)
        return getattr(self.config, split)

    def path(self, source: str | Path, split: str) -> Path:
        """Returns the split's file in a data folder. Raises InputError where the task has no such split."""
        name = self.file(split)
        if name is None:
            raise InputError(f"task {self.name} has no {split} split; set {self.name}.{split} to a file name")
        return Path(source) / name

    def load(self, source: Path, split: str) -> Examples:
        """Reads the rows of a split, and the rejected lines with their reasons; InputError without a file."""
        raise NotImplementedError

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        """Is called once with the training rows, before the first batch; returns notes for the user.

        For what a loss takes from the data: frequencies of classes, groups of positives; `label_counts`,
        `labels_of` and `hashes_of` (multitask/data/readers.py) read these without an object a row.
        """
        return []

    def tokenize(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[TokenizedExample]:
        """Returns the examples with their token sequences, of each the same number.

        Is called for pieces of a split; once, for none, where the tokens were kept from an earlier run.
        """
        raise NotImplementedError

    def data_facts(self, split: str) -> dict[str, Any] | None:
        """Returns what decides the rows and tokens of a split's files; None where nobody can say."""
        kind = type(self)
        ours = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
        version = None if ours else vars(kind).get("data_version")
        if not ours and version is None:
            return None
        values = asdict(self.config)
        config = {key: values[key] for key in DATA_OPTIONS} if ours else values
        labels = list(getattr(self, "_labels", ()))
        name = f"{kind.__module__}.{kind.__qualname__}"
        return {"kind": name, "version": version, "split": split, "labels": labels, "config": config}

    def collate(self, examples: Sequence[TokenizedExample]) -> TaskBatch:
        raise NotImplementedError

    def loss_weights(self, examples: Sequence[TokenizedExample]) -> list[int] | None:
        """Returns how many terms of the loss's mean each example gives (words of a sentence); None: one each.

        Accumulated batches and several processes are weighted by them.
        """
        return None

    @property
    def pooled_inputs(self) -> str | None:
        """Returns the pooling of vectors that are all that the task reads of the encoder; None for rows.

        Over an encoder that is frozen as a whole, such a task gets vectors that were computed once. It asks
        for them by `encoder.vectors(inputs, pooling)`; `inputs` has the first token of each sequence only.
        """
        return None

    def build_head(self, encoder: BertConfig) -> None:
        """Sets `head` to a fresh one for an encoder. Called once, by the model, when labels are known."""
        raise NotImplementedError

    def forward(self, encoder: EncoderView, inputs: Batch) -> Tensor:
        """Computes outputs whose first dimension is examples; `encoder` gives rows in fp32 at least."""
        raise NotImplementedError

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Computes a scalar, the mean over the batch's examples; over the whole batch if `batch_level_loss`.

        Raises InputError where the shapes of outputs and targets do not fit.
        """
        loss = self.losses[self.config.loss]
        if not isinstance(loss, Loss):
            check_targets(outputs, targets)
            return loss(outputs, targets)
        return loss(outputs, targets, *(self._option(key, outputs.device) for key in loss.options))

    def _option(self, key: str, device: torch.device) -> Any:
        """Returns the value of a key that the loss reads."""
        return getattr(self.config, key)

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Computes how far apart two outputs of the same examples are, a scalar for SMART and R-Drop.

        Raises InputError for a kind of task that has none.
        """
        raise InputError(
            f"{self.name}: tasks of type {self.config.type!r} have no divergence, which smart and r-drop "
            f"need; leave these out, or define `divergence` in the task's class"
        )

    # Exports

    @property
    def input_form(self) -> Literal["text", "words", "pair", "pair of towers"]:
        """Returns the form of an example's texts."""
        if self.config.pairs is None:
            return "text"
        return "pair" if self.config.pairs == "cross" else "pair of towers"

    def graph_outputs(self) -> dict[str, str]:
        """Describes the outputs of the task's ONNX graph, by name. Raises InputError without a graph."""
        raise InputError(
            f"{self.name} has a head for its training only; export the encoder alone, without --task"
        )

    def graph(self, encoder: EncoderView, inputs: Batch | tuple[Batch, Batch]) -> tuple[Tensor, ...]:
        """Computes `graph_outputs` for one batch, or for the two sides of a pair of towers."""
        raise NotImplementedError

    def sentence_vector_parts(self) -> SentenceVectors:
        """Returns how sentence vectors are made. Raises InputError for a task that makes none."""
        raise InputError(
            f"{self.name} has outputs for tokens and no sentence vectors; export the encoder alone, without "
            f"--task, or the task with --format onnx"
        )

    def classifier_misfit(self) -> str | None:
        """Returns why no class of transformers computes what the task's head does; None where one does."""
        return f"tasks of type {self.config.type!r} have another kind of head"

    def classifier_outputs(self) -> ClassifierOutputs:
        """Describes the outputs of a linear head, for a task without a `classifier_misfit`."""
        raise NotImplementedError

    def classifier(self) -> nn.Linear:
        """Returns the layer that makes `classifier_outputs`."""
        return next(layer for layer in self.head if isinstance(layer, nn.Linear))

    def _head_misfit(self, base: type["TrainingTask"]) -> str | None:
        """Returns why a head is not one linear layer that is applied as the class `base` does it."""
        if self.config.hidden:
            return "its head has hidden layers, and transformers' is one linear layer"
        own, usual = type(self), base
        methods = ("forward", "sentence_vectors")
        changed = any(getattr(own, name, None) is not getattr(usual, name, None) for name in methods)
        if changed or not isinstance(self.head, MLPHead):
            return "its class computes its outputs in its own way"
        return None


class ScoredTask(TrainingTask):
    """A task that can also be predicted, scored and written to a prediction file."""

    scored = True
    primary_metric: str  # higher is better
    prediction_values = "text"  # see PredictionFormat

    def decode(self, outputs: Tensor, inputs: Batch) -> list:
        """Returns predictions from outputs: the only place that rounds, arg-maxes or rescales."""
        raise NotImplementedError

    def example_scores(self, outputs: Tensor) -> Tensor:
        """Returns outputs on a scale on which those of several models can be averaged; first dimension B.

        Probabilities of classes, or scores as they are predicted. Raises InputError for a kind without one.
        """
        raise InputError(f"{self.name}: tasks of type {self.config.type!r} give no number for each example")

    @property
    def has_example_scores(self) -> bool:
        return type(self).example_scores is not ScoredTask.example_scores

    def hard(self, scores: np.ndarray) -> list:
        """Returns predictions from `example_scores`, or from a mean of several; those of `decode` for one."""
        raise NotImplementedError

    @property
    def classes(self) -> tuple:
        """Returns what can be predicted, in the order of `probabilities`; InputError for no classes."""
        raise InputError(
            f"{self.name} has no probabilities: tasks of type {self.config.type!r} predict no classes; leave "
            f"the probabilities out"
        )

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Returns the probability of each of `classes`, (N, C), from `example_scores`.

        Raises InputError as `classes` does.
        """
        count = len(self.classes)
        if self.target_kind == "binary" and len(scores):
            scores = np.stack([1 - scores, scores], axis=1)
        return scores.reshape(-1, count)

    def score(self, predictions: Sequence, examples: Sequence[Example]) -> dict[str, float]:
        raise NotImplementedError

    def majority_prediction(self, examples: Sequence[Example]) -> Any:
        """Returns the prediction for a row without text, from the training examples."""
        raise NotImplementedError

    @property
    def format(self) -> PredictionFormat:
        """Returns the format of the task's prediction files."""
        return generic_format(self.name, self.prediction_values)

    def write(
        self, predictions: Sequence, rows: Sequence[Example | Reject], path: Path, file_format: str = "code"
    ) -> None:
        """Writes a prediction file, a prediction for each row."""
        write_predictions(path, (row.id for row in rows), predictions, self.format, file_format)

    def graph_outputs(self) -> dict[str, str]:
        outputs = {"logits": "the outputs of the task's class"}
        scores = {"probabilities": "as the task's class makes them of the logits"}
        return outputs | scores if self.has_example_scores else outputs

    def graph(self, encoder: EncoderView, inputs: Batch | tuple[Batch, Batch]) -> tuple[Tensor, ...]:
        outputs = self.graph_logits(encoder, inputs)
        return (outputs, self.example_scores(outputs).float()) if self.has_example_scores else (outputs,)

    def graph_logits(self, encoder: EncoderView, inputs: Batch | tuple[Batch, Batch]) -> Tensor:
        """Computes the outputs for one batch, or for the two sides of a pair of towers."""
        return self(encoder, inputs)


class TextTask(ScoredTask):
    """A sentence or a pair: pooled vector(s) -> head -> outputs.

    A pair runs as one joined input (`pairs = "cross"`) or as two towers (`"bi"`) whose vectors are compared.
    Subclasses define `outputs`, `losses`, `decode`, `score`.
    """

    architecture = "BertForSequenceClassification"
    target_type = torch.float32
    label_lists: ClassVar[bool] = False  # whether `parse_label` reads lists of labels, as JSON writes them

    def __init__(self, name: str, config: TaskConfig):
        super().__init__(name, config)
        if (config.text2 is None) != (config.pairs is None):
            given = f"{name}.text2 is {config.text2!r}, {name}.pairs is {config.pairs!r}"
            raise InputError(
                f"{given}: a pair of texts needs both, the column of the second text and bi or cross; leave "
                f"both out for a single text"
            )
        if self.towers and config.head == "mlp" and not config.features:
            raise InputError(f"{name}.features is empty; name what the head shall see of the two vectors")
        if config.layer_norm and not config.hidden:
            raise InputError(
                f"{name}.layer-norm stands after hidden layers, and there are none; give {name}.hidden"
            )
        if config.hidden and config.head == "cosine":
            raise InputError(f"{name}.hidden is for {name}.head mlp; a cosine has no layers")

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
        """Returns a label from the file; raises ValueError with the reason for a text that is not a label."""
        raise NotImplementedError

    def load(self, source: Path, split: str) -> Examples:
        config, path = self.config, self.path(source, split)
        texts = [config.text] if config.text2 is None else [config.text, config.text2]
        return read_table(
            path,
            texts=texts,
            label=config.label,
            parse_label=self.parse_label,
            delimiter=config.delimiter,
            lists=self.label_lists,
        )

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
        """Returns an example's label as the loss takes it: a number, or a list of numbers."""
        return example.label

    def _tensor(self, targets: list) -> Tensor:
        """Returns the targets as `target_type`; InputError where that would cut 4.6 to 4."""
        if torch.tensor(targets).is_floating_point() and not self.target_type.is_floating_point:
            raise InputError(f"{self.name}: the targets are fractions, target_type is {self.target_type}")
        return torch.tensor(targets, dtype=self.target_type)

    def build_head(self, encoder: BertConfig) -> None:
        size, projected = encoder.hidden_size, self.config.projection
        self.head = ProjectedHead(size, projected, self.layers(projected)) if projected else self.layers(size)

    def layers(self, size: int) -> nn.Module:
        """Returns the head without its projection, for sentence vectors of a size."""
        config = self.config
        if config.head == "cosine":
            return CosineHead()
        size = pair_feature_size(size, config.features) if self.towers else size
        return MLPHead(
            size, self.outputs, config.hidden, config.activation, config.dropout, config.layer_norm
        )

    def sentence_vectors(self, encoder: EncoderView, inputs: Batch) -> Tensor:
        """Computes sentence vectors, pooled, projected if configured, normalised; (B or 2B, D or P)."""
        vectors = encoder.vectors(inputs, self.config.pooling)
        if isinstance(self.head, ProjectedHead):
            vectors = self.head.projection(vectors)
        return normalize(vectors, self.config.normalize)

    def forward(self, encoder: EncoderView, inputs: Batch) -> Tensor:
        """Computes (B, C), or (B,) where C is 1."""
        vectors = self.sentence_vectors(encoder, inputs)
        return self.compare(*vectors.chunk(2)) if self.towers else self._squeeze(self.head(vectors))

    def compare(self, u: Tensor, v: Tensor) -> Tensor:
        """Computes the outputs for the vectors of two towers, each (B, D or P) -> (B, C), or (B,)."""
        if self.config.head == "cosine":
            return self.head(u, v)
        return self._squeeze(self.head(pair_features(u, v, self.config.features)))

    def _squeeze(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(-1) if self.outputs == 1 else outputs

    def graph_outputs(self) -> dict[str, str]:
        if self.towers and type(self).forward is not TextTask.forward:
            raise InputError(
                f"the class of {self.name} compares two vectors in its own way; take pairs cross"
            )
        return super().graph_outputs()

    def graph_logits(self, encoder: EncoderView, inputs: Batch | tuple[Batch, Batch]) -> Tensor:
        if not isinstance(inputs, tuple):
            return self(encoder, inputs)
        u, v = (self.sentence_vectors(encoder, side) for side in inputs)  # each (B, D or P)
        return self.compare(u, v)  # apart, since chunk(2) would fix the number of examples

    def sentence_vector_parts(self) -> SentenceVectors:
        if self.config.pairs == "cross":
            raise InputError(
                f"{self.name} reads both texts of a pair as one input and has no vector of a sentence; take "
                f"--format onnx or hf, or train it with {self.name}.pairs bi"
            )
        if type(self).sentence_vectors is not TextTask.sentence_vectors:
            raise InputError(
                f"the class of {self.name} makes sentence vectors in its own way, for which "
                f"sentence-transformers has no module; take --format onnx"
            )
        projection = self.head.projection if isinstance(self.head, ProjectedHead) else None
        return SentenceVectors(self.config.pooling, self.config.normalize, projection)

    def classifier_misfit(self) -> str | None:
        config = self.config
        if config.pairs == "bi":
            return "it compares the vectors of two inputs, and transformers' classes read one"
        if config.normalize or config.projection:
            return "its vectors are normalised or projected before the head"
        if config.pooling != "pooler":
            return (
                f"it pools by {config.pooling!r}, and transformers' classifier reads BERT's pooler, which "
                f"{self.name}.pooling pooler trains"
            )
        return self._head_misfit(TextTask)

    @property
    def threshold_logit(self) -> float:
        """Returns the logit above which class 1, or a label, is predicted."""
        return math.log(self.config.threshold / (1 - self.config.threshold))

    def threshold_misfit(self) -> str | None:
        """Returns why a pipeline of transformers predicts other classes than the task; None at 0.5."""
        if self.config.threshold == 0.5:
            return None
        return f"its threshold is {self.config.threshold:g}, and a pipeline takes the most probable label"

    def classifier_outputs(self) -> ClassifierOutputs:
        names = [str(number) for number in range(self.outputs)]
        return ClassifierOutputs(names, "The outputs of the task's class.")


class ClassLabels:
    """For tasks that choose one of C classes: `labels`, and weights of the classes in the loss."""

    name: str
    config: TaskConfig
    losses: ClassVar[dict[str, LossFunction]] = {
        "cross_entropy": Loss(cross_entropy, "label_smoothing", "class_weights"),
        "focal": Loss(focal, "focal_gamma", "class_weights"),
    }
    _labels: tuple[str, ...] = ()
    _unread: Examples | None = None  # the split whose labels they are, until they are asked for

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes: configured, or those of the training split, read when asked for."""
        if not self._labels and self._unread is not None:
            unread, self._unread = self._unread, None
            self.find_labels(unread)
        return self._labels

    @labels.setter
    def labels(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)

    def find_labels(self, examples: Examples) -> None:
        """Sets `labels` to those of a training split."""
        raise NotImplementedError

    @property
    def class_count(self) -> int:
        """C. Raises InputError where there are less than two."""
        if len(self.labels) < 2:
            raise InputError(
                f"{self.name} has {len(self.labels)} labels and needs at least two; give a training split "
                f"that holds them, or name them in {self.name}.labels"
            )
        return len(self.labels)

    def read_labels(self) -> None:
        """Takes labels and class weights from the configuration."""
        self.labels = tuple(self.config.labels)
        factors = self.config.class_factors()
        self.class_weights = None if factors is None else torch.tensor(factors)  # (C,)

    def balance(self, counts: Counter[str]) -> list[str]:
        """Takes balanced class weights if configured: N / (C * count), 0 for a class without an example."""
        if self.config.class_weights != "balanced":
            return []
        total = counts.total()
        weights = [
            total / (len(self.labels) * counts[label]) if counts[label] else 0.0 for label in self.labels
        ]
        self.class_weights = torch.tensor(weights)
        named = (f"{label} {weight:.3g}" for label, weight in zip(self.labels, weights, strict=True))
        return [f"class weights {', '.join(named)}"]

    def _option(self, key: str, device: torch.device) -> Any:
        if key != "class_weights":
            return super()._option(key, device)
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(device)  # copied there once
        elif self.config.class_weights == "balanced":
            raise InputError(
                f"{self.name}: balanced class weights come from the training rows, and none were read"
            )
        return self.class_weights
