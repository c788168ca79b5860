"""Per-example scores of a task, from which its primary metric follows, so that it can be resampled."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from multitask.data.readers import Example
from multitask.experiments.ablation.statistics import statistic
from multitask.metrics.entities import entity_spans
from multitask.tasks.base import ScoredTask

TOLERANCE = 1e-9


def per_example_scores(
    task: ScoredTask, predictions: Sequence[Any], examples: Sequence[Example]
) -> dict[str, Any]:
    """Returns the primary metric's value and its per-example scores for N dev examples, as JSON has them.

    {"metric", "value", "examples": a hash of ids and labels, "kind", "values"}; "values" are rows of N
    numbers: of kind "mean" one, whose mean the metric is; of "pearson" the predictions and the labels; of
    "f1" the entities, or labels, that are right, predicted and true. "kind" is None for any other metric.
    """
    labels = [example.label for example in examples]
    metric = task.primary_metric
    value = task.score(predictions, examples)[metric]
    tagged = [isinstance(label, list | tuple) for label in labels]
    kind, values = None, []
    if metric == "accuracy" and not any(tagged):
        kind = "mean"
        values = [[int(guess == label) for guess, label in zip(predictions, labels, strict=True)]]
    elif metric == "pearson":
        kind, values = "pearson", [list(map(float, predictions)), list(map(float, labels))]
    elif metric in ("f1", "micro_f1") and all(tagged):
        parts = entity_spans if metric == "f1" else tuple
        spans = [
            (set(parts(guess)), set(parts(label))) for guess, label in zip(predictions, labels, strict=True)
        ]
        kind = "f1"
        values = [
            [len(found & true) for found, true in spans],
            [len(found) for found, _ in spans],
            [len(true) for _, true in spans],
        ]
    if kind and not np.isclose(statistic(kind, values)[0], value, rtol=0, atol=TOLERANCE, equal_nan=True):
        kind, values = None, []  # a user's own task that gives the name another meaning
    facts = hashlib.sha256(repr([(example.id, example.label) for example in examples]).encode())
    return {"metric": metric, "value": value, "examples": facts.hexdigest(), "kind": kind, "values": values}
