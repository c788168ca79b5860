"""Tasks from any CSV or JSONL file by column names: a class, sameness, a score. B examples, C classes."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, mode

import torch
from torch import Tensor

from minbert import Batch, InputError
from multitask.data.readers import Example, Examples, integer_label, number_label
from multitask.metrics import accuracy, f1, pearson, spearman
from multitask.objectives.classification import binary_cross_entropy, cross_entropy
from multitask.objectives.regression import pearson_loss, scaled_mean_squared_error
from multitask.task_config import TASK_DEFAULTS
from multitask.tasks.base import TextTask


class ClassificationTask(TextTask):
    """One label out of C for a sentence or a pair. Labels are names; predictions are names too."""

    primary_metric = "accuracy"
    losses = {"cross_entropy": cross_entropy}
    target_type = torch.long

    def __init__(self, name, config):
        super().__init__(name, config)
        self.labels = tuple(config.labels)

    @property
    def outputs(self) -> int:
        if len(self.labels) < 2:
            raise InputError(
                f"{self.name} has {len(self.labels)} labels; a classification needs at least two: give a "
                f"training split that holds them, or name them in {self.name}.labels"
            )
        return len(self.labels)

    def parse_label(self, text: str) -> str:
        if self.labels and text not in self.labels:
            raise ValueError(f"label {text!r} is not one of {', '.join(self.labels)}")
        if not text:
            raise ValueError("the label is empty")
        return text

    def load(self, source: Path, split: str) -> Examples:
        """As for every text; where the configuration names no labels, those of train are taken, sorted."""
        if not self.labels and split != "train":
            self.load(source, "train")
        examples = super().load(source, split)
        if not self.labels:
            self.labels = tuple(
                sorted({example.label for example in examples.rows if example.label is not None})
            )
        return examples

    def target(self, example: Example) -> int:
        return self.labels.index(str(example.label))

    def decode(self, outputs: Tensor, inputs: Batch) -> list:
        return [self.labels[i] for i in outputs.argmax(dim=-1).tolist()]

    def score(self, predictions: Sequence, examples: Sequence[Example]) -> dict[str, float]:
        return {"accuracy": accuracy(predictions, [example.label for example in examples])}

    def fallback(self, examples: Sequence[Example]):
        return mode(example.label for example in examples)


class PairTask(TextTask):
    """Two texts: the same (1) or not (0); one logit an example."""

    defaults = TASK_DEFAULTS["pair"]
    primary_metric = "accuracy"
    losses = {"binary_cross_entropy": binary_cross_entropy}
    prediction_values = "flag"
    parse_label = staticmethod(integer_label(0, 1))

    def decode(self, outputs: Tensor, inputs: Batch) -> list[int]:
        return (outputs > 0).long().tolist()

    def score(self, predictions: Sequence[int], examples: Sequence[Example]) -> dict[str, float]:
        labels = [example.label for example in examples]
        return {"accuracy": accuracy(predictions, labels), "f1": f1(predictions, labels)}

    def fallback(self, examples: Sequence[Example]) -> int:
        return mode(example.label for example in examples)


class SimilarityTask(TextTask):
    """Two texts and a score between `low` and `high`; one output an example, on the label scale."""

    defaults = TASK_DEFAULTS["similarity"]
    primary_metric = "pearson"
    losses = {
        "cosine_mse": scaled_mean_squared_error,
        "mse": scaled_mean_squared_error,
        "pearson": lambda outputs, scores, *scale: pearson_loss(outputs, scores),
    }
    prediction_values = "number"

    def __init__(self, name, config):
        super().__init__(name, config)
        if config.loss == "cosine_mse" and config.head != "cosine":
            raise InputError(
                f'{name}.loss "cosine_mse" needs {name}.head cosine; take "mse" for head {config.head}'
            )

    def parse_label(self, text: str) -> float:
        return number_label(self.config.low, self.config.high)(text)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        config = self.config
        return self.losses[config.loss](outputs, targets, config.low, config.high, config.label_scale)

    def decode(self, outputs: Tensor, inputs: Batch) -> list[float]:
        """Outputs back from the label scale; not cut to [low, high], which would tie the ends."""
        bottom, top = self.config.label_scale
        share = (outputs.double() - bottom) / (top - bottom)
        return (self.config.low + share * (self.config.high - self.config.low)).tolist()

    def score(self, predictions: Sequence[float], examples: Sequence[Example]) -> dict[str, float]:
        labels = [example.label for example in examples]
        return {"pearson": pearson(predictions, labels), "spearman": spearman(predictions, labels)}

    def fallback(self, examples: Sequence[Example]) -> float:
        return fmean(example.label for example in examples)
