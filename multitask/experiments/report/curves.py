"""A run's training over its steps: losses, learning rates, dev scores, conflict between gradients."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from minbert.cli.page import Cell, Section, paragraph, score, section, side_by_side, table, text_column
from multitask.experiments.report.charts import figure, legend_below
from multitask.inference.chart_style import ACCENT, ALERT, GREY, INK, css_color, task_colors
from multitask.inference.plots import compact, draw_losses, smoothed
from multitask.inference.run import Run
from multitask.metrics.scores import overall_scores

Records = Sequence[Mapping[str, Any]]
OVERALL = "all"  # in place of a task's name


def training_section(run: Run, records: Records) -> Section:
    """Curves of the loss, the rates and the dev scores, and a table of all evaluations."""
    trained = [record for record in records if record["kind"] == "train"]
    evaluated = [
        (r, {OVERALL: overall_scores(r["scores"])} | r["scores"])
        for r in records
        if r["kind"] == "evaluation"
    ]
    colors, best = task_colors(run.config.tasks), run.scores.get("step")
    shown = []
    if any(record["loss"] for record in trained):
        guide = "A line that still falls at the end asks for more epochs; one that jumps, for a lower rate."
        shown.append(
            figure("Training loss of each task", guide, partial(_draw_losses, records, run.config.tasks))
        )
    if evaluated:
        guide = "The main score of each task. One that falls while its loss does is overfitting."
        main = {name: task.primary_metric for name, task in run.model.tasks.items() if task.scored}
        draw = partial(_draw_scores, evaluated, main, colors, best)
        shown.append(figure("Dev scores at each evaluation", guide, draw, height=3.9))
    if trained:
        guide = "They rise through the warm-up, then follow the schedule."
        shown.append(figure("Learning rates", guide, partial(_draw_rates, run, trained, colors)))
    parts = [side_by_side(*shown) or paragraph("The run has no records in metrics.jsonl.", "note")]
    if evaluated:
        pairs = dict.fromkeys((t, m) for _, scores in evaluated for t, own in scores.items() for m in own)
        pairs = sorted(pairs, key=lambda pair: pair[0] != OVERALL and main.get(pair[0]) != pair[1])
        names = (metric if task == OVERALL else f"{task} {metric}" for task, metric in pairs)
        lines = [
            [
                Cell(f"{r['step']:,}", r["step"], "best" if r["step"] == best else ""),
                r["epoch"],
                Cell(f"{r['seconds']:,.0f}", r["seconds"]),
                *(score_cell(scores.get(task, {}).get(metric)) for task, metric in pairs),
            ]
            for r, scores in evaluated
        ]
        parts.append(table("Evaluations on dev", ["step", "epoch", "seconds", *names], lines, "evaluations"))
    return section("Training", *parts)


def score_cell(value: float | None) -> Cell | None:
    """A score as it is shown everywhere; None stays None."""
    return None if value is None or value != value else Cell(score(value), value)


def _draw_losses(records: Records, tasks: Iterable[str], axes) -> None:
    draw_losses(axes, records, tasks)
    legend_below(axes, columns=4)


def _draw_rates(run: Run, trained: Records, colors: Mapping[str, str], axes) -> None:
    """Lines that would lie over each other are one."""
    from matplotlib.ticker import FuncFormatter

    optim = run.config.optim
    peaks: dict[float, list[str]] = {optim.lr: ["encoder"]}
    owners: dict[float, set[str]] = {optim.lr: set()}
    for name, task in run.config.tasks.items() if optim.lr else ():
        given = [("head", optim.head_lr if task.lr is None else task.lr)]
        given += [] if task.encoder_lr is None else [("encoder in steps", task.encoder_lr)]
        for part, peak in given:
            peaks.setdefault(peak, []).append(f"{part} of {name}")
            owners.setdefault(peak, set()).add(name)
    heads = {f"head of {name}" for name in run.config.tasks}
    for peak, names in peaks.items():
        if len(heads) > 1 and heads <= {*names}:
            names = [name for name in names if name not in heads] + ["all heads"]
        color = INK if "encoder" in names else GREY
        if "encoder" not in names and len(owners[peak]) == 1:
            color = colors[next(iter(owners[peak]))]
        values = [record["rate"] / (optim.lr or 1.0) * peak for record in trained]
        axes.plot([record["step"] for record in trained], values, color=color, label=", ".join(names))
    axes.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: compact(value)))
    legend_below(axes, columns=1)


def _draw_scores(
    evaluated: Sequence[tuple[Any, Mapping[str, Any]]],
    main: Mapping[str, str],
    colors: Mapping[str, str],
    best: int | None,
    axes,
) -> None:
    styles = [(name, metric, {"color": colors[name], "label": name}) for name, metric in main.items()]
    for metric, line in (("overall_2024", "-"), ("mean_raw", "--")):
        styles.append((OVERALL, metric, {"color": INK, "linestyle": line, "linewidth": 2, "label": metric}))
    for task, metric, style in styles:
        points = [(record["step"], scores.get(task, {}).get(metric)) for record, scores in evaluated]
        _plot(axes, points, **style)
    if best is not None:
        axes.axvline(best, color=INK, linewidth=1.2, linestyle=":", label="best step")
    axes.set(xlabel="step", ylabel="score")
    legend_below(axes, columns=3)


def _plot(axes, points: Iterable[tuple[float, float | None]], **style) -> None:
    """Plots the points whose value is known, if there are any."""
    known = [point for point in points if point[1] is not None]
    if known:
        axes.plot(*zip(*known, strict=True), marker=".", **style)


def conflict_section(run: Run, records: Records) -> Section:
    """The cosines of each two tasks' gradients: over the steps, and layer by layer; empty without records."""
    title = "Gradient conflict"
    cosines = [(r["step"], r["cosines"]) for r in records if r["kind"] == "conflict"]
    pairs = list(dict.fromkeys(pair for _, found in cosines for pair in found.get("overall", {})))
    if not pairs:
        return section(title)
    colors = task_colors(run.config.tasks)
    layers = list(dict.fromkeys(layer for _, found in cosines for layer in found))
    points = {
        (layer, pair): [(s, f[layer][pair]) for s, f in cosines if f.get(layer, {}).get(pair) is not None]
        for pair in pairs
        for layer in layers
    }
    values = {key: [value for _, value in own] for key, own in points.items()}
    bound = max((abs(fmean(own)) for own in values.values() if own), default=0.0) or 1.0

    def draw(axes) -> None:
        for pair in pairs:
            first, second = pair.split(" ", 1)
            steps = [step for step, _ in points["overall", pair]]
            style = {"linestyle": (0, (5, 5)), "color": colors[first], "gapcolor": colors[second]}
            axes.plot(steps, smoothed(values["overall", pair]), linewidth=2, label=_both(pair), **style)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xlabel="step", ylabel="cosine, whole encoder")
        legend_below(axes, columns=2)

    def mean_cell(layer: str, pair: str) -> Cell | None:
        own = values[layer, pair]
        if not own:
            return None
        mean, negative = fmean(own), sum(value < 0 for value in own) / len(own)
        color = css_color(ALERT if mean < 0 else ACCENT)
        share = abs(mean) / bound
        return Cell(score(mean), mean, f"{100 * negative:.0f} %", tint=color, share=share)

    guide = (
        "Below zero two tasks pull the shared encoder apart; near zero they do not meet. Lines are smoothed "
        "and have the colors of their two tasks."
    )
    shown = figure("Cosine of two tasks' gradients over the training", guide, draw, 3.9)
    lines = [
        ["whole encoder" if layer == "overall" else layer, *(mean_cell(layer, pair) for pair in pairs)]
        for layer in layers
    ]
    caption = "Mean cosines, and beneath them the share of steps with a cosine below 0."
    columns = (text_column("part"), *map(_both, pairs))
    return section(
        title,
        side_by_side(shown, table(caption, columns, lines, "conflicts", title="In each part of the encoder")),
    )


def _both(pair: str) -> str:
    return pair.replace(" ", " and ")
