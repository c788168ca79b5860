"""A task of any kind with a small data file for each split, and the tiny encoder to run it on."""

import csv

import pytest
import torch

from multitask.config.task_config import task_config
from multitask.config.task_kinds import KINDS, find_kind, make_task
from multitask.model.multitask_model import MultitaskModel
from multitask.tasks.contrastive import ContrastiveTask, SimCSE
from multitask.tasks.corpora import News
from multitask.tasks.generic import PairTask, SimilarityTask
from multitask.tasks.masked_lm import MaskedLM
from multitask.tasks.tokens import TokensTask

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
    if issubclass(kind, ContrastiveTask):
        return ["1"] * len(FIRST)
    if issubclass(kind, News):
        names = range(1, len(config.labels) + 1)
    else:
        names = ("1.0", "0.0") if issubclass(kind, PairTask) else config.labels or ("world", "sport")
    return [str(names[i % len(names)]) for i in range(len(FIRST))]


def write_lines(path, texts: list[str]) -> None:
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")


def write_words(path, texts: list[str], tagged: bool) -> None:
    """A CoNLL file: the first word of each sentence is a person, the last one the end of a place."""
    with open(path, "w", encoding="utf-8") as file:
        for text in texts:
            words = text.split()
            tags = ["B-PER", *(["O"] * (len(words) - 2)), "I-LOC"][: len(words)]
            lines = (f"{word} {tag}" if tagged else word for word, tag in zip(words, tags, strict=True))
            file.write("\n".join(lines) + "\n\n")


def write_table(path, columns: list[str], texts: list[list[str]], labels: list[str] | None, label: str):
    """A row an example, with an id; `texts` has a list for each of the columns."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["id", *columns, *([label] if labels else [])])
        for i in range(len(FIRST)):
            sides = [side[i] for side in texts[: len(columns)]]
            table.writerow([f"{path.stem.rpartition('-')[2]}{i}", *sides, *([labels[i]] if labels else [])])


@pytest.fixture
def build(tmp_path):
    """build(kind, **config) -> (task, data folder), with train, dev and an unlabelled test file there."""

    def make(kind: str, **values):
        files = {split: f"{kind}-{split}.csv" for split in ("train", "dev", "test")}
        config = task_config(kind, files | {"max_length": 64} | values)
        found = find_kind(kind)
        columns = [config.text, *([config.text2] if config.text2 else []), *config.negatives]
        for split, name in files.items():
            texts = [FIRST if split == "train" else FIRST[::-1], SECOND, SECOND[::-1]]
            if issubclass(found, SimCSE | MaskedLM):
                write_lines(tmp_path / name, texts[0])
            elif issubclass(found, TokensTask):
                write_words(tmp_path / name, texts[0], split != "test")
            else:
                labels = None if split == "test" else labels_of(found, config)
                write_table(tmp_path / name, columns, texts, labels, config.label)
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
    before = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(before)
