"""The page of an ablation: scores, differences with intervals, published numbers, costs, failures, origin."""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import fmean
from typing import Any

from multitask.experiments.report import html
from multitask.experiments.report.charts import GREY, MARKERS, PALETTE, legend_below, short
from multitask.experiments.report.html import Cell, Section, paragraph, rounded, section, table, text_column
from multitask.inference.plots import logarithmic

Values = Mapping[str, Any]
DEFAULTS = dict(
    title="Ablation", about="", seeds=(), split="dev", limit=None, resamples=None, level=0.95, notes=()
)
ROW_DEFAULTS = {"about": "", "scores": {}, "differences": {}, "costs": {}, "cells": (), "published": {}}


def ablation_page(values: Values) -> str:
    """Renders the page from the content of table.json, whose keys may be missing or null but for a few."""
    rows = [html.filled(row, ROW_DEFAULTS) for row in values["rows"]]
    values = html.filled(values, DEFAULTS) | {"rows": rows}
    sections = [
        _score_section(values),
        _difference_section(values),
        _published_section(rows),
        _cost_section(values),
        _failure_section(rows),
        _origin_section(values),
    ]
    return html.page(values["title"], values["about"], sections)


def _score_section(values: Values) -> Section:
    columns, baseline, split = values["columns"], values["baseline"], values["split"]
    rows = []
    for row in values["rows"]:
        states = [entry.get("state") for entry in row["cells"]]
        done = states.count("finished")
        name = Cell(row["name"], row["name"], "the baseline" if row["name"] == baseline else "")
        cells = (_score_cell(row["scores"].get(name), row["differences"].get(name)) for name in columns)
        rows.append([name, *cells, Cell(f"{done} of {len(states)}", done)])
    caption = (
        f"Mean ± standard deviation over the seeds {', '.join(map(str, values['seeds']))} on {split}; below "
        f"it the difference to {baseline} with its {100 * values['level']:g} % interval. Tinted: significant"
    )
    resamples = f" with {values['resamples']:,} resamples" if values["resamples"] else ""
    about = (
        f"An interval is a paired bootstrap over the {split} examples{resamples}; a difference is called "
        "significant where its interval leaves out 0 and all seeds, two at least, agree on its sign. What "
        "other seeds would change is not in the interval: the standard deviation says that. With many rows "
        "some intervals leave out 0 by chance."
    )
    shown = table(caption, [text_column("row"), *columns, "cells"], rows, "scores")
    parts = [shown, paragraph(about, "soft")]
    if values["limit"] is not None:
        text = (
            f"Reduced size: only the first {values['limit']:,} examples of each split were used. Compare "
            f"rows with one another, not with other tables."
        )
        parts.append(paragraph(text, "note"))
    return section("Scores", *parts, html.bullets(values["notes"]))


def _score_cell(score: Values | None, difference: Values | None) -> Cell | None:
    if not score or score.get("mean") is None:
        return None
    spread = "" if score.get("sd") is None else f" ± {score['sd']:.4f}"
    below, significant = "", None
    if difference and difference.get("mean") is not None:
        significant = difference.get("significant")
        below = f"{difference['mean']:+.4f}"
        if _has_interval(difference):
            below += f" [{difference['low']:+.4f}, {difference['high']:+.4f}]"
        if significant is not None:
            below += "\nsignificant" if significant else "\nnot significant"
    return Cell(f"{score['mean']:.4f}{spread}", score["mean"], below, significant is True)


def _has_interval(difference: Values) -> bool:
    return difference.get("low") is not None and difference.get("high") is not None


def _difference_section(values: Values) -> Section:
    """A forest plot for each score, and the reasons why differences are not called significant."""
    guide = (
        f"An interval ({100 * values['level']:g} %) that crosses the line at 0 is no finding; hollow points "
        "are not significant."
    )
    shown, reasons = [], set()
    for name in values["columns"]:
        found = {row["name"]: row["differences"].get(name) or {} for row in values["rows"]}
        reasons |= {f"{row}, {name}: {entry['why']}" for row, entry in found.items() if entry.get("why")}
        found = {row: entry for row, entry in found.items() if entry.get("mean") is not None}
        if found:
            title, draw = f"{name}: difference to {values['baseline']}", partial(_draw_forest, found, name)
            shown.append(html.figure(title, guide, draw, 1.1 + 0.34 * len(found)))
    reasons = html.bullets(sorted(reasons), f"What is not called significant, and why ({len(reasons)})")
    return section("Differences to the baseline", html.figures(*shown), reasons)


def _draw_forest(found: Mapping[str, Values], name: str, axes) -> None:
    for place, difference in enumerate(found.values()):
        significant = difference.get("significant") is True
        color = PALETTE[0] if significant else GREY
        if _has_interval(difference):
            axes.plot([difference["low"], difference["high"]], [place, place], color=color, linewidth=2)
        fill = color if significant else "white"
        axes.plot([difference["mean"]], [place], "o", color=color, markerfacecolor=fill, markersize=6)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), [short(row, 24) for row in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set(xlabel=f"difference in {name}", ylabel="row")
    axes.locator_params(axis="x", nbins=5)


def _published_section(given: list[Values]) -> Section:
    """Published numbers beside ours, score by score."""
    rows, notes = [], []
    for row in given:
        published, own = row["published"], row["scores"]
        overall = {name: published.get(name) for name in ("overall_2024", "mean_raw")}
        formula, printed = published.get("formula"), published.get("overall")
        entries = [(name, value, name, "") for name, value in (published.get("scores") or {}).items()]
        entries += [(name, value, name, "") for name, value in overall.items() if value is not None]
        if printed is not None:
            kind = f"as {formula}" if formula in overall else "by neither formula"
            entries.append(("overall, as printed", printed, formula if formula in overall else None, kind))
        for name, number, column, kind in entries:
            ours = (own.get(column) or {}).get("mean")
            gap = None if ours is None or number is None else Cell(f"{ours - number:+.4f}", ours - number)
            rows.append([row["name"], name, number, ours, gap, kind])
        if published.get("note"):
            notes.append(f"{row['name']}: {published['note']}")
    if not rows:
        return section("Published numbers")
    row, score = text_column("row", choose=True), text_column("score", choose=True)
    columns = (row, score, "published", "ours", "ours - published", text_column("formula"))
    about = (
        "Published overall scores follow one of two formulas, or neither; a comparison holds only between "
        "numbers of one formula, and only where data, weights and training are alike."
    )
    shown = table("Published numbers beside ours (means over the seeds)", columns, rows, "published")
    return section("Published numbers", paragraph(about), shown, html.bullets(notes))


def _cost_section(values: Values) -> Section:
    """A table, and the overall score against time and against trained parameters."""
    rows = []
    for row in values["rows"]:
        costs = row["costs"].get
        trained, all = costs("trained_parameters"), costs("parameters")
        share = None if trained is None or not all else trained / all
        rows.append(
            [
                row["name"],
                trained,
                None if share is None else Cell(f"{100 * share:.2f}", share),
                rounded(costs("seconds_per_epoch"), 1),
                rounded(costs("epochs"), 2),
                rounded(_seconds(row), 1),
                html.mebibytes(costs("peak_memory")),
                rounded(costs("tokens_per_second"), 0),
            ]
        )
    columns = ["trained parameters", "% of all", "seconds an epoch", "epochs", "seconds a cell"]
    columns = [text_column("row"), *columns, "peak memory, MiB", "tokens a second"]
    caption = "Costs, means of the finished cells; times are those of the machine named below"
    time = ("training time", "Up and to the left is better: more score for less time.")
    parameters = (
        "trained parameters",
        "Points on one level at very different widths: fewer trained parameters would do.",
    )
    shown = [
        _cost_figure(values, *time, "seconds a cell, mean of the seeds (log)", _seconds),
        _cost_figure(
            values,
            *parameters,
            "trained parameters (log)",
            lambda row: row["costs"].get("trained_parameters"),
        ),
    ]
    return section("Costs", table(caption, columns, rows, "costs"), html.figures(*filter(None, shown)))


def _seconds(row: Values) -> float | None:
    """The mean over the finished cells."""
    done = [cell.get("seconds") for cell in row["cells"] if cell.get("state") == "finished"]
    done = [seconds for seconds in done if seconds is not None]
    return fmean(done) if done else None


def _cost_figure(values: Values, name: str, guide: str, label: str, cost_of: Callable) -> str:
    """Scores against costs, of rows where both are known and above 0; empty without any."""
    columns = values["columns"]
    target = "overall_2024" if "overall_2024" in columns else next(iter(columns), "score")
    points = []
    for place, row in enumerate(values["rows"]):
        score, cost = row["scores"].get(target) or {}, cost_of(row)
        if score.get("mean") is not None and cost:
            points.append((place, row["name"], cost, score["mean"], score.get("sd")))
    if not points:
        return ""

    def draw(axes) -> None:
        for place, row, cost, mean, deviation in points:
            style = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)]}
            axes.errorbar(cost, mean, deviation, linestyle="", label=short(row, 30), alpha=0.85, **style)
        logarithmic(axes, "x", [point[2] for point in points])
        axes.margins(x=0.1)
        axes.set(xlabel=label, ylabel=target)
        legend_below(axes)

    return html.figure(f"{target} against {name}", guide, draw, 3.0 + 0.2 * ((len(points) + 1) // 2))


def _failure_section(rows: list[Values]) -> Section:
    title = "Cells that are not finished"
    failed = [
        (
            row["name"],
            cell.get("seed"),
            cell.get("state"),
            cell.get("error") or "",
            (cell.get("key") or "")[:12],
        )
        for row in rows
        for cell in row["cells"]
        if cell.get("state") != "finished"
    ]
    if not failed:
        return section(title)
    state, error = text_column("state", choose=True), text_column("error", wide=True)
    columns = (text_column("row"), "seed", state, error, text_column("cell"))
    about = "These cells are in no mean; `multitask ablate` on the same folder tries them again."
    return section(title, paragraph(about, "note"), table("Cells", columns, failed, "failures"))


def _origin_section(values: Values) -> Section:
    rows = [
        (row["name"], row["about"], ", ".join(f"{key} = {value!r}" for key, value in row["set"].items()))
        for row in values["rows"]
        if row.get("set") is not None
    ]
    changes = text_column("changes to the base configuration", wide=True)
    columns = (text_column("row"), text_column("about", wide=True), changes)
    shown = table("What each row changes", columns, rows, "rows")
    return section("How it was made", shown, html.origin(values))
