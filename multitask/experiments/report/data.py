"""Label distributions of each task in train and dev, as in Figure 1 of the source paper."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from minbert import InputError
from minbert.cli.page import Section, folded, paragraph, section, side_by_side, table, text_column
from multitask.experiments.report.charts import figure, legend_below, short
from multitask.inference.chart_style import task_colors
from multitask.inference.run import Run, load_split

SPLITS = ("train", "dev")  # the course's test files have no labels
BINS = 10  # of scores
GUIDE = (
    "Shares of each split. Uneven bars make the most frequent label a strong guess; bars that differ between "
    "splits make dev another problem than train."
)


def data_section(run: Run, folder: Path) -> Section:
    """A histogram and a folded table for each task with labels for an example as a whole."""
    shown, tables, colors = [], [], task_colors(run.config.tasks)
    for name, task in run.model.tasks.items():
        labels = {}
        for split in SPLITS if task.target_kind is not None else ():
            with suppress(InputError):  # a file without labels
                examples, _ = load_split(task, folder, split, run.config.limit)
                if examples is not None and examples.labelled and examples.rows:
                    labels[split] = [row.label for row in examples.rows]
        counts = label_counts(task, labels)
        if counts:
            sizes = {split: len(found) for split, found in labels.items()}
            draw = partial(_draw, counts, sizes, task.target_kind == "number", colors[name])
            shown.append(figure(f"{name}: labels in {' and '.join(counts)}", "", draw))
            names = next(iter(counts.values()))
            found = [(label, *(own[label] for own in counts.values())) for label in names]
            columns = (text_column("label"), *counts)
            tables.append(table(f"{name}: examples of each label", columns, found, f"labels-{name}"))
    if not shown:
        return section("Data")
    return section(
        "Data",
        paragraph(GUIDE, "soft"),
        side_by_side(*shown),
        folded("Counts of labels", side_by_side(*tables)),
    )


def label_counts(task, labels: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, int]]:
    """Counts split -> label -> examples; scores are counted in BINS bins, the last of which is closed."""
    if task.target_kind == "labels":
        labels = {split: [*chain.from_iterable(found)] for split, found in labels.items()}
    if task.target_kind != "number":
        names = sorted({label for found in labels.values() for label in found})
        counters = {split: Counter(found) for split, found in labels.items()}
        return {split: {str(label): own[label] for label in names} for split, own in counters.items()}
    edges = np.linspace(task.config.low, task.config.high, BINS + 1)
    names = [f"{low:g} to {high:g}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return {
        split: dict(zip(names, np.histogram(found, edges)[0].tolist(), strict=True))
        for split, found in labels.items()
    }


def _draw(
    counts: Mapping[str, Mapping[str, int]], sizes: Mapping[str, int], scores: bool, color: str, axes
) -> None:
    """Bars side by side, each a share of its split."""
    names = list(next(iter(counts.values())))
    width = 0.8 / len(counts)
    for i, (split, own) in enumerate(counts.items()):
        total = sizes[split]
        places = np.arange(len(names)) - 0.4 + (i + 0.5) * width
        style = {"color": color, "alpha": 1.0 if split == SPLITS[0] else 0.45, "label": f"{split}, {total:,}"}
        axes.bar(places, [100 * own[n] / total for n in names], width, **style)
    ticks = [name.replace(" to ", "–") for name in names] if scores else [short(name, 12) for name in names]
    axes.set_xticks(range(len(names)), ticks, rotation=45 if scores or max(map(len, ticks)) > 5 else 0)
    axes.set(xlabel="score" if scores else "label", ylabel="% of the split")
    axes.grid(False, axis="x")
    legend_below(axes)
