"""The page of an ablation: scores, differences with intervals, published numbers, costs, origin."""

from collections.abc import Mapping
from functools import partial
from statistics import fmean
from typing import Any

from multitask.experiments.ablation.formats import notes
from multitask.experiments.ablation.summary import OVERALL
from multitask.experiments.report import html
from multitask.experiments.report.charts import GREY, MARKERS, PALETTE, legend_below, short
from multitask.experiments.report.html import Cell, Section, paragraph, rounded, section, table, text_column
from multitask.inference.plots import logarithmic

Values = Mapping[str, Any]


def ablation_page(values: Values) -> str:
    """Renders the page from the content of table.json."""
    sections = [
        _score_section(values),
        _difference_section(values),
        _published_section(values["rows"]),
        _cost_section(values),
        _origin_section(values),
    ]
    return html.page(values["title"], values["about"], sections)


def _score_section(values: Values) -> Section:
    columns, baseline = values["columns"], values["baseline"]
    rows = []
    for row in values["rows"]:
        states = [cell["state"] for cell in row["cells"]]
        done = states.count("finished")
        name = Cell(row["name"], row["name"], "the baseline" if row["name"] == baseline else "")
        cells = (_score_cell(row["scores"].get(name), row["differences"].get(name)) for name in columns)
        rows.append([name, *cells, Cell(f"{done} of {len(states)}", done)])
    caption = f"Scores; below them the difference to {baseline} with its interval. Tinted: significant"
    shown = table(caption, [text_column("row"), *columns, "cells"], rows, "scores")
    return section("Scores", shown, html.bullets(notes(values)))


def _score_cell(score: Values | None, difference: Values | None) -> Cell | None:
    if score is None:
        return None
    spread = "" if score["sd"] is None else f" ± {score['sd']:.4f}"
    below, significant = "", None
    if difference is not None:
        significant = difference["significant"]
        below = f"{difference['mean']:+.4f}"
        if difference["low"] is not None:
            below += f" [{difference['low']:+.4f}, {difference['high']:+.4f}]"
        if significant is not None:
            below += "\nsignificant" if significant else "\nnot significant"
    return Cell(f"{score['mean']:.4f}{spread}", score["mean"], below, significant is True)


def _difference_section(values: Values) -> Section:
    """A forest plot for each score, and the reasons why differences are not called significant."""
    guide = (
        f"An interval ({100 * values['level']:g} %) that crosses the line at 0 is no finding; hollow points "
        "are not significant."
    )
    shown, reasons = [], set()
    for name in values["columns"]:
        found = {r["name"]: r["differences"][name] for r in values["rows"] if name in r["differences"]}
        reasons |= {f"{row}, {name}: {entry['why']}" for row, entry in found.items() if entry["why"]}
        if found:
            title, draw = f"{name}: difference to {values['baseline']}", partial(_draw_forest, found, name)
            shown.append(html.figure(title, guide, draw, 1.1 + 0.34 * len(found)))
    reasons = html.bullets(sorted(reasons), f"What is not called significant, and why ({len(reasons)})")
    return section("Differences to the baseline", html.figures(*shown), reasons)


def _draw_forest(found: Mapping[str, Values], name: str, axes) -> None:
    for place, difference in enumerate(found.values()):
        color = PALETTE[0] if difference["significant"] else GREY
        if difference["low"] is not None:
            axes.plot([difference["low"], difference["high"]], [place, place], color=color, linewidth=2)
        fill = color if difference["significant"] else "white"
        axes.plot([difference["mean"]], [place], "o", color=color, markerfacecolor=fill, markersize=6)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), [short(row, 24) for row in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set(xlabel=f"difference in {name}", ylabel="row")
    axes.locator_params(axis="x", nbins=5)


def _published_section(given: list[Values]) -> Section:
    """Published numbers beside ours, score by score."""
    rows, remarks = [], []
    for row in given:
        if (published := row["published"]) is None:
            continue
        numbers = published["scores"] | {name: published[name] for name in OVERALL if name in published}
        entries = [(name, number, name, "") for name, number in numbers.items()]
        if published["overall"] is not None:
            formula = published["formula"]
            kind = "by neither formula" if formula == "neither" else f"as {formula}"
            entries.append(("overall, as printed", published["overall"], formula, kind))
        for name, number, column, kind in entries:
            ours = row["scores"].get(column, {}).get("mean")
            gap = None if ours is None else Cell(f"{ours - number:+.4f}", ours - number)
            rows.append([row["name"], name, number, ours, gap, kind])
        if published["note"]:
            remarks.append(f"{row['name']}: {published['note']}")
    if not rows:
        return section("Published numbers")
    row, score = text_column("row", choose=True), text_column("score", choose=True)
    columns = (row, score, "published", "ours", "ours - published", text_column("formula"))
    about = (
        "Published overall scores follow one of two formulas, or neither; a comparison holds only between "
        "numbers of one formula, and only where data, weights and training are alike."
    )
    shown = table("Published numbers beside ours (means over the seeds)", columns, rows, "published")
    return section("Published numbers", paragraph(about), shown, html.bullets(remarks))


def _cost_section(values: Values) -> Section:
    """A table, and the overall score against time and against trained parameters."""
    rows, times, sizes = [], {}, {}
    for row in values["rows"]:
        name, costs = row["name"], row["costs"]
        if not costs:
            rows.append([name, *[None] * 7])
            continue
        times[name] = fmean(cell["seconds"] for cell in row["cells"] if cell["state"] == "finished")
        sizes[name] = costs["trained_parameters"]
        share = sizes[name] / costs["parameters"]
        rows.append(
            [
                name,
                sizes[name],
                Cell(f"{100 * share:.2f}", share),
                rounded(costs["seconds_per_epoch"], 1),
                rounded(costs["epochs"], 2),
                rounded(times[name], 1),
                rounded(costs["peak_memory"] / 2**20, 0),
                rounded(costs["tokens_per_second"], 0),
            ]
        )
    columns = ["trained parameters", "% of all", "seconds an epoch", "epochs", "seconds a cell"]
    columns = [text_column("row"), *columns, "peak memory, MiB", "tokens a second"]
    caption = "Costs, means of the finished cells; times are those of the machine named below"
    guide = "Up and to the left is better: more score for less time."
    shown = [_cost_figure(values, "training time", guide, "seconds a cell, mean of the seeds (log)", times)]
    guide = "Points on one level at very different widths: fewer trained parameters would do."
    shown.append(_cost_figure(values, "trained parameters", guide, "trained parameters (log)", sizes))
    return section("Costs", table(caption, columns, rows, "costs"), html.figures(*filter(None, shown)))


def _cost_figure(values: Values, name: str, guide: str, label: str, costs: Mapping[str, float]) -> str:
    """Scores against costs, of rows where both are known; empty without any."""
    target = "overall_2024" if "overall_2024" in values["columns"] else next(iter(values["columns"]), "")
    points = [
        (place, row["name"], costs[row["name"]], row["scores"][target])
        for place, row in enumerate(values["rows"])
        if target in row["scores"] and costs.get(row["name"])
    ]
    if not points:
        return ""

    def draw(axes) -> None:
        for place, row, cost, score in points:
            style = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)]}
            style |= {"linestyle": "", "label": short(row, 30), "alpha": 0.85}
            axes.errorbar(cost, score["mean"], score["sd"], **style)
        logarithmic(axes, "x", [cost for _, _, cost, _ in points])
        axes.margins(x=0.1)
        axes.set(xlabel=label, ylabel=target)
        legend_below(axes)

    return html.figure(f"{target} against {name}", guide, draw, 3.0 + 0.2 * ((len(points) + 1) // 2))


def _origin_section(values: Values) -> Section:
    rows = [
        (row["name"], row["about"], ", ".join(f"{key} = {value!r}" for key, value in row["set"].items()))
        for row in values["rows"]
    ]
    changes = text_column("changes to the base configuration", wide=True)
    columns = (text_column("row"), text_column("about", wide=True), changes)
    shown = table("What each row changes", columns, rows, "rows")
    return section("How it was made", shown, html.origin(values))
