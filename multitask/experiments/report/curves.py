"""How a run was trained: losses, learning rates, scores on the way, conflict between the tasks' gradients."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from multitask.experiments.report.charts import PALETTE, chart, legend_below
from multitask.experiments.report.page import Column, Section, figure, figures, paragraph, table
from multitask.plots import draw_losses
from multitask.run import Run

Records = Sequence[Mapping[str, Any]]
LINES = ("-", "--", ":", "-.")


def training_section(run: Run, records: Records) -> Section:
    """Curves of the loss, the rates and the dev scores, and a table of all evaluations."""
    trained = [record for record in records if record["kind"] == "train"]
    evaluated = [record for record in records if record["kind"] == "evaluation"]
    shown = []
    if any(record["loss"] for record in trained):
        shown.append(
            figure(
                "Training loss of each task",
                "A line that still falls at the end asks for more epochs; one that jumps, for a lower rate.",
                chart(lambda axes: draw_losses(axes, records)),
            )
        )
    if trained:
        shown.append(
            figure(
                "Learning rates",
                "They rise through the warm-up, then follow the schedule; the heads' are usually higher.",
                chart(lambda axes: _draw_rates(axes, run, trained)),
            )
        )
    if evaluated:
        shown.append(
            figure(
                "Dev scores at each evaluation",
                "A score that falls while its loss does is overfitting; the vertical line is the best step.",
                chart(lambda axes: _draw_scores(axes, evaluated, run.scores.get("step")), height=3.9),
            )
        )
    body = figures(*shown) or paragraph("The run has no records in metrics.jsonl.", "note")
    return Section("Training", body + (_evaluation_table(evaluated) if evaluated else ""))


def _draw_rates(axes, run: Run, trained: Records) -> None:
    optim, tasks = run.config.optim, run.config.tasks
    steps = [record["step"] for record in trained]
    rates = np.array([record["rate"] for record in trained], dtype=np.float64)
    axes.plot(steps, rates, marker="." if len(steps) < 60 else None, label="encoder")
    peaks: dict[tuple[str, float], list[str]] = {}
    for name, task in tasks.items():
        peaks.setdefault(("head", optim.head_lr if task.lr is None else task.lr), []).append(name)
        if task.encoder_lr is not None:
            peaks.setdefault(("encoder in steps", task.encoder_lr), []).append(name)
    for (part, peak), names in peaks.items() if optim.lr else ():
        label = f"{part}{'s' if part == 'head' and len(names) > 1 else ''} of {', '.join(names)}"
        axes.plot(steps, rates / optim.lr * peak, linestyle="--", label=label)
    axes.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    axes.ticklabel_format(axis="y", style="plain")
    legend_below(axes, columns=1)


def _scores_of(evaluated: Records) -> list[tuple[str, str]]:
    """The (task, score) pairs of all evaluations, each once."""
    return list(
        dict.fromkeys(
            (task, metric)
            for record in evaluated
            for task, values in record["scores"].items()
            for metric in values
        )
    )


def _draw_scores(axes, evaluated: Records, best: int | None) -> None:
    pairs = _scores_of(evaluated)
    tasks = list(dict.fromkeys(task for task, _ in pairs))
    for task, metric in pairs:
        points = [
            (record["step"], record["scores"][task][metric])
            for record in evaluated
            if record["scores"].get(task, {}).get(metric) is not None
        ]
        own = [name for other, name in pairs if other == task]
        axes.plot(
            [step for step, _ in points],
            [value for _, value in points],
            marker=".",
            color=PALETTE[tasks.index(task) % len(PALETTE)],
            linestyle=LINES[own.index(metric) % len(LINES)],
            label=f"{task} {metric}",
        )
    if best is not None:
        axes.axvline(best, color="black", linewidth=0.8)
    axes.set(xlabel="step", ylabel="score")
    legend_below(axes, columns=3)


def _evaluation_table(evaluated: Records) -> str:
    pairs = _scores_of(evaluated)
    rows = [
        (
            record["step"],
            record["epoch"],
            float(record["seconds"]),
            *(record["scores"].get(task, {}).get(metric) for task, metric in pairs),
        )
        for record in evaluated
    ]
    columns = ("step", "epoch", "seconds", *(f"{task} {metric}" for task, metric in pairs))
    return table("Evaluations on dev", columns, rows, "evaluations")


def conflict_section(records: Records) -> Section:
    """The cosines of each two tasks' gradients: over the steps, and layer by layer."""
    found = [record for record in records if record["kind"] == "conflict"]
    pairs = list(dict.fromkeys(pair for record in found for pair in record["cosines"].get("overall", {})))
    if not pairs:
        return Section(
            "Gradient conflict",
            paragraph(
                "No cosines of gradients were recorded; a run with --sampling together and "
                "--gradients.conflicts-every 10 records them."
            ),
        )
    layers = list(dict.fromkeys(layer for record in found for layer in record["cosines"]))
    values = {(layer, pair): _cosines(found, layer, pair) for layer in layers for pair in pairs}
    shown = figures(
        figure(
            "Cosine of two tasks' gradients over the training",
            "Below zero two tasks pull the shared encoder apart in that step; near zero they do not meet.",
            chart(lambda axes: _draw_cosines(axes, found, pairs)),
        ),
        figure(
            "Where in the encoder tasks agree",
            "Blue layers are pulled the same way by both tasks, red ones apart; means over the steps.",
            chart(lambda axes: _draw_layers(axes, layers, pairs, values), height=1.2 + 0.32 * len(layers)),
        ),
    )
    rows = [
        (
            pair.replace(" ", " and "),
            layer,
            fmean(own) if own else None,
            sum(value < 0 for value in own) / len(own) if own else None,
            len(own),
        )
        for pair in pairs
        for layer in layers
        for own in [values[layer, pair]]
    ]
    columns = (
        Column("tasks", choose=True, number=False),
        Column("part", choose=True, number=False),
        "mean cosine",
        "share of steps below 0",
        "steps",
    )
    return Section("Gradient conflict", shown + table("Cosines of gradients", columns, rows, "conflicts"))


def _cosines(found: Records, layer: str, pair: str) -> list[float]:
    values = [record["cosines"].get(layer, {}).get(pair) for record in found]
    return [value for value in values if value is not None]


def _draw_cosines(axes, found: Records, pairs: Sequence[str]) -> None:
    for pair in pairs:
        points = [(record["step"], record["cosines"].get("overall", {}).get(pair)) for record in found]
        points = [point for point in points if point[1] is not None]
        axes.plot(*zip(*points, strict=True), marker=".", label=pair.replace(" ", " and "))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="step", ylabel="cosine, whole encoder")
    legend_below(axes, columns=1)


def _draw_layers(
    axes, layers: Sequence[str], pairs: Sequence[str], values: Mapping[tuple[str, str], list[float]]
) -> None:
    means = np.array(
        [[fmean(values[layer, pair] or [float("nan")]) for pair in pairs] for layer in layers]
    )  # (layers, pairs)
    bound = float(np.nanmax(np.abs(means))) or 1.0
    image = axes.imshow(means, cmap="RdBu", vmin=-bound, vmax=bound, aspect="auto")
    axes.set_xticks(range(len(pairs)), [pair.replace(" ", "\nand ") for pair in pairs])
    axes.set_yticks(range(len(layers)), layers)
    axes.set(xlabel="tasks", ylabel="part of the encoder")
    axes.grid(False)
    axes.figure.colorbar(image, label="mean cosine")
