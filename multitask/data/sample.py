"""A small labelled corpus of our own, in the course's file formats: `--data sample`.

It exists so that a training run, a tutorial and a test work without a download. The same seed gives
the same bytes everywhere. The test split uses templates and combinations of words that training does
not have, made of words that it has; its labels are known, so beside each `-test-student` file
stands the same split with labels as `-test`.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from minbert import atomic_write
from multitask.data.sample_questions import draw_question_pair
from multitask.data.sample_reviews import draw_review, draw_sentence
from multitask.data.sample_scenes import draw_scene_pair


class Sizes(NamedTuple):
    """Rows of each split."""

    train: int
    dev: int
    test: int


class DataSet(NamedTuple):
    """One of the course's data sets: how its files are named, their columns, and what draws a row."""

    texts: tuple[str, ...]
    label: str
    draw: Callable[[Random, bool], tuple[tuple[str, ...], float]]
    sizes: Sizes
    extra_index: bool  # test-student files of the single-sentence tasks have one index column more


SENTENCE, PAIR = ("sentence",), ("sentence1", "sentence2")
DATA_SETS = {
    "ids-sst": DataSet(SENTENCE, "sentiment", draw_sentence, Sizes(4000, 500, 500), True),
    "ids-cfimdb": DataSet(SENTENCE, "sentiment", draw_review, Sizes(600, 150, 200), True),
    "quora": DataSet(PAIR, "is_duplicate", draw_question_pair, Sizes(8000, 500, 500), False),
    "sts": DataSet(PAIR, "similarity", draw_scene_pair, Sizes(3000, 500, 500), False),
}
SIZES = {name: data_set.sizes for name, data_set in DATA_SETS.items()}


class Row(NamedTuple):
    id: str
    texts: tuple[str, ...]
    label: float


def write_sample(folder: str | Path, seed: int = 11711) -> None:
    """Writes the corpus into `folder`: for each data set train, dev, test-student, and test with labels."""
    folder = Path(folder)
    for name, data_set in DATA_SETS.items():
        random = Random(f"{seed} {name}")
        seen: set[tuple[str, ...]] = set()
        for split, count in data_set.sizes._asdict().items():
            rows = draw_rows(random, data_set, count, held_out=split == "test", seen=seen)
            write_rows(folder / f"{name}-{split}.csv", data_set, rows)
            if split == "test":
                write_student_rows(folder / f"{name}-test-student.csv", data_set, rows)


def draw_rows(random: Random, data_set: DataSet, count: int, held_out: bool, seen: set) -> list[Row]:
    """`count` rows whose texts are not in `seen`, which they join; a pair counts in either order."""
    rows = []
    while len(rows) < count:
        texts, label = data_set.draw(random, held_out)
        key = tuple(sorted(texts))
        if key in seen or len(set(texts)) < len(texts):
            continue
        seen.add(key)
        identifier = "".join(random.choice("0123456789abcdef") for _ in range(25))
        label = float(label) if data_set.label == "is_duplicate" else label
        rows.append(Row(identifier, texts, label))
    return rows


def write_rows(path: Path, data_set: DataSet, rows: list[Row]) -> None:
    with atomic_write(path) as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["", "id", *data_set.texts, data_set.label])
        table.writerows([number, row.id, *row.texts, row.label] for number, row in enumerate(rows))


def write_student_rows(path: Path, data_set: DataSet, rows: list[Row]) -> None:
    """The split as students get it: without labels, for single sentences under one index column more."""
    with atomic_write(path) as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        if data_set.extra_index:
            table.writerow(["0", "", "id", *data_set.texts])
            table.writerows([n + 1, float(n), row.id, *row.texts] for n, row in enumerate(rows))
        else:
            table.writerow(["", "id", *data_set.texts])
            table.writerows([number, row.id, *row.texts] for number, row in enumerate(rows))
