"""What a run predicts on a split: confusion matrices, thresholds, scores against gold scores. N examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minbert import InputError
from multitask.data.readers import Example
from multitask.experiments.reports.charts import chart, legend_below
from multitask.experiments.reports.page import Column, Section, figure, figures, paragraph, table
from multitask.inference.plots import draw_confusion
from multitask.inference.run import Run, load_split
from multitask.metrics.scores import confusion_matrix
from multitask.tasks.base import ScoredTask

CLASSES = 20  # of which a confusion matrix can still be read
IN_USE = 0.5  # the threshold of PairTask.hard
OUTLINES = 1500  # points that are drawn as outlines; more become a picture inside the plot


@dataclass(frozen=True)
class Predicted:
    """A task's labelled examples, what `soft` and `hard` make of them."""

    task: ScoredTask
    rows: Sequence[Example]
    soft: np.ndarray  # (N, C) or (N,)
    hard: list[Any]

    @property
    def gold(self) -> list[Any]:
        return [row.label for row in self.rows]

    @property
    def classes(self) -> list[Any]:
        """The labels of a classification in the order of `soft`'s columns."""
        return self.task.named(range(self.soft.shape[1]))

    def scores(self) -> dict[str, float]:
        return self.task.score(self.hard, self.rows)


def predict_split(
    run: Run, folder: Path, split: str, with_texts: bool = True
) -> tuple[dict[str, Predicted], list[str]]:
    """Predictions of each task that gives numbers and has labels in the split; notes on the others.

    Why a row was rejected may quote it: without `with_texts` a note says only how many were.
    """
    predicted, notes = {}, []
    for name in run.model.tasks:
        try:
            task = run.task(name)
            examples, note = load_split(task, folder, split, run.config.limit)
            if examples is not None and not with_texts and examples.rejects:
                note = [f"{name}: rejected rows in {examples.path}: {len(examples.rejects)}"]
            notes += note
            if examples is None:
                continue
            if not (examples.labelled and examples.rows):
                notes.append(f"{name}: {examples.path} has no labelled row to compare predictions with")
                continue
            soft = run.example_scores(name, examples.rows)
        except InputError as error:
            notes.append(f"left out: {error}")
            continue
        predicted[name] = Predicted(task, examples.rows, soft, task.hard(soft))
    return predicted, notes


def prediction_section(predicted: Mapping[str, Predicted], split: str) -> Section | None:
    """A plot, or two, and a table for each task whose kind has one."""
    shown, tables = [], []
    for name, entry in predicted.items():
        if entry.task.target_kind == "classes" and len(entry.classes) <= CLASSES:
            shown.append(_confusion_figure(name, entry, split))
        elif entry.task.target_kind == "binary":
            plot, numbers = _threshold_parts(name, entry, split)
            shown.append(plot)
            tables.append(numbers)
        elif entry.task.target_kind == "number":
            shown.append(_scatter_figure(name, entry, split))
    if not predicted:
        return None
    return Section(f"Predictions on {split}", figures(*shown) + "".join(tables) or paragraph("No plot fits."))


def _confusion_figure(name: str, entry: Predicted, split: str) -> str:
    places = {label: place for place, label in enumerate(entry.classes)}
    matrix = confusion_matrix([places[p] for p in entry.hard], [places[g] for g in entry.gold], len(places))

    def draw(axes):
        axes.grid(False)
        axes.figure.colorbar(draw_confusion(axes, matrix, entry.classes), label="examples")

    ordered = all(isinstance(label, int) for label in entry.classes) and len(places) > 2
    guide = (
        "Off-diagonal cells next to the diagonal are one level off; far ones are mistakes of sentiment."
        if ordered
        else "Off-diagonal cells are mistakes; a full column is a class that is predicted too often."
    )
    height = 4.2 if len(places) <= 10 else 5.2
    return figure(f"{name} confusion on {split}", guide, chart(draw, height))


def threshold_scores(
    probabilities: np.ndarray, labels: Sequence[int], thresholds: np.ndarray
) -> dict[str, np.ndarray]:
    """(T,) accuracy, precision, recall and F1 of "probability above the threshold means 1".

    `probabilities` and `labels` (0 or 1) are (N,). Precision is NaN where nothing is predicted to be 1,
    recall where nothing is.
    """
    true = np.asarray(labels) == 1
    positives, negatives = np.sort(probabilities[true]), np.sort(probabilities[~true])
    hits = len(positives) - np.searchsorted(positives, thresholds, side="right")
    alarms = len(negatives) - np.searchsorted(negatives, thresholds, side="right")
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "accuracy": (hits + len(negatives) - alarms) / len(true),
            "precision": hits / (hits + alarms),
            "recall": hits / np.float64(len(positives)),
            "F1": 2 * hits / np.maximum(1, hits + alarms + len(positives)),
        }


def _threshold_parts(name: str, entry: Predicted, split: str) -> tuple[str, str]:
    """The plot of the scores against the threshold, and a table of the thresholds that matter."""
    candidates = np.union1d(entry.soft, [0.0, IN_USE])  # each set of predictions that a threshold can make
    scores = threshold_scores(entry.soft, entry.gold, candidates)
    best = {metric: float(candidates[np.argmax(scores[metric])]) for metric in ("accuracy", "F1")}

    def draw(axes):
        grid = np.linspace(0, 1, 201)
        for metric, values in threshold_scores(entry.soft, entry.gold, grid).items():
            axes.plot(grid, values, label=metric)
        axes.axvline(IN_USE, color="black", linewidth=1, label=f"in use, {IN_USE}")
        axes.axvline(
            best["accuracy"], color="black", linewidth=1, linestyle=":", label=f"best, {best['accuracy']:.3f}"
        )
        axes.set(xlabel="threshold on the probability of 1", ylabel="share", xlim=(0, 1), ylim=(0, 1.02))
        legend_below(axes, columns=3)

    plot = figure(
        f"{name} scores against the threshold on {split}",
        "A best threshold far from the one in use means probabilities that are too low or too high.",
        chart(draw, 3.9),
    )
    rows = [
        (
            kind,
            at,
            *(
                float(values[0])
                for values in threshold_scores(entry.soft, entry.gold, np.array([at])).values()
            ),
        )
        for kind, at in (
            ("in use", IN_USE),
            ("best accuracy", best["accuracy"]),
            ("best F1", best["F1"]),
        )
    ]
    columns = (Column("threshold", number=False), "value", "accuracy", "precision", "recall", "F1")
    caption = f"{name}: thresholds. The best ones are chosen on these very examples, which flatters them"
    return plot, table(caption, columns, rows, f"thresholds-{name}")


def _scatter_figure(name: str, entry: Predicted, split: str) -> str:
    config = entry.task.config

    def draw(axes):
        axes.scatter(
            entry.gold, entry.soft, s=9, alpha=0.4, linewidths=0, rasterized=len(entry.rows) > OUTLINES
        )
        axes.plot([config.low, config.high], [config.low, config.high], color="black", linewidth=0.8)
        axes.set(xlabel="gold score", ylabel="predicted score")
        axes.set_xlim(config.low - 0.1, config.high + 0.1)

    return figure(
        f"{name}: predicted against gold on {split}",
        "Points on the line are right; a cloud that is flatter than the line shrinks towards the mean. "
        "A correlation does not mind that, it minds the width of the cloud.",
        chart(draw, 3.9),
    )
