"""The page of a search: best trial, the search in time, effects of parameters, all trials, the space."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from math import log
from typing import Any

from minbert import is_number
from minbert.cli.page import (
    Cell,
    Column,
    Section,
    Tile,
    bullets,
    duration,
    headline,
    page,
    paragraph,
    score,
    section,
    side_by_side,
    table,
    text_column,
)
from multitask.experiments.report.charts import figure, legend_below, short
from multitask.experiments.report.curves import score_cell
from multitask.experiments.report.origin import origin
from multitask.inference.chart_style import ACCENT, GREY, INK, PAPER
from multitask.inference.plots import compact, logarithmic

Values = Mapping[str, Any]
AXIS = 1.35  # inches between two axes of the parallel coordinates
NARROW = 4  # parameters that fit into a plot of usual width


def search_page(values: Values) -> str:
    """Renders the page from the content of search.json."""
    complete = [trial for trial in values["trials"] if trial["state"] == "complete"]
    sections = [
        _course_section(values, complete),
        _parameter_section(values, complete),
        _trial_section(values),
        section("How it was made", _space(values["parameters"]), origin(values)),
    ]
    return page(values["title"], values["about"], sections, _headline(values))


def _headline(values: Values) -> str:
    """The best trial's value and parameters, and how many trials there are of each state."""
    best, metric = values["best"], values["metric"]
    states = Counter(trial["state"] for trial in values["trials"])
    facts = {"trials": len(values["trials"])} | states | {"sampler": values["sampler"]}
    if best is None:
        return headline([], facts) + paragraph("No trial is complete yet.", "note")
    tiles = [Tile(metric, score(best["value"]), f"trial {best['number']}, the best")]
    tiles += [Tile(name, _parameter(value)) for name, value in best["parameters"].items()]
    flattered = (
        f"{metric}: higher is better. The best of many trials on one dev split is flattered by the choice; "
        "score it on other examples, or over several seeds."
    )
    return headline(tiles, facts) + paragraph(flattered, "soft") + bullets(values["notes"])


def _course_section(values: Values, complete: Sequence[Values]) -> Section:
    shown = []
    if complete:
        guide = "The line is the best value so far; where it is flat for long, more trials bring little."
        shown.append(figure("Score of each trial", guide, partial(_draw_history, values, complete)))
    if any(len(trial["steps"]) > 1 for trial in values["trials"]):
        guide = "Grey trials were pruned or failed; one that was about to rise was pruned too early."
        shown.append(figure("Scores during the trials", guide, partial(_draw_steps, values)))
    if values["importance"]:
        found = sorted((share, name) for name, share in values["importance"].items())
        guide = "Long bars decided the score in this space; short ones may be left at their defaults."
        draw = partial(_draw_importance, found)
        shown.append(figure("Importance of each parameter", guide, draw, max(1.6, 0.8 + 0.42 * len(found))))
    return section("The search", side_by_side(*shown))


def _draw_history(values: Values, complete: Sequence[Values], axes) -> None:
    numbers, found = [trial["number"] for trial in complete], [trial["value"] for trial in complete]
    best = list(accumulate(found, max))
    axes.plot(numbers, found, "o", markersize=4, color=ACCENT, label="complete")
    axes.step(numbers, best, where="post", color=INK, label="best so far")
    pruned = [
        (t["number"], t["steps"][-1][1]) for t in values["trials"] if t["state"] == "pruned" and t["steps"]
    ]
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "x", markersize=4, color=GREY, label="pruned, last value")
    axes.set(xlabel="trial", ylabel=values["metric"])
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_below(axes, columns=3)


def _draw_steps(values: Values, axes) -> None:
    for trial in values["trials"]:
        points = [(step, value) for step, value in trial["steps"] if value is not None]
        if points:
            complete = trial["state"] == "complete"
            style = {"color": ACCENT, "alpha": 0.7} if complete else {"color": GREY, "alpha": 0.8}
            axes.plot(*zip(*points, strict=True), marker=".", linewidth=1, **style)
    axes.set(xlabel="step", ylabel=values["metric"])


def _parameter_section(values: Values, complete: Sequence[Values]) -> Section:
    """Parallel coordinates, importance, and a slice for each parameter."""
    names, shown, slices = list(values["parameters"]) if complete else [], [], []
    if names:
        guide = (
            "Each line is a complete trial, from its parameters to its score, with the best third in color. "
            "Where they run through one place of an axis, that value matters."
        )
        width = AXIS * (len(names) + 1) + 0.6 if len(names) > NARROW else None
        draw = partial(_draw_parallel, values, complete)
        shown.append(figure("Parallel coordinates", guide, draw, 4.2, width))
        shown.append(paragraph("Below, a slope or a hump is an effect. The ring is the best trial.", "soft"))
    for name in names:
        draw = partial(_draw_slice, values, complete, name)
        slices.append(figure(f"{name}: value against score", "", draw, 3.1))
    return section("Parameters", *shown, side_by_side(*slices))


def _draw_importance(found: Sequence[tuple[float, str]], axes) -> None:
    axes.barh([short(name, 20) for _, name in found], [share for share, _ in found], color=ACCENT)
    axes.set(xlabel="share of the score's variance", xlim=(0, 1))
    axes.grid(False, axis="y")


def _place(parameter: Values, values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Each value's height from 0 to 1 on an axis of the parallel coordinates, and the axis's ticks."""
    if parameter["kind"] == "choice":
        names = [_text(choice) for choice in parameter["choices"]]
        heights = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
        ticks = [(at, short(name, 12)) for name, at in heights.items()]
        return [heights[_text(value)] for value in values], ticks
    known = [*values, *(parameter[end] for end in ("low", "high") if parameter[end] is not None)]
    low, high = min(known), max(known)
    if low == high:
        return [0.5] * len(values), [(0.5, compact(low))]
    if parameter["log"]:
        heights = [log(value / low) / log(high / low) for value in values]
        return heights, [(at, compact(low * (high / low) ** at)) for at in (0, 0.5, 1)]
    heights = [(value - low) / (high - low) for value in values]
    return heights, [(at, compact(low + at * (high - low))) for at in (0, 0.5, 1)]


def _draw_parallel(values: Values, complete: Sequence[Values], axes) -> None:
    names = list(values["parameters"])
    placed = [
        _place(values["parameters"][name], [trial["parameters"][name] for trial in complete])
        for name in names
    ]
    score = {"kind": "float", "low": None, "high": None, "log": False}
    placed.append(_place(score, [trial["value"] for trial in complete]))
    ranked = sorted(range(len(complete)), key=lambda i: -complete[i]["value"])
    good = set(ranked[: max(1, len(ranked) // 3)])
    for i in reversed(ranked):  # the best on top
        style = {"color": ACCENT, "alpha": 0.9} if i in good else {"color": GREY, "alpha": 0.4}
        axes.plot(range(len(placed)), [heights[i] for heights, _ in placed], linewidth=1.3, **style)
    for place, (_, ticks) in enumerate(placed):
        axes.axvline(place, color=INK, linewidth=0.8)
        for at, text in ticks:
            box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
            axes.text(place + 0.03, at, text, va="center", fontsize=8.5, bbox=box)
    axes.set_xticks(range(len(placed)), [name.replace(".", ".\n") for name in [*names, values["metric"]]])
    axes.set(ylabel="low to high", yticks=[], ylim=(-0.05, 1.05))
    axes.set_xlim(-0.15, len(placed) - 0.6)
    axes.grid(False)
    axes.spines["left"].set_visible(False)


def _draw_slice(values: Values, complete: Sequence[Values], name: str, axes) -> None:
    parameter = values["parameters"][name]
    found = [trial["parameters"][name] for trial in complete]
    scores = [trial["value"] for trial in complete]
    if parameter["kind"] == "choice":
        names = [_text(choice) for choice in parameter["choices"]]
        found = [names.index(_text(value)) for value in found]
        axes.set_xticks(range(len(names)), [short(entry, 14) for entry in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif parameter["log"]:
        logarithmic(axes, "x", found)
    axes.scatter(found, scores, s=18, color=ACCENT, alpha=0.7, linewidths=0)
    best = [trial["number"] for trial in complete].index(values["best"]["number"])
    axes.plot(
        found[best], scores[best], "o", markersize=9.5, color=INK, markerfacecolor="none", markeredgewidth=1.5
    )
    axes.set(xlabel=f"{name} (log)" if parameter["log"] else name, ylabel=values["metric"])


def _trial_section(values: Values) -> Section:
    parameters, metric, trials = values["parameters"], values["metric"], values["trials"]
    scores = dict.fromkeys(name for trial in trials for name in trial["scores"] if name != metric)
    best, failed = (values["best"] or {}).get("number"), any(trial["error"] for trial in trials)
    rows = []
    for trial in trials:
        value, is_best = trial["value"], trial["number"] == best
        rows.append(
            [
                Cell(str(trial["number"]), trial["number"], "best" if is_best else ""),
                trial["state"],
                Cell("–" if value is None else score(value), value, kind="strong" if is_best else ""),
                *(_parameter(trial["parameters"][name]) for name in parameters),
                *(score_cell(trial["scores"].get(name)) for name in scores),
                trial["seconds"] and Cell(duration(trial["seconds"]), trial["seconds"]),
                *([trial["error"]] if failed else []),
            ]
        )
    choices = {name: parameter["kind"] == "choice" for name, parameter in parameters.items()}
    columns = (
        *("trial", text_column("state", choose=True), metric),
        *(Column(name, number=not choice, choose=choice) for name, choice in choices.items()),
        *(*scores, "time", *([text_column("error", wide=True)] if failed else [])),
    )
    return section("Trials", table("All trials", columns, rows, "trials", search=True))


def _parameter(value: Any) -> Any:
    """A parameter's value for a cell: a number or a text."""
    return value if value is None or is_number(value) else _text(value)


def _text(value: Any) -> str:
    """A choice as text: lists and tables as a configuration file has them."""
    return value if isinstance(value, str) else json.dumps(value)


def _space(parameters: Mapping[str, Values]) -> str:
    rows = []
    for name, given in parameters.items():
        ends = ("" if given[end] is None else given[end] for end in ("low", "high"))
        choices = ", ".join(map(_text, given["choices"] or ()))
        rows.append((name, given["kind"], choices, *ends, "log" if given["log"] else ""))
    names = [text_column("parameter"), text_column("kind"), text_column("choices", wide=True)]
    columns = (*names, "lowest", "highest", text_column("scale"))
    return table("The space that was searched", columns, rows, "space", kind="stacked")
