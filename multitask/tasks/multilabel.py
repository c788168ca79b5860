"""Any number of labels for a text or a pair: toxic and insulting, several topics. B examples, L labels."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from minbert import Batch, InputError, parse_json
from multitask.data.readers import Example, Examples, label_counts
from multitask.losses.classification import binary_cross_entropy
from multitask.losses.divergence import symmetric_binary_kl
from multitask.metrics.scores import multilabel_f1
from multitask.tasks.base import ClassifierOutputs, Loss
from multitask.tasks.generic import ClassificationTask

SEPARATORS = ",;|\t"  # a label that has one of them was probably not split


class MultiLabelTask(ClassificationTask):
    """Any number of labels out of L for a sentence or a pair; a yes or no for each of them.

    A row's labels are a JSON list, or a text with `label_separator` between them; `[]` is none of them. A
    label is predicted where its probability is above `threshold`.
    """

    target_kind = "labels"
    primary_metric = "micro_f1"
    losses = {"binary_cross_entropy": Loss(binary_cross_entropy)}
    defaults = {"loss": "binary_cross_entropy", "label": "labels"}
    prediction_values = "labels"
    target_type = torch.float32
    label_lists = True
    label_options = ("labels", "label_separator", "threshold")

    def _check_labels(self) -> None:
        """Raises InputError for a label that could not be read back from a prediction file."""
        for label in self.labels:
            if not label.strip() or any(mark in label for mark in "|\r\n"):
                raise InputError(
                    f"{self.name}: the label {label!r} is empty or has a bar or line end, which prediction "
                    f"files cannot hold; rename it in the data and in {self.name}.labels"
                )

    def parse_label(self, text: str) -> tuple[str, ...]:
        """Returns the labels of a row, sorted, each once."""
        if text.startswith("["):
            labels = _of_list(text)
        else:
            labels = [part.strip() for part in text.split(self.config.label_separator)]
        for label in labels:
            if not label:
                raise ValueError(f"{text!r} has an empty label")
            if self._labels and label not in self._labels:
                raise ValueError(f"label {label!r} is not one of {', '.join(self._labels)}")
            if not self._labels and any(mark in label for mark in SEPARATORS):
                raise ValueError(
                    f"label {label!r} has a comma, semicolon, bar or tab; say in {self.name}.label-separator "
                    f"what stands between labels, or name them all in {self.name}.labels"
                )
        return tuple(sorted(set(labels)))

    def find_labels(self, examples: Examples) -> None:
        found = label_counts(examples.rows) if examples.source is None else examples.source.summary.labels
        self.labels = tuple(sorted({label for labels in found for label in labels or ()}))

    def prepare_training(self, examples: Sequence[Example]) -> list[str]:
        return []

    def target(self, example: Example) -> list[float]:
        return [float(label in example.label) for label in self.labels]

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        return symmetric_binary_kl(p, q)

    def decode(self, outputs: Tensor, inputs: Batch) -> list[tuple[str, ...]]:
        return self._named(outputs > self.threshold_logit)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.labels

    def example_scores(self, outputs: Tensor) -> Tensor:
        """Returns (B, L) probabilities, each of its own."""
        return outputs.sigmoid()

    def hard(self, scores: np.ndarray) -> list[tuple[str, ...]]:
        return self._named(scores > self.config.threshold)

    def _named(self, chosen: Tensor | np.ndarray) -> list[tuple[str, ...]]:
        """Returns the names of the labels that are True in (B, L), sorted as those of a row are."""
        return [
            tuple(sorted(name for name, flag in zip(self.labels, row, strict=True) if flag))
            for row in chosen.tolist()
        ]

    def score(self, predictions: Sequence, examples: Sequence[Example]) -> dict[str, float]:
        return multilabel_f1(predictions, [example.label for example in examples], self.labels)

    def graph_outputs(self) -> dict[str, str]:
        return super().graph_outputs() | {
            "logits": "(B, L): for each label",
            "probabilities": f"(B, L): of each label by itself; predicted above {self.config.threshold:g}",
        }

    def classifier_misfit(self) -> str | None:
        return super(ClassificationTask, self).classifier_misfit()

    def classifier_outputs(self) -> ClassifierOutputs:
        about = (
            f"A logit for each label, whose sigmoid is its probability; a label is predicted above "
            f"{self.config.threshold:g}. Ask a pipeline for top_k=None, which gives all of them."
        )
        return ClassifierOutputs(self.labels, about, "multi_label_classification")


def _of_list(text: str) -> list[str]:
    """Returns the labels of a JSON list. Raises ValueError with the reason for another text."""
    try:
        labels = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{text!r} begins like a JSON list and is not one ({error})") from None
    if not isinstance(labels, list) or not all(type(label) in (str, int) for label in labels):
        raise ValueError(f"{text!r} is not a list of texts or whole numbers")
    return [str(label).strip() for label in labels]
