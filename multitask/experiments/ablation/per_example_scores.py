"""What a score rests on, example by example, so that it can be resampled. N dev examples."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from multitask.data.readers import Example
from multitask.entities import entity_spans
from multitask.experiments.ablation.statistics import statistic
from multitask.tasks.base import ScoredTask

TOLERANCE = 1e-9


def evidence(task: ScoredTask, predictions: Sequence[Any], examples: Sequence[Example]) -> dict[str, Any]:
    """The primary metric's value, and numbers for each example from which it follows, as JSON has them.

    {"metric", "value", "examples": a hash of ids and labels, "kind", "values"}; "values" has a row for each
    number: of kind "mean" one, whose mean the metric is; of "pearson" the predictions and the labels; of
    "f1" the entities that are right, predicted and true. "kind" is None for a metric that is none of these.
    """
    labels = [example.label for example in examples]
    metric = task.primary_metric
    value = task.score(predictions, examples)[metric]
    kind, values = None, []
    if metric == "accuracy" and not any(isinstance(label, list | tuple) for label in labels):
        kind = "mean"
        values = [[int(guess == label) for guess, label in zip(predictions, labels, strict=True)]]
    elif metric == "pearson":
        kind, values = "pearson", [list(map(float, predictions)), list(map(float, labels))]
    elif metric == "f1" and all(isinstance(label, list | tuple) for label in labels):
        kind, values = "f1", entity_counts(predictions, labels)
    if kind is not None and not np.isclose(
        statistic(kind, values)[0], value, rtol=0, atol=TOLERANCE, equal_nan=True
    ):
        kind, values = None, []  # a task of a user's own that means something else by the name
    facts = hashlib.sha256(repr([(example.id, example.label) for example in examples]).encode())
    return {
        "metric": metric,
        "value": value,
        "examples": facts.hexdigest(),
        "kind": kind,
        "values": values,
    }


def entity_counts(predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> list[list[int]]:
    """Three rows of N: entities that are right, that were predicted, and that there are, in each sentence."""
    rows = []
    for guessed, true in zip(predictions, labels, strict=True):
        found, there = set(entity_spans(guessed)), set(entity_spans(true))
        rows.append((len(found & there), len(found), len(there)))
    return [list(row) for row in zip(*rows, strict=True)]
