"""A run's training over its steps: losses, learning rates, dev scores, conflict between gradients."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np

from multitask.experiments.report.charts import PALETTE, legend_below
from multitask.experiments.report.html import Section, figure, figures, paragraph, section, table, text_column
from multitask.inference.plots import draw_losses
from multitask.inference.run import Run

Records = Sequence[Mapping[str, Any]]
LINES = ("-", "--", ":", "-.")


def training_section(run: Run, records: Records) -> Section:
    """Curves of the loss, the rates and the dev scores, and a table of all evaluations."""
    trained = [record for record in records if record["kind"] == "train"]
    evaluated = [record for record in records if record["kind"] == "evaluation"]
    pairs = dict.fromkeys(
        (task, metric) for r in evaluated for task, scores in r["scores"].items() for metric in scores
    )
    shown = []
    if any(record["loss"] for record in trained):
        guide = "A line that still falls at the end asks for more epochs; one that jumps, for a lower rate."
        shown.append(figure("Training loss of each task", guide, lambda axes: draw_losses(axes, records)))
    if trained:
        guide = "They rise through the warm-up, then follow the schedule; the heads' are usually higher."
        shown.append(figure("Learning rates", guide, partial(_draw_rates, run, trained)))
    if evaluated:
        guide = "A score that falls while its loss does is overfitting; the vertical line is the best step."
        draw = partial(_draw_scores, evaluated, pairs, run.scores.get("step"))
        shown.append(figure("Dev scores at each evaluation", guide, draw, height=3.9))
    parts = [figures(*shown) or paragraph("The run has no records in metrics.jsonl.", "note")]
    if evaluated:
        columns = ("step", "epoch", "seconds", *(f"{task} {metric}" for task, metric in pairs))
        rows = [
            (r["step"], r["epoch"], float(r["seconds"]), *(_score(r, *pair) for pair in pairs))
            for r in evaluated
        ]
        parts.append(table("Evaluations on dev", columns, rows, "evaluations"))
    return section("Training", *parts)


def _score(record: Mapping[str, Any], task: str, metric: str) -> float | None:
    return record["scores"].get(task, {}).get(metric)


def _draw_rates(run: Run, trained: Records, axes) -> None:
    optim = run.config.optim
    steps = [record["step"] for record in trained]
    rates = np.array([record["rate"] for record in trained], dtype=np.float64)
    axes.plot(steps, rates, marker="." if len(steps) < 60 else None, label="encoder")
    peaks: dict[tuple[str, float], list[str]] = {}
    for name, task in run.config.tasks.items():
        peaks.setdefault(("head", optim.head_lr if task.lr is None else task.lr), []).append(name)
        if task.encoder_lr is not None:
            peaks.setdefault(("encoder in steps", task.encoder_lr), []).append(name)
    for (part, peak), names in peaks.items() if optim.lr else ():
        label = f"{part}{'s' if part == 'head' and len(names) > 1 else ''} of {', '.join(names)}"
        axes.plot(steps, rates / optim.lr * peak, linestyle="--", label=label)
    axes.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    axes.ticklabel_format(axis="y", style="plain")
    legend_below(axes, columns=1)


def _draw_scores(evaluated: Records, pairs: Iterable[tuple[str, str]], best: int | None, axes) -> None:
    metrics: dict[str, list[str]] = {}
    for task, metric in pairs:
        metrics.setdefault(task, []).append(metric)
    for place, (task, own) in enumerate(metrics.items()):
        for metric, line in zip(own, LINES * len(own), strict=False):
            points = [(record["step"], _score(record, task, metric)) for record in evaluated]
            style = {"color": PALETTE[place % len(PALETTE)], "linestyle": line}
            _plot(axes, points, label=f"{task} {metric}", **style)
    if best is not None:
        axes.axvline(best, color="black", linewidth=0.8)
    axes.set(xlabel="step", ylabel="score")
    legend_below(axes, columns=3)


def _plot(axes, points: Iterable[tuple[float, float | None]], **style) -> None:
    """Plots the points whose value is known."""
    known = [point for point in points if point[1] is not None]
    axes.plot([x for x, _ in known], [y for _, y in known], marker=".", **style)


def conflict_section(records: Records) -> Section:
    """The cosines of each two tasks' gradients: over the steps, and layer by layer."""
    title = "Gradient conflict"
    cosines = [(r["step"], r["cosines"]) for r in records if r["kind"] == "conflict"]
    pairs = list(dict.fromkeys(pair for _, found in cosines for pair in found.get("overall", {})))
    if not pairs:
        text = (
            "No cosines of gradients were recorded; a run with --sampling together and "
            "--gradients.conflicts-every 10 records them."
        )
        return section(title, paragraph(text))
    layers = list(dict.fromkeys(layer for _, found in cosines for layer in found))
    points = {
        (layer, pair): [(s, f[layer][pair]) for s, f in cosines if f.get(layer, {}).get(pair) is not None]
        for pair in pairs
        for layer in layers
    }
    values = {key: [value for _, value in own] for key, own in points.items()}

    def draw_cosines(axes) -> None:
        for pair in pairs:
            _plot(axes, points["overall", pair], label=pair.replace(" ", " and "))
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(xlabel="step", ylabel="cosine, whole encoder")
        legend_below(axes, columns=1)

    def draw_layers(axes) -> None:
        means = [[fmean(values[layer, pair] or [float("nan")]) for pair in pairs] for layer in layers]
        bound = float(np.nanmax(np.abs(means))) or 1.0
        image = axes.imshow(means, cmap="RdBu", vmin=-bound, vmax=bound, aspect="auto")
        axes.set_xticks(range(len(pairs)), [pair.replace(" ", "\nand ") for pair in pairs])
        axes.set_yticks(range(len(layers)), layers)
        axes.set(xlabel="tasks", ylabel="part of the encoder")
        axes.grid(False)
        axes.figure.colorbar(image, label="mean cosine")

    guide = "Below zero two tasks pull the shared encoder apart in that step; near zero they do not meet."
    over_steps = figure("Cosine of two tasks' gradients over the training", guide, draw_cosines)
    guide = "Blue layers are pulled the same way by both tasks, red ones apart; means over the steps."
    height = 1.2 + 0.32 * len(layers)
    by_layer = figure("Where in the encoder tasks agree", guide, draw_layers, height)
    rows = []
    for (layer, pair), own in values.items():
        facts = (fmean(own), sum(value < 0 for value in own) / len(own)) if own else (None, None)
        rows.append((pair.replace(" ", " and "), layer, *facts, len(own)))
    tasks, part = text_column("tasks", choose=True), text_column("part", choose=True)
    columns = (tasks, part, "mean cosine", "share of steps below 0", "steps")
    cosines = table("Cosines of gradients", columns, rows, "conflicts")
    return section(title, figures(over_steps, by_layer), cosines)
