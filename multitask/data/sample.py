"""A small corpus of our own, in the file formats of the course and of the other tasks: `--data sample`.

It exists so that a training run, a tutorial and a test work without a download. The same seed gives
the same bytes everywhere; each data set has a generator of its own, so that one can grow without the others.
The test split uses templates and combinations of words that training does not have, made of words that it
has; its labels are known, so beside each `-test-student` file stands the same split with labels as `-test`.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from minbert import atomic_write
from multitask.data.sample_entities import draw_tagged
from multitask.data.sample_inferences import draw_triplet
from multitask.data.sample_news import draw_story
from multitask.data.sample_questions import draw_question_pair
from multitask.data.sample_reviews import draw_review, draw_sentence
from multitask.data.sample_scenes import draw_scene_pair
from multitask.data.sample_text import draw_text


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
ENTITIES = {"train": 800, "testa": 200, "testb": 200}  # sentences; the real files' names
DOCUMENT = 20  # sentences between two -DOCSTART- lines
NEWS = {"train": 800, "test": 400}
TRIPLETS = 600
TEXTS = 1500
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
    write_entities(folder / "conll2003", Random(f"{seed} conll2003"))
    write_news(folder / "agnews", Random(f"{seed} agnews"))
    write_triplets(folder / "nli" / "nli_for_simcse.csv", Random(f"{seed} nli"))
    write_texts(folder / "mlm" / "sentences.txt", Random(f"{seed} mlm"))


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


def write_entities(folder: Path, random: Random) -> None:
    """eng.train, eng.testa and eng.testb as CoNLL-2003 has them, parts of speech and chunks left open."""
    seen: set = set()
    for split, count in ENTITIES.items():
        rows = draw_different(count, lambda split=split: draw_tagged(random, split == "testb"), seen)
        with atomic_write(folder / f"eng.{split}") as file:
            for number, (words, tags) in enumerate(rows):
                if number % DOCUMENT == 0:
                    file.write("-DOCSTART- -X- O O\n\n")
                file.writelines(f"{word} _ _ {tag}\n" for word, tag in zip(words, tags, strict=True))
                file.write("\n")


def write_news(folder: Path, random: Random) -> None:
    """train.csv with one text a row, test.csv with title and description apart."""
    seen: set = set()
    for split, count in NEWS.items():
        rows = draw_different(count, lambda split=split: draw_story(random, split == "test"), seen)
        with atomic_write(folder / f"{split}.csv") as file:
            table = csv.writer(file, lineterminator="\n")
            if split == "train":
                table.writerow(["label", "text", "source"])
                table.writerows([label, " ".join(texts), "sample"] for texts, label in rows)
            else:
                table.writerow(["label", "title", "description"])
                table.writerows([label, *texts] for texts, label in rows)


def write_triplets(path: Path, random: Random) -> None:
    with atomic_write(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["sent0", "sent1", "hard_neg"])
        table.writerows(draw_different(TRIPLETS, lambda: draw_triplet(random), set()))


def write_texts(path: Path, random: Random) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{text}\n" for text in draw_different(TEXTS, lambda: draw_text(random), set()))


def draw_different(count: int, draw: Callable[[], Any], seen: set) -> list:
    """`count` draws that are not in `seen`, which they join."""
    drawn = []
    while len(drawn) < count:
        row = draw()
        if row not in seen:
            seen.add(row)
            drawn.append(row)
    return drawn
