"""A run's predictions on a split: confusion matrices, thresholds, scores against gold scores. N examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from minbert import InputError
from minbert.cli.page import Cell, Section, section, side_by_side, table, text_column
from multitask.data.readers import Example
from multitask.experiments.report.charts import figure, legend_below
from multitask.experiments.report.curves import score_cell
from multitask.inference.chart_style import GREY, INK, css_color, task_colors
from multitask.inference.evaluation import notes_on
from multitask.inference.run import Run, load_split
from multitask.metrics.scores import confusion_matrix
from multitask.tasks.base import ScoredTask

CLASSES = 20  # of which a confusion matrix can still be read
# Of a threshold plot: whether in the task's color, and the line.
LINES = {"accuracy": (True, "-"), "f1": (True, "--"), "precision": (False, "-."), "recall": (False, ":")}
POINTS = 1500  # of a plot


@dataclass(frozen=True)
class Predicted:
    """A task's labelled examples, with its example scores, if its kind has some, and its predictions."""

    task: ScoredTask
    rows: Sequence[Example]
    soft: np.ndarray | None  # (N, C) or (N,)
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
    """Predicts for each task that has labels in the split; notes on the others.

    The reason why a row was rejected may quote it: without `with_texts` a note only counts them.
    """
    predicted, notes = {}, []
    for name in run.model.tasks:
        try:
            task = run.task(name)
            examples, note = load_split(task, folder, split, run.config.limit)
            if examples is not None and examples.rejects and not with_texts:
                note = [f"{name}: rejected rows in {examples.path}: {len(examples.rejects)}"]
            notes += note
            if examples is None:
                continue
            if not (examples.labelled and examples.rows):
                notes.append(f"{name}: {examples.path} has no labelled row to compare predictions with")
                continue
            soft = run.example_scores(name, examples.rows) if task.has_example_scores else None
            hard = run.predict_rows(name, examples.rows) if soft is None else task.hard(soft)
        except InputError as error:
            notes.append(f"left out: {error}")
            continue
        entry = predicted[name] = Predicted(task, examples.rows, soft, hard)
        notes += notes_on(name, entry.hard, entry.gold, entry.scores())
    return predicted, notes


def prediction_section(run: Run, predicted: Mapping[str, Predicted], split: str) -> Section:
    """A plot or a table for each task whose kind has one: of yes-or-no tasks also the thresholds."""
    shown, tables, colors = [], [], task_colors(run.config.tasks)
    for name, entry in predicted.items():
        kind, color = entry.task.target_kind, colors[name]
        if kind == "classes" and len(entry.classes) <= CLASSES:
            shown.append(_confusion_table(name, entry.gold, entry.hard, entry.classes, split, color))
        elif kind == "binary":
            plot, numbers = _threshold_parts(name, entry, split, color)
            shown.append(plot)
            tables.append(numbers)
        elif kind == "labels":
            tables.append(_label_table(name, entry, split))
        elif kind == "number":
            shown.append(_scatter_figure(name, entry, split, color))
        elif entry.task.reads == "words":
            gold, hard = ([*chain.from_iterable(tags)] for tags in (entry.gold, entry.hard))
            classes = list(dict.fromkeys([*entry.task.labels, *gold]))
            if len(classes) <= CLASSES:
                tables.append(_confusion_table(name, gold, hard, classes, split, color))
    return section(f"Predictions on {split}", side_by_side(*shown), side_by_side(*tables))


def _confusion_table(
    name: str, gold: Sequence[Any], hard: Sequence[Any], classes: Sequence[Any], split: str, color: str
) -> str:
    places = {label: place for place, label in enumerate(classes)}
    matrix = confusion_matrix([places[p] for p in hard], [places[g] for g in gold], len(places))
    lines = []
    for label, counts in zip(classes, matrix, strict=True):
        shares = counts / max(1, counts.sum())
        cells = [
            Cell(f"{count:,}", count, f"{100 * share:.0f} %", tint=css_color(color), share=share)
            if count
            else Cell("0", 0, kind="soft")
            for count, share in zip(counts.tolist(), shares.tolist(), strict=True)
        ]
        lines.append([str(label), *cells])
    caption = (
        "Rows are the true classes, columns the predicted ones, with their share of the true class. A full "
        "column is a class that is predicted too often."
    )
    columns = (text_column("true"), *map(str, classes))
    title = f"{name}: confusion matrix on {split}"
    return table(caption, columns, lines, f"confusion-{name}", title=title, kind="fixed")


def threshold_scores(
    probabilities: np.ndarray, labels: Sequence[int], thresholds: np.ndarray
) -> dict[str, np.ndarray]:
    """Computes (T,) accuracy, precision, recall and f1 of "probability above the threshold means 1".

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
            "f1": 2 * hits / np.maximum(1, hits + alarms + len(positives)),
        }


def _threshold_parts(name: str, entry: Predicted, split: str, color: str) -> tuple[str, str]:
    """The plot of the scores against the threshold, and a table of the thresholds that matter."""
    in_use = entry.task.config.threshold
    candidates = np.union1d(entry.soft, [0.0, in_use])  # each set of predictions that a threshold can make
    scores = threshold_scores(entry.soft, entry.gold, candidates)
    best = {metric: float(candidates[np.argmax(scores[metric])]) for metric in ("accuracy", "f1")}

    def draw(axes):
        grid = np.linspace(0, 1, 201)
        for metric, values in threshold_scores(entry.soft, entry.gold, grid).items():
            shade, line = LINES[metric]
            style = {"color": color if shade else GREY, "linestyle": line, "linewidth": 1.8, "label": metric}
            axes.plot(grid, values, **style)
        axes.axvline(in_use, color=INK, linewidth=1, label=f"in use, {in_use:g}")
        label = f"best accuracy, {best['accuracy']:.2f}"
        axes.axvline(best["accuracy"], color=INK, linewidth=1, linestyle=":", label=label)
        axes.set(xlabel="threshold on the probability of 1", ylabel="share", xlim=(0, 1), ylim=(0, 1.02))
        legend_below(axes, columns=3)

    title = f"{name}: scores against the threshold on {split}"
    guide = "A best threshold far from the one in use means probabilities that are too low or too high."
    chosen = {"in use": in_use} | {f"best {metric}": threshold for metric, threshold in best.items()}
    at = threshold_scores(entry.soft, entry.gold, np.array([*chosen.values()]))
    rows = zip(
        chosen,
        map(score_cell, chosen.values()),
        *(map(score_cell, values.tolist()) for values in at.values()),
        strict=True,
    )
    columns = (text_column("threshold"), "value", *at)
    caption = f"{name}: thresholds. The best ones are chosen on these very examples, which flatters them"
    return figure(title, guide, draw, 3.9), table(
        caption, columns, rows, f"thresholds-{name}", kind="stacked"
    )


def _label_table(name: str, entry: Predicted, split: str) -> str:
    """The scores of each label at the threshold in use."""
    rows = []
    for place, label in enumerate(entry.task.labels):
        true = [label in gold for gold in entry.gold]
        at = threshold_scores(entry.soft[:, place], true, np.array([entry.task.config.threshold]))
        rows.append((label, sum(true), *(score_cell(float(values[0])) for values in at.values())))
    columns = (text_column("label"), "examples", "accuracy", "precision", "recall", "f1")
    caption = f"{name}: scores of each label on {split}, at the threshold {entry.task.config.threshold:g}"
    return table(caption, columns, rows, f"labels-on-{split}-{name}")


def _scatter_figure(name: str, entry: Predicted, split: str, color: str) -> str:
    low, high = entry.task.config.low, entry.task.config.high
    margin = (high - low) / 50
    drawn = np.random.default_rng(0).permutation(len(entry.rows))[:POINTS]
    gold = np.array(entry.gold, dtype=np.float64)

    def draw(axes):
        axes.scatter(gold[drawn], entry.soft[drawn], s=9, alpha=0.5, linewidths=0, color=color)
        axes.plot([low, high], [low, high], color=INK, linewidth=0.8)
        axes.set(xlabel="gold score", ylabel="predicted score")
        axes.set_xlim(low - margin, high + margin)

    guide = (
        "Points on the line are right; a cloud that is flatter than the line shrinks towards the mean. "
        "A correlation does not mind that, it minds the width of the cloud."
    )
    if len(gold) > POINTS:
        guide += f" {POINTS:,} of {len(gold):,} points, drawn at random."
    return figure(f"{name}: predicted against gold on {split}", guide, draw, 3.9)
