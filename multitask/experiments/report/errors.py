"""The error browser: each task's worst predictions, to filter, sort and search."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from multitask.experiments.report.html import Cell, Column, Section, paragraph, section, table, text_column
from multitask.experiments.report.predictions import Predicted

SHOWN = 100  # errors of a task
GROUPS = 5  # of gold and predicted scores, to filter by


def margins(entry: Predicted) -> np.ndarray | None:
    """Returns how wrong each prediction is, (N,); None for a kind of task without such a number.

    For classes the probability of the predicted one minus that of the true one, for scores the distance to
    the gold score; 0 where the prediction is right. For several labels the largest distance of one's
    probability to 0 or 1.
    """
    kind, soft, classes = entry.task.target_kind, entry.soft, (0, 1)
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


def error_section(predicted: Mapping[str, Predicted], with_texts: bool) -> Section:
    """One table of the worst errors of all tasks."""
    rows, counts = [], []
    for name, entry in predicted.items():
        distances = margins(entry)
        if distances is None:
            continue
        wrong = [i for i in range(len(entry.rows)) if entry.hard[i] != entry.gold[i]]
        wrong.sort(key=lambda i, distances=distances: -distances[i])
        kind = "not exact" if entry.task.target_kind == "number" else "wrong"
        counts.append(f"{name}: {len(wrong):,} of {len(entry.rows):,} {kind}")
        for i in wrong[:SHOWN]:
            example, margin = entry.rows[i], float(distances[i])
            texts = ["\n".join(example.texts)] if with_texts else []
            labels = _label(entry, entry.gold[i]), _label(entry, entry.hard[i])
            rows.append([name, *texts, *labels, Cell(f"{margin:.3f}", margin), example.id, example.line])
    if not rows:
        return section("Errors")
    texts = [text_column("text", wide=True)] if with_texts else []
    labels = Column("gold", choose=True), Column("predicted", choose=True)
    columns = [text_column("task", choose=True), *texts, *labels, "margin", text_column("id"), "line"]
    about = (
        f"The {SHOWN} worst of each task at most ({'; '.join(counts)}). The margin is the probability of the "
        "predicted class minus that of the true class, for scores the distance to the gold score, for labels "
        "the largest distance of a probability to 0 or 1. A large one is a confident mistake, or a wrong "
        "label."
    )
    parts = [paragraph(about)]
    if not with_texts:
        parts.append(paragraph("Texts are left out; ids and lines lead to them in the data files.", "soft"))
    return section("Errors", *parts, table("Worst predictions", columns, rows, "errors", search=True))


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
