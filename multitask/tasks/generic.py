"""Tasks from any CSV or JSONL file by column names: a class, sameness, a score. B examples, C classes."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from minbert import Batch, InputError, did_you_mean
from multitask.data.readers import (
    Example,
    Examples,
    class_name,
    integer_label,
    label_counts,
    labels_of,
    number_label,
)
from multitask.losses.classification import binary_cross_entropy
from multitask.losses.divergence import squared_difference, symmetric_binary_kl, symmetric_kl
from multitask.losses.ordinal import ordinal, ordinal_levels
from multitask.losses.regression import (
    cosent,
    mean_squared_error,
    pearson_loss,
    rescale,
    scaled_mean_squared_error,
)
from multitask.metrics.scores import accuracy, f1, pearson, spearman
from multitask.model.heads import AngleHead
from multitask.tasks.base import ClassifierOutputs, ClassLabels, Loss, TextTask


class ClassificationTask(ClassLabels, TextTask):
    """One label out of C for a sentence or a pair. Labels are names; predictions are names too.

    With the loss "ordinal" there are C - 1 outputs, for labels that are whole numbers in their order. Of two
    labels, the second one is predicted where its probability is above `threshold`.
    """

    hub_task = "text-classification"
    target_kind = "classes"
    primary_metric = "accuracy"
    losses = ClassLabels.losses | {"ordinal": Loss(ordinal)}
    target_type = torch.long
    label_options = ("labels", "threshold")

    def __init__(self, name, config):
        super().__init__(name, config)
        self.read_labels()
        if self.labels:
            self._check_labels()

    def _check_labels(self) -> None:
        """Raises InputError where the loss does not fit to the labels."""
        count = len(self.labels)
        if self.config.loss == "ordinal":
            numbers = [int(label) if label.isascii() and label.isdigit() else None for label in self.labels]
            if count < 3 or None in numbers or numbers != sorted(set(numbers)):
                raise InputError(
                    f"{self.name}.loss is 'ordinal', and its labels are {', '.join(self.labels)}; it needs "
                    f"three or more, whole numbers that ascend: list them so in {self.name}.labels, or take "
                    f"cross_entropy"
                )
        if self.config.threshold != 0.5 and count != 2:
            raise InputError(
                f"{self.name}.threshold is {self.config.threshold}, and there are {count} classes: "
                f"{', '.join(self.labels)}; a threshold is for two, leave it out"
            )
        if len({*map(class_name, self.labels)}) < count:
            raise InputError(
                f"{self.name}.labels are {', '.join(self.labels)}, and some mean the same class; name it once"
            )
        if self.class_weights is not None and len(self.class_weights) != count:
            raise InputError(
                f"{self.name}.class-weights has {len(self.class_weights)} numbers, and there are {count} "
                f"classes: {', '.join(self.labels)}; give one for each, in this order"
            )

    @property
    def outputs(self) -> int:
        return self.class_count - (self.config.loss == "ordinal")

    def parse_label(self, text: str) -> str:
        """Returns a class's name; numbers are compared as numbers, and named as `labels` names them."""
        if text in self._labels:  # `labels` would read them from train
            return text
        name = class_name(text)
        if name in self._labels:
            return name
        if text.lower() == "nan":
            raise ValueError("NaN stands for a missing value")
        if "\n" in text or "\r" in text:  # which no prediction file can hold
            raise ValueError("it has more than one line")
        if not self._labels:
            return name
        named = {class_name(label): label for label in self._labels}
        if name not in named:
            raise ValueError(
                f"{text!r} is not one of {', '.join(self._labels)}{did_you_mean(text, self._labels)}"
            )
        return named[name]

    def load(self, source: Path, split: str) -> Examples:
        """As for every text; where the configuration names no labels, those of train are taken, sorted."""
        if not self.labels and split != "train":
            self.load(source, "train")
        examples = super().load(source, split)
        if not self.labels:
            self._unread = examples
        return examples

    def find_labels(self, examples: Examples) -> None:
        found = label_counts(examples.rows) if examples.source is None else examples.source.summary.labels
        self.labels = tuple(sorted(label for label in found if label is not None))
        if self._labels:
            self._check_labels()

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        if self.config.class_weights != "balanced":
            return []
        counts: Counter = Counter()
        for label, count in label_counts(examples).items():
            counts[self.labels[self.target(Example("", (), label, 0))]] += count
        return self.balance(counts)

    def target(self, example: Example) -> int:
        return self.labels.index(str(example.label))

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        return symmetric_binary_kl(p, q) if self.config.loss == "ordinal" else symmetric_kl(p, q)

    def class_numbers(self, outputs: Tensor) -> list[int]:
        """Returns the predicted classes as places in `labels`."""
        if self.config.loss == "ordinal":
            return ordinal_levels(outputs).tolist()
        if self.class_count == 2:
            return (outputs[:, 1] - outputs[:, 0] > self.threshold_logit).long().tolist()
        return outputs.argmax(dim=-1).tolist()

    def decode(self, outputs: Tensor, inputs: Batch) -> list:
        return self.named(self.class_numbers(outputs))

    def named(self, places: Sequence[int]) -> list:
        """Returns predictions from places in `labels`."""
        return [self.labels[place] for place in places]

    @property
    def classes(self) -> tuple:
        return tuple(self.named(range(self.class_count)))

    def example_scores(self, outputs: Tensor) -> Tensor:
        """Returns (B, C) probabilities that sum to 1.

        With the loss "ordinal" P(level = k) = P(level > k - 1) - P(level > k). Where the model's answers
        contradict one another they are sorted first, which leaves the predicted level as it is.
        """
        if self.config.loss != "ordinal":
            return outputs.softmax(dim=-1)
        above = outputs.sigmoid().sort(dim=1, descending=True).values
        ends = torch.ones_like(above[:, :1])
        return torch.cat([ends, above], dim=1) - torch.cat([above, 1 - ends], dim=1)

    def hard(self, scores: np.ndarray) -> list:
        if self.config.loss != "ordinal" and self.class_count == 2:
            return self.named((scores[:, 1] > self.config.threshold).astype(int).tolist())
        if self.config.loss != "ordinal":
            return self.named(scores.argmax(axis=1).tolist())
        above = 1 - np.cumsum(scores[:, :-1], axis=1)
        return self.named((above > 0.5).sum(axis=1).tolist())

    def score(self, predictions: Sequence, examples: Sequence[Example]) -> dict[str, float]:
        return {"accuracy": accuracy(predictions, [example.label for example in examples])}

    def majority_prediction(self, examples: Sequence[Example]):
        return label_counts(examples).most_common(1)[0][0]

    def graph_outputs(self) -> dict[str, str]:
        ordinal = self.config.loss == "ordinal"
        return super().graph_outputs() | (
            {
                "logits": "(B, C - 1): of being above each label but the last",
                "probabilities": "(B, C): of each label",
            }
            if ordinal
            else {"logits": "(B, C): for each label", "probabilities": "(B, C): their softmax"}
        )

    def classifier_misfit(self) -> str | None:
        reason = super().classifier_misfit()
        if reason is None and self.config.loss == "ordinal":
            return "its outputs are thresholds between labels (loss ordinal), not a logit for each label"
        return reason or self.threshold_misfit()

    def classifier_outputs(self) -> ClassifierOutputs:
        about = "A logit for each label; a softmax makes them probabilities."
        return ClassifierOutputs(self.labels, about, "single_label_classification")


class PairTask(TextTask):
    """Two texts: the same (1) or not (0); one logit an example. More classes: type "classification"."""

    defaults = {"text": "sentence1", "text2": "sentence2", "pairs": "cross", "loss": "binary_cross_entropy"}
    hub_task = "text-classification"
    target_kind = "binary"
    primary_metric = "accuracy"
    losses = {"binary_cross_entropy": Loss(binary_cross_entropy)}
    prediction_values = "flag"
    label_options = ("threshold",)
    classes = (0, 1)
    parse_label = staticmethod(integer_label(0, 1))

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        return symmetric_binary_kl(p, q)

    def decode(self, outputs: Tensor, inputs: Batch) -> list[int]:
        return (outputs > self.threshold_logit).long().tolist()

    def example_scores(self, outputs: Tensor) -> Tensor:
        """Returns (B,) probabilities of 1."""
        return outputs.sigmoid()

    def hard(self, scores: np.ndarray) -> list[int]:
        return (scores > self.config.threshold).astype(int).tolist()

    def score(self, predictions: Sequence[int], examples: Sequence[Example]) -> dict[str, float]:
        labels = [example.label for example in examples]
        return {"accuracy": accuracy(predictions, labels), "f1": f1(predictions, labels)}

    def majority_prediction(self, examples: Sequence[Example]) -> int:
        return label_counts(examples).most_common(1)[0][0]

    def graph_outputs(self) -> dict[str, str]:
        return super().graph_outputs() | {
            "logits": "(B): of being the same, against not",
            "probabilities": f"(B): of being the same; predicted above {self.config.threshold:g}",
        }

    def classifier_misfit(self) -> str | None:
        return super().classifier_misfit() or self.threshold_misfit()

    def classifier_outputs(self) -> ClassifierOutputs:
        about = "A logit for 0, which is always 0, and one for 1, the texts being the same; take a softmax."
        return ClassifierOutputs(["0", "1"], about, "single_label_classification")

    def classifier(self) -> nn.Linear:
        """Returns the layer with a row of zeros before its own: softmax((0, z))[1] is sigmoid(z)."""
        own = super().classifier()
        layer = nn.Linear(own.in_features, 2).requires_grad_(False)
        for tensor, row in ((layer.weight, own.weight), (layer.bias, own.bias)):
            tensor.zero_()[1:] = row
        return layer


class SimilarityTask(TextTask):
    """Two texts and a score between `low` and `high`; one output an example, on the label scale.

    With the loss "angle" there are two: the cosine, which predicts, and AnglE's similarity, which trains.
    """

    defaults = {
        "text": "sentence1",
        "text2": "sentence2",
        "pairs": "bi",
        "head": "cosine",
        "loss": "cosine_mse",
    }
    hub_task = "sentence-similarity"
    target_kind = "number"
    primary_metric = "pearson"
    losses = {
        "cosine_mse": Loss(scaled_mean_squared_error, "low", "high", "label_scale"),
        "mse": Loss(scaled_mean_squared_error, "low", "high", "label_scale"),
        "pearson": Loss(pearson_loss),
        "cosent": Loss(cosent, "temperature"),
        "angle": Loss(cosent, "temperature"),  # of AnglE's similarities
    }
    prediction_values = "number"
    label_options = ("low", "high", "label_scale")

    def __init__(self, name, config):
        super().__init__(name, config)
        if config.loss == "cosine_mse" and config.head != "cosine":
            raise InputError(
                f'{name}.loss "cosine_mse" needs {name}.head cosine; take "mse" for head {config.head}'
            )
        if config.loss == "angle" and config.head != "cosine":
            raise InputError(
                f'{name}.loss "angle" compares two vectors and needs {name}.head cosine; take "cosent" for '
                f"head {config.head}"
            )
        self.batch_level_loss = config.loss in ("pearson", "cosent", "angle")

    def parse_label(self, text: str) -> float:
        value, config = number_label(-math.inf, math.inf)(text), self.config
        if not config.low <= value <= config.high:
            raise ValueError(
                f"{text!r} is not between {config.low:g} and {config.high:g}, which are {self.name}.low and "
                f"{self.name}.high"
            )
        return value

    def layers(self, size: int) -> nn.Module:
        return AngleHead() if self.config.loss == "angle" else super().layers(size)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs[:, 1] if self.config.loss == "angle" else outputs, targets)

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        return squared_difference(p, q)

    def decode(self, outputs: Tensor, inputs: Batch) -> list[float]:
        return self.hard(self.example_scores(outputs.detach().cpu()).numpy())

    def example_scores(self, outputs: Tensor) -> Tensor:
        """Returns (B,) outputs off the label scale, not cut to [low, high]: ensembles average first."""
        if self.config.loss == "angle":
            outputs = outputs[:, 0]
        bottom, top = self.config.label_scale
        wide = outputs if outputs.device.type == "mps" else outputs.double()  # Apple's devices have no fp64
        share = (wide - bottom) / (top - bottom)
        return self.config.low + share * (self.config.high - self.config.low)

    def hard(self, scores: np.ndarray) -> list[float]:
        """Returns predictions, cut to [low, high] where the loss or the head ties outputs to that scale.

        The losses pearson and cosent leave the output of an MLP head without a scale.
        """
        config = self.config
        tied = config.head == "cosine" or config.loss in ("cosine_mse", "mse")
        return (np.clip(scores, config.low, config.high) if tied else scores).tolist()

    def score(self, predictions: Sequence[float], examples: Sequence[Example]) -> dict[str, float]:
        labels = [example.label for example in examples]
        return {"pearson": pearson(predictions, labels), "spearman": spearman(predictions, labels)}

    def majority_prediction(self, examples: Sequence[Example]) -> float:
        return fmean(labels_of(examples))

    def graph_outputs(self) -> dict[str, str]:
        super().graph_outputs()  # raises for a class that compares vectors in its own way
        angle = self.config.loss == "angle"
        return {
            "logits": "(B, 2): the cosine, and what trains it" if angle else "(B): the head's output",
            "scores": f"(B): similarity from {self.config.low:g} to {self.config.high:g}",
        }

    def classifier_outputs(self) -> ClassifierOutputs:
        config = self.config
        bottom, top = config.label_scale
        about = (
            f"One number, {bottom:g} at a score of {config.low:g} and {top:g} at {config.high:g}: score = "
            f"{config.low:g} + {config.high - config.low:g} * (output - {bottom:g}) / {top - bottom:g}."
        )
        return ClassifierOutputs(["score"], about, "regression")


class RegressionTask(SimilarityTask):
    """A score between `low` and `high` for a text or a pair; one output an example, on the label scale."""

    defaults = {"loss": "mse"}
    hub_task = "text-classification"
    losses = {
        "mse": Loss(mean_squared_error),
        "pearson": SimilarityTask.losses["pearson"],
        "cosent": SimilarityTask.losses["cosent"],
    }

    def target(self, example: Example) -> float:
        """Returns the score on the label scale: in fp32 1,000,000.3 out of 1,000,000 to 1,000,001 is 0.25."""
        return rescale(example.label, self.config.low, self.config.high, self.config.label_scale)
