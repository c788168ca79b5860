"""What the rows of an ablation cost, and the scores that they got for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from multitask.experiments.report.charts import MARKERS, PALETTE, chart, legend_below, short
from multitask.experiments.report.page import Cell, Column, Section, figure, figures, rounded, table
from multitask.plots import logarithmic

Values = Mapping[str, Any]
MEBIBYTE = 2**20


def cost_section(values: Values) -> Section:
    """A table, and the overall score against time and against trained parameters."""
    rows = []
    for row in values["rows"]:
        costs = row.get("costs") or {}
        trained, all, memory = (costs.get(key) for key in ("trained_parameters", "parameters", "peak_memory"))
        rows.append(
            [
                row["name"],
                trained,
                None if trained is None or not all else Cell(f"{100 * trained / all:.2f}", trained / all),
                rounded(costs.get("seconds_per_epoch"), 1),
                rounded(costs.get("epochs"), 2),
                rounded(_seconds(row), 1),
                rounded(None if memory is None else memory / MEBIBYTE, 0),
                rounded(costs.get("tokens_per_second"), 0),
            ]
        )
    columns = (
        Column("row", number=False),
        "trained parameters",
        "% of all",
        "seconds an epoch",
        "epochs",
        "seconds a cell",
        "peak memory, MiB",
        "tokens a second",
    )
    shown = []
    target = _target(values)
    for title, guide, label, value in (
        (
            f"{target} against training time",
            "Up and to the left is better: more score for less time.",
            "seconds a cell, mean of the seeds (log)",
            _seconds,
        ),
        (
            f"{target} against trained parameters",
            "Points on one level at very different widths: fewer trained parameters would do.",
            "trained parameters (log)",
            lambda row: (row.get("costs") or {}).get("trained_parameters"),
        ),
    ):
        points = _points(values, target, value)
        if points:
            height = 3.0 + 0.2 * ((len(points) + 1) // 2)
            drawn = chart(
                lambda axes, points=points, label=label: _draw_costs(axes, points, label, target), height
            )
            shown.append(figure(title, guide, drawn))
    caption = "Costs, means of the finished cells; times are those of the machine named below"
    return Section("Costs", table(caption, columns, rows, "costs") + figures(*shown))


def _target(values: Values) -> str:
    """The score that costs are set against: the course's overall one where the table has it."""
    return "overall_2024" if "overall_2024" in values["columns"] else next(iter(values["columns"]), "score")


def _seconds(row: Values) -> float | None:
    found = [
        cell["seconds"]
        for cell in row.get("cells") or ()
        if cell.get("state") == "finished" and cell.get("seconds") is not None
    ]
    return sum(found) / len(found) if found else None


def _points(values: Values, target: str, value) -> list[tuple[int, str, float, float, float | None]]:
    """(place of the row, its name, cost, score, deviation), where both numbers are known and above 0."""
    found = []
    for place, row in enumerate(values["rows"]):
        score, cost = (row.get("scores") or {}).get(target) or {}, value(row)
        if score.get("mean") is not None and cost:
            found.append((place, row["name"], cost, score["mean"], score.get("sd")))
    return found


def _draw_costs(axes, points: Sequence[tuple], label: str, target: str) -> None:
    for place, name, cost, mean, deviation in points:
        color, marker = PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]
        axes.errorbar(
            cost, mean, deviation, color=color, marker=marker, linestyle="", label=short(name, 30), alpha=0.85
        )
    logarithmic(axes, "x", [point[2] for point in points])
    axes.margins(x=0.1)
    axes.set(xlabel=label, ylabel=target)
    legend_below(axes)
