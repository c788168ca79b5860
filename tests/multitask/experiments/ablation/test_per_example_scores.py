"""Per-example scores: they give the task's score, for each kind of task, and a resample of it."""

from dataclasses import replace

import numpy as np
import pytest

from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.readers import Example
from multitask.experiments.ablation.per_example_scores import per_example_scores
from multitask.experiments.ablation.statistics import statistic


def examples(labels):
    return [Example(str(i), ("a",), label, i + 2) for i, label in enumerate(labels)]


CASES = {
    "sst": ([0, 3, 4, 2, 1], [0, 3, 1, 2, 2]),
    "paraphrase": ([1, 0, 0, 1, 1], [1, 1, 0, 1, 0]),
    "sts": ([0.5, 3.1, 4.0, 2.2, 1.0], [0.0, 3.4, 5.0, 1.2, 2.0]),
    "ner": (
        [["B-PER", "I-PER", "O"], ["O"], ["I-LOC", "B-LOC"], ["B-PER"], []],
        [["B-PER", "I-PER", "O"], ["B-ORG"], ["B-LOC", "B-LOC"], ["O"], []],
    ),
    "multilabel": (
        [("x",), (), ("x", "y"), ("y",), ("x", "y")],
        [("x", "y"), (), ("x",), ("y",), ("x",)],
    ),
    "classification": (["x", "y", "x", "x", "y"], ["x", "x", "x", "y", "y"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_they_give_the_score_of_all_examples_and_of_a_resample(kind):
    predictions, labels = CASES[kind]
    values = {"labels": ["x", "y"]} if kind in ("classification", "multilabel") else {}
    task = make_task(kind, task_config(kind, values))
    rows = examples(labels)
    found = per_example_scores(task, predictions, rows)
    assert found["metric"] == task.primary_metric
    assert found["value"] == task.score(predictions, rows)[task.primary_metric]
    counts = np.array([2.0, 0.0, 1.0, 1.0, 1.0])
    chosen = [0, 0, 2, 3, 4]
    expected = task.score([predictions[i] for i in chosen], [rows[i] for i in chosen])[task.primary_metric]
    assert statistic(found["kind"], found["values"], counts[None])[0] == pytest.approx(expected)


def test_other_examples_are_told_apart():
    task = make_task("sst", task_config("sst", {}))
    one = per_example_scores(task, [1, 2], examples([1, 1]))["examples"]
    assert per_example_scores(task, [0, 0], examples([1, 1]))["examples"] == one
    assert per_example_scores(task, [1, 2], examples([1, 2]))["examples"] != one
    others = [replace(example, id=f"other {example.id}") for example in examples([1, 1])]
    assert per_example_scores(task, [1, 2], others)["examples"] != one


def test_a_score_that_means_something_else_is_not_resampled():
    task = make_task("sst", task_config("sst", {}))
    task.score = lambda predictions, rows: {"accuracy": 0.123}
    assert per_example_scores(task, [1, 2], examples([1, 1]))["kind"] is None


def test_constant_predictions_have_no_correlation():
    task = make_task("sts", task_config("sts", {}))
    assert np.isnan(per_example_scores(task, [1.0, 1.0, 1.0], examples([0.0, 1.0, 2.0]))["value"])
