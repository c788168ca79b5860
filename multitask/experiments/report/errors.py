"""The error tables: each task's worst predictions, to filter, sort and search."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minbert.cli.page import (
    Cell,
    Column,
    Section,
    number,
    paragraph,
    score,
    section,
    table,
    tabs,
    text_column,
)
from multitask.experiments.report.predictions import Predicted
from multitask.tasks.tokens import words_of

SHOWN = 100  # errors of a task
GROUPS = 5  # of gold and predicted scores, to filter by


def margins(entry: Predicted) -> np.ndarray | None:
    """Returns how wrong each prediction is, (N,); None for a kind of task without such a number.

    For classes the probability of the predicted one minus that of the true one, for scores the distance to
    the gold score, for tags the number of wrong ones; 0 where the prediction is right. For several labels the
    largest distance of one's probability to 0 or 1.
    """
    kind, soft, classes = entry.task.target_kind, entry.soft, (0, 1)
    if entry.task.reads == "words":
        pairs = zip(entry.gold, entry.hard, strict=True)
        return np.array([sum(g != h for g, h in zip(*pair, strict=True)) for pair in pairs])
    if kind == "labels":
        return np.abs(soft - np.array([entry.task.target(row) for row in entry.rows])).max(axis=1)
    if kind == "number":
        return np.abs(soft - np.array(entry.gold, dtype=np.float64))
    if kind == "binary":
        soft = np.stack([1 - soft, soft], axis=1)
    elif kind == "classes":
        classes = entry.classes
    else:
        return None
    places = {label: place for place, label in enumerate(classes)}
    rows = np.arange(len(soft))
    return soft[rows, [places[p] for p in entry.hard]] - soft[rows, [places[g] for g in entry.gold]]


MARGINS = {
    "number": "the distance to the gold score",
    "labels": "the largest distance of a probability to 0 or 1",
    "words": "the number of words with a wrong tag",
}


def error_section(predicted: Mapping[str, Predicted], with_texts: bool) -> Section:
    """A table of the worst errors of each task, one shown at a time."""
    shown = {}
    for name, entry in predicted.items():
        distances = margins(entry)
        if distances is None:
            continue
        pairs = zip(entry.gold, entry.hard, strict=True)
        differs = distances if entry.task.reads == "words" else [gold != hard for gold, hard in pairs]
        wrong = np.flatnonzero(differs).tolist()
        wrong.sort(key=lambda i, distances=distances: -distances[i])
        if wrong:
            shown[name] = _errors(name, entry, distances, wrong, with_texts)
    return section("Errors", tabs(shown))


def _errors(
    name: str, entry: Predicted, distances: np.ndarray, wrong: Sequence[int], with_texts: bool
) -> list[str]:
    """A task's table, its size and what its margins are."""
    kind = entry.task.target_kind or entry.task.reads
    rows = []
    for i in wrong[:SHOWN]:
        example, margin = entry.rows[i], distances[i].item()
        labels = (
            _tags(entry, i, with_texts)
            if kind == "words"
            else (_label(entry, v[i]) for v in (entry.gold, entry.hard))
        )
        shown = str(margin) if kind == "words" else (number if kind == "number" else score)(margin)
        cells = [*labels, Cell(shown, margin)]
        text = "\n".join(example.texts)
        rows.append(
            [text, *cells, example.id, example.line] if with_texts else [example.id, *cells, example.line]
        )
    tags = kind == "words"
    labels = (Column(side, number=not tags, choose=not tags, wide=tags) for side in ("gold", "predicted"))
    columns, ids = [*labels, "margin"], text_column("id")
    if with_texts:
        columns = [text_column("text", wide=True), *columns, ids, "line"]
    else:
        columns = [ids, *columns, "line"]
    if kind == "number":
        size = f"The {len(rows)} of {len(entry.rows):,} predictions that are farthest from their gold scores"
        size += f"; {number(distances.mean())} is the mean distance."
    else:
        size = f"{len(wrong):,} of {len(entry.rows):,} are wrong"
        size += f", the {SHOWN} worst of them here." if len(wrong) > SHOWN else "."
    usual = "the probability of the predicted class minus that of the true class"
    about = (
        f"{size} The margin is {MARGINS.get(kind, usual)}; a large one is a bad mistake, or a wrong label."
    )
    parts = [paragraph(about)]
    if not with_texts:
        parts.append(paragraph("Texts are left out; ids and lines lead to them in the data files.", "soft"))
    parts.append(table("", columns, rows, f"errors-{name}", search=True, kind="stacked"))
    return parts


def _tags(entry: Predicted, place: int, with_texts: bool) -> list[str]:
    """The true and the predicted tags where they differ, each behind its word."""
    rows = zip(words_of(entry.rows[place]), entry.gold[place], entry.hard[place], strict=True)
    wrong = [(f"{word} " if with_texts else "", gold, hard) for word, gold, hard in rows if gold != hard]
    return ["\n".join(word + row[side] for word, *row in wrong) for side in (0, 1)]


def _label(entry: Predicted, value: Any) -> Cell:
    """A label; scores are filtered by the part of their range that they lie in."""
    if entry.task.target_kind == "labels":
        value = ", ".join(value)
    if entry.task.target_kind != "number":
        return Cell(str(value), value)
    low, high = entry.task.config.low, entry.task.config.high
    width = (high - low) / GROUPS
    place = min(GROUPS - 1, max(0, int((value - low) / width)))
    group = f"{low + place * width:g} to {low + (place + 1) * width:g}"
    return Cell(f"{value:.2f}", float(value), group=group)
