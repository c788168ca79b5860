"""The page of an ablation: best row, scores, differences with intervals, published numbers, costs, origin."""

import json
from collections.abc import Mapping
from functools import partial
from statistics import fmean, median
from typing import Any

from minbert.cli.page import (
    Cell,
    Section,
    Tile,
    bullets,
    difference,
    duration,
    headline,
    number,
    page,
    paragraph,
    score,
    section,
    side_by_side,
    table,
    text_column,
)
from multitask.experiments.ablation.formats import explanations, failures, score_text
from multitask.experiments.ablation.summary import OVERALL
from multitask.experiments.report.charts import MARKERS, figure, legend_below, short
from multitask.experiments.report.origin import origin
from multitask.inference.chart_style import GREY, INK, task_colors
from multitask.inference.plots import logarithmic

Values = Mapping[str, Any]
FAR = 4  # times the median row's distance from the baseline


def ablation_page(values: Values) -> str:
    """Renders the page from the content of table.json; the overall scores are its first columns."""
    values = {**values, "columns": sorted(values["columns"], key=lambda name: name not in OVERALL)}
    sections = [
        _score_section(values),
        _difference_section(values),
        _published_section(values["rows"]),
        _cost_section(values),
        _origin_section(values),
    ]
    return page(values["title"], values["about"], sections, _headline(values))


def _main_score(values: Values) -> str:
    """The score that rows are ranked by: overall_2024, else the first one; "" without any."""
    return next(iter(values["columns"]), "")


def _colors(values: Values) -> dict[str, str]:
    """The color of each score: that of its task, ink for the overall scores."""
    tasks = {name: name.partition(".")[0] for name in values["columns"] if name not in OVERALL}
    colors = task_colors(tasks.values())
    return dict.fromkeys(OVERALL, INK) | {name: colors[task] for name, task in tasks.items()}


def _headline(values: Values) -> str:
    """The best row and the baseline by the main score, and how many cells are done."""
    target, baseline = _main_score(values), values["baseline"]
    scored = {row["name"]: row for row in values["rows"] if target in row["scores"]}
    best = max(scored, key=lambda name: scored[name]["scores"][target]["mean"], default=None)
    tiles = []
    for role, name in (("best row", best), ("baseline", baseline)):
        if name in scored and (role == "best row" or best != baseline):
            tiles.append(Tile(f"{target}, {role}", score_text(scored[name]["scores"][target]), name))
    gap = scored[best]["differences"].get(target) if best else None
    if gap:
        sure = {True: "significant", False: "not significant"}.get(gap["significant"], "cannot be told")
        if gap["low"] is not None:
            sure = f"{difference(gap['low'])} to {difference(gap['high'])}, {sure}"
        tiles.append(Tile("difference", difference(gap["mean"]), sure))
    states = [cell["state"] for row in values["rows"] for cell in row["cells"]]
    facts = {"rows": len(values["rows"]), "seeds": ", ".join(map(str, values["seeds"]))}
    facts["cells done"] = f"{states.count('finished')} of {len(states)}"
    return headline(tiles, facts)


def _score_section(values: Values) -> Section:
    columns, baseline = values["columns"], values["baseline"]
    rows = []
    for row in values["rows"]:
        states = [cell["state"] for cell in row["cells"]]
        done = states.count("finished")
        name = Cell(row["name"], row["name"], "the baseline" if row["name"] == baseline else "")
        cells = (_score_cell(row["scores"].get(name), row["differences"].get(name)) for name in columns)
        rows.append([name, *cells, Cell(f"{done} of {len(states)}", done)])
    caption = (
        f"Mean ± standard deviation over the seeds. ▲ and ▼: significantly above and below {baseline}; grey: "
        "not significantly different. A cell is a row with one seed."
    )
    shown = table(caption, [text_column("row"), *columns, "cells"], rows, "scores")
    return section(
        "Scores", shown, bullets(failures(values)), bullets(explanations(values), "How they were computed")
    )


def _score_cell(found: Values | None, gap: Values | None) -> Cell | None:
    if found is None:
        return None
    if gap is None or not gap["significant"]:
        return Cell(score_text(found), found["mean"], kind="" if gap is None else "soft")
    side = "▲" if gap["mean"] > 0 else "▼"
    return Cell(f"{side} {score_text(found)}", found["mean"], kind="strong")


def _difference_section(values: Values) -> Section:
    """A forest plot for each score, and the reasons why some differences are not called significant."""
    shown, reasons, colors = [], [], _colors(values)
    for name in values["columns"]:
        found = {r["name"]: r["differences"][name] for r in values["rows"] if name in r["differences"]}
        reasons += [f"{row}, {name}: {entry['why']}" for row, entry in found.items() if entry["why"]]
        if found:
            title, draw = f"{name} minus {values['baseline']}", partial(_draw_forest, found, colors[name])
            shown.append(figure(title, "", draw, 0.8 + 0.4 * len(found)))
    guide = (
        f"Points are means, lines {100 * values['level']:g} % intervals; right of 0 is better than "
        f"{values['baseline']}. Grey: not significant; arrows: off the scale."
    )
    shown = [paragraph(guide, "soft"), side_by_side(*shown)] if shown else []
    reasons = bullets(reasons, f"What is not called significant, and why ({len(reasons)})")
    return section("Differences to the baseline", *shown, reasons)


def _draw_forest(found: Mapping[str, Values], color: str, axes) -> None:
    """Intervals around their means; a row far from all others is an arrow with its value."""
    gaps = [
        gap | ({} if gap["low"] is not None else dict.fromkeys(("low", "high"), gap["mean"]))
        for gap in found.values()
    ]
    farthest = FAR * median(max(-gap["low"], gap["high"]) for gap in gaps)
    near = [gap for gap in gaps if abs(gap["mean"]) <= farthest]
    for place, gap in enumerate(gaps):
        shade = color if gap["significant"] else GREY
        style = {"color": shade, "markersize": 7, "markerfacecolor": shade if gap["significant"] else "none"}
        if gap in near:
            axes.plot([gap["low"], gap["high"]], [place, place], color=shade, linewidth=2.5)
            axes.plot([gap["mean"]], [place], "o", **style)
            continue
        side = gap["mean"] > 0
        at = axes.get_yaxis_transform()
        axes.plot([0.98 if side else 0.02], [place], ">" if side else "<", transform=at, **style)
        where = {"x": 0.95 if side else 0.05, "y": place, "ha": "right" if side else "left", "va": "center"}
        axes.text(s=difference(gap["mean"]), color=shade, transform=at, **where)
    axes.axvline(0, color=INK, linewidth=0.8)
    bounds = [0.0, *(gap[side] for gap in near for side in ("low", "high"))]
    margin = 0.06 * (max(bounds) - min(bounds)) or 0.001
    axes.set_xlim(min(bounds) - margin, max(bounds) + margin)
    axes.set_yticks(range(len(found)), [short(row, 20) for row in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.locator_params(axis="x", nbins=4)


def _published_section(given: list[Values]) -> Section:
    """Published numbers beside ours, score by score."""
    rows, remarks = [], []
    for row in given:
        if (published := row["published"]) is None:
            continue
        numbers = published["scores"] | {name: published[name] for name in OVERALL if name in published}
        entries = [(name, value, name, "") for name, value in numbers.items()]
        if published["overall"] is not None:
            formula = published["formula"]
            kind = "by neither formula" if formula == "neither" else f"as {formula}"
            entries.append(("overall, as printed", published["overall"], formula, kind))
        for name, value, column, kind in entries:
            ours = row["scores"].get(column, {}).get("mean")
            gap = None if ours is None else Cell(difference(ours - value), ours - value)
            shown = (None if each is None else Cell(score(each), each) for each in (value, ours))
            rows.append([row["name"], name, *shown, gap, kind])
        if published["note"]:
            remarks.append(f"{row['name']}: {published['note']}")
    if not rows:
        return section("Published numbers")
    row, name = text_column("row", choose=True), text_column("score", choose=True)
    columns = (row, name, "published", "ours", "ours − published", text_column("formula"))
    about = (
        "Published overall scores follow one of two formulas, or neither; a comparison holds only between "
        "numbers of one formula, and only where data, weights and training are alike."
    )
    caption = "Published numbers beside ours (means over the seeds)"
    shown = table(caption, columns, rows, "published", kind="stacked")
    return section("Published numbers", paragraph(about), shown, bullets(remarks))


def _cost_section(values: Values) -> Section:
    """A table, and the main score against time and against trained parameters."""
    rows, times, sizes = [], {}, {}
    for row in values["rows"]:
        name, costs = row["name"], row["costs"]
        if not costs:
            continue
        times[name] = fmean(cell["seconds"] for cell in row["cells"] if cell["state"] == "finished")
        sizes[name] = costs["trained_parameters"]
        share = sizes[name] / costs["parameters"]
        rows.append(
            [
                name,
                sizes[name],
                Cell(number(100 * share), share),
                Cell(duration(costs["seconds_per_epoch"]), costs["seconds_per_epoch"]),
                float(costs["epochs"]),
                Cell(duration(times[name]), times[name]),
                costs["peak_memory"] / 2**20,
                costs["tokens_per_second"],
            ]
        )
    if not rows:
        return section("Costs")
    columns = ["trained parameters", "% of all", "time an epoch", "epochs", "time a cell"]
    columns = [text_column("row"), *columns, "peak memory, MiB", "tokens a second"]
    caption = "Costs, means of the finished cells; times are those of the machine named below"
    guide = "Up and to the left is better: more score for less time."
    shown = [_cost_figure(values, "training time", guide, "seconds a cell, mean of the seeds (log)", times)]
    guide = "Points on one level, far apart: fewer trained parameters would do."
    shown.append(_cost_figure(values, "trained parameters", guide, "trained parameters (log)", sizes))
    return section("Costs", table(caption, columns, rows, "costs"), side_by_side(*shown))


def _cost_figure(values: Values, name: str, guide: str, label: str, costs: Mapping[str, float]) -> str:
    """Main scores against costs, of rows where both are known; empty without any."""
    target = _main_score(values)
    points = [
        (row["name"], costs[row["name"]], row["scores"][target])
        for row in values["rows"]
        if target in row["scores"] and costs.get(row["name"])
    ]
    if not points:
        return ""

    def draw(axes) -> None:
        for place, (row, cost, found) in enumerate(points):
            style = {"color": INK, "marker": MARKERS[place % len(MARKERS)], "markersize": 7}
            style |= {"linestyle": "", "label": short(row, 30), "alpha": 0.85}
            axes.errorbar(cost, found["mean"], found["sd"], **style)
        logarithmic(axes, "x", [cost for _, cost, _ in points])
        axes.margins(x=0.1)
        axes.set(xlabel=label, ylabel=target)
        legend_below(axes)

    return figure(f"{target} against {name}", guide, draw, 3.0 + 0.2 * ((len(points) + 1) // 2))


def _origin_section(values: Values) -> Section:
    rows = [
        (row["name"], row["about"], ", ".join(f"{key} = {json.dumps(v)}" for key, v in row["set"].items()))
        for row in values["rows"]
    ]
    changes = text_column("changes", wide=True)
    columns = (text_column("row"), text_column("about", wide=True), changes)
    shown = table("What each row changes of the base configuration", columns, rows, "rows", kind="stacked")
    return section("How it was made", shown, origin(values))
