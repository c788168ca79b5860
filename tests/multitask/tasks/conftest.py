"""A task of any kind with a small data file for each split, and the tiny encoder to run it on."""

import csv

import pytest
import torch

from multitask.model import MultitaskModel
from multitask.task_config import TASK_DEFAULTS, task_config
from multitask.tasks.generic import PairTask, SimilarityTask
from multitask.tasks.registry import KINDS, find_kind, make_task

FIRST = [
    "the cat reads a book",
    "good",
    "what a great movie , not dull !",
    "a b c d e f g",
    "bad film",
    "is it",
]
SECOND = ["a dog", "the student writes over the house", "great", "g f e", "very bad !", "the river is blue"]


def labels_of(kind: type, config) -> list[str]:
    """As many labels as texts, of the sort that the kind reads."""
    if issubclass(kind, SimilarityTask):
        span = config.high - config.low
        return [f"{config.low + span * share}" for share in (0, 1, 0.3, 0.92, 0.5, 0.16)]
    names = ("1.0", "0.0") if issubclass(kind, PairTask) else config.labels or ("world", "sport")
    return [names[i % len(names)] for i in range(len(FIRST))]


@pytest.fixture
def build(tmp_path):
    """build(kind, **config) -> (task, data folder), with train, dev and an unlabelled test file there."""

    def make(kind: str, **values):
        files = {split: f"{kind}-{split}.csv" for split in ("train", "dev", "test")}
        config = task_config(kind, files | {"max_length": 64} | values)
        columns = [config.text] if config.text2 is None else [config.text, config.text2]
        labels = labels_of(find_kind(kind), config)
        for split, name in files.items():
            texts = [FIRST, SECOND] if split == "train" else [FIRST[::-1], SECOND]
            with open(tmp_path / name, "w", newline="", encoding="utf-8") as file:
                table = csv.writer(file, delimiter="\t")
                marked = [] if split == "test" else [config.label]
                table.writerow(["id", *columns, *marked])
                for i, label in enumerate(labels):
                    sides = [side[i] for side in texts[: len(columns)]]
                    table.writerow([f"{split}{i}", *sides, *([label] if marked else [])])
        return make_task(kind, config), tmp_path

    return make


@pytest.fixture
def on_tiny(tiny):
    """on_tiny(task) -> the task on the tiny encoder, in evaluation mode, the head from a fixed seed."""

    def make(task) -> MultitaskModel:
        torch.manual_seed(1)
        return MultitaskModel(tiny, {task.name: task}).eval()

    return make


@pytest.fixture
def own_kinds():
    """Takes back what a test registers."""
    kinds, defaults = dict(KINDS), dict(TASK_DEFAULTS)
    yield
    for table, before in ((KINDS, kinds), (TASK_DEFAULTS, defaults)):
        table.clear()
        table.update(before)
