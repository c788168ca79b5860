"""The page of a search: the best trial, all trials, and which parameters mattered."""

from collections.abc import Mapping, Sequence
from typing import Any

from multitask.experiments.report.charts import (
    GREY,
    PALETTE,
    chart,
    legend_below,
    short,
)
from multitask.experiments.report.page import (
    Cell,
    Column,
    Section,
    bullets,
    facts,
    figure,
    figures,
    number,
    origin,
    page,
    paragraph,
    table,
)
from multitask.plots import compact, logarithmic

Values = Mapping[str, Any]
AXIS = 1.35  # inches between two axes of the parallel coordinates
NARROW = 4  # parameters that a plot of usual width has room for


def search_page(values: Values) -> str:
    """The page's HTML, from what search.json holds."""
    sections = [
        _best_section(values),
        _course_section(values),
        _parameter_section(values),
        _trial_section(values),
        Section("How it was made", _space(values) + origin(values)),
    ]
    return page(
        values.get("title") or "Search",
        values.get("about") or "",
        [part for part in sections if part is not None],
    )


def _complete(values: Values) -> list[Values]:
    return [
        trial for trial in values["trials"] if trial["state"] == "complete" and trial.get("value") is not None
    ]


def _is_maximized(values: Values) -> bool:
    return values.get("direction", "maximize") == "maximize"


def _better(values: Values) -> str:
    return "higher is better" if _is_maximized(values) else "lower is better"


def _best_section(values: Values) -> Section:
    best, states = values.get("best"), {}
    for trial in values["trials"]:
        states[trial["state"]] = states.get(trial["state"], 0) + 1
    counted = ", ".join(f"{count} {state}" for state, count in states.items()) or "none yet"
    about = paragraph(
        f"{len(values['trials'])} trials ({counted}) by the sampler {values.get('sampler')}; "
        f"{values['metric']}, {_better(values)}."
    )
    if best is None:
        return Section("Best trial", about + paragraph("No trial is complete yet.", "note"))
    rows = {values["metric"]: best["value"], "trial": best["number"]} | dict(best["parameters"])
    about += paragraph(
        "The best of many trials on one dev split is flattered by the choice; score it on other examples, or "
        "over several seeds.",
        "soft",
    )
    return Section(
        "Best trial", about + facts("The best trial", rows, "best") + bullets(values.get("notes") or ())
    )


def _course_section(values: Values) -> Section | None:
    shown = []
    if _complete(values):
        shown.append(
            figure(
                "Optimisation history",
                "The line is the best value so far; where it is flat for long, more trials bring little.",
                chart(lambda axes: _draw_history(axes, values)),
            )
        )
    if any(len(trial.get("steps") or ()) > 1 for trial in values["trials"]):
        shown.append(
            figure(
                "Values on the way",
                "Grey trials were pruned; one that was about to rise was pruned too early.",
                chart(lambda axes: _draw_steps(axes, values)),
            )
        )
    return Section("The search in time", figures(*shown)) if shown else None


def _draw_history(axes, values: Values) -> None:
    complete = sorted(_complete(values), key=lambda trial: trial["number"])
    numbers, found = [trial["number"] for trial in complete], [trial["value"] for trial in complete]
    choose, best = (max if _is_maximized(values) else min), []
    for value in found:
        best.append(choose([*best[-1:], value]))
    axes.plot(numbers, found, "o", markersize=4, color=PALETTE[0], label="complete")
    axes.step(numbers, best, where="post", color=PALETTE[1], label="best so far")
    pruned = [trial for trial in values["trials"] if trial["state"] == "pruned" and trial.get("steps")]
    if pruned:
        ends = [trial["steps"][-1][1] for trial in pruned]
        axes.plot(
            [trial["number"] for trial in pruned],
            ends,
            "x",
            markersize=4,
            color=GREY,
            label="pruned, last value",
        )
    axes.set(xlabel="trial", ylabel=values["metric"])
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend_below(axes, columns=3)


def _draw_steps(axes, values: Values) -> None:
    for trial in values["trials"]:
        points = [(step, value) for step, value in trial.get("steps") or () if value is not None]
        if points:
            complete = trial["state"] == "complete"
            style = {"color": PALETTE[0], "alpha": 0.6} if complete else {"color": GREY, "alpha": 0.8}
            axes.plot(*zip(*points, strict=True), marker=".", linewidth=1, **style)
    axes.set(xlabel="step", ylabel=values["metric"])


def _parameter_section(values: Values) -> Section | None:
    """Parallel coordinates, importance, and a slice for each parameter."""
    names, complete = list(values["parameters"]), _complete(values)
    shown = []
    if complete and names:
        width = AXIS * (len(names) + 1) + 0.6
        wide = len(names) > NARROW
        shown.append(
            figure(
                "Parallel coordinates",
                "Each line is a complete trial, from its parameters to its score; blue ones are the best "
                "third. Where they run through one place of an axis, that value matters.",
                chart(lambda axes: _draw_parallel(axes, values, complete), 4.2, *([width] if wide else [])),
                wide,
            )
        )
    if values.get("importance"):
        found = sorted(values["importance"].items(), key=lambda entry: entry[1] or 0)
        shown.append(
            figure(
                "Importance of each parameter",
                "Long bars decided the score in this space; short ones may be left at their defaults.",
                chart(lambda axes: _draw_importance(axes, found), 1.1 + 0.34 * len(found)),
            )
        )
    if complete:
        shown += [
            figure(
                f"{name}: value against score",
                "A slope or a hump is an effect; a flat cloud is none. The ringed trial is the best one.",
                chart(lambda axes, name=name: _draw_slice(axes, values, complete, name), 3.1),
            )
            for name in names
        ]
    missing = (
        ""
        if values.get("importance")
        else paragraph("Importance is not known: too few complete trials.", "soft")
    )
    return Section("Parameters", figures(*shown) + missing) if shown or missing else None


def _draw_importance(axes, found: Sequence[tuple[str, float | None]]) -> None:
    axes.barh([short(name) for name, _ in found], [value or 0 for _, value in found], color=PALETTE[0])
    axes.set(xlabel="share of the score's variance", ylabel="parameter", xlim=(0, 1))
    axes.grid(False, axis="y")


def _place(parameter: Values, values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Each value's height from 0 to 1 on an axis of the parallel coordinates, and the axis's ticks."""
    from math import log

    if parameter["kind"] == "choice":
        names = list(dict.fromkeys(map(str, [*(parameter.get("choices") or ()), *values])))
        heights = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
        return [heights[str(value)] for value in values], [
            (at, short(name, 12)) for name, at in heights.items()
        ]
    low = min([*values, *([parameter["low"]] if parameter.get("low") is not None else [])])
    high = max([*values, *([parameter["high"]] if parameter.get("high") is not None else [])])
    if low == high:
        return [0.5] * len(values), [(0.5, compact(low))]
    scale, back = (log, lambda at: low * (high / low) ** at) if parameter.get("log") else (float, None)
    back = back or (lambda at: low + at * (high - low))
    bottom, top = scale(low), scale(high)
    heights = [(scale(value) - bottom) / (top - bottom) for value in values]
    return heights, [(at, compact(back(at))) for at in (0, 0.5, 1)]


def _draw_parallel(axes, values: Values, complete: Sequence[Values]) -> None:
    names = [name for name in values["parameters"] if all(name in trial["parameters"] for trial in complete)]
    placed = [
        _place(values["parameters"][name], [trial["parameters"][name] for trial in complete])
        for name in names
    ]
    placed.append(_place({"kind": "float"}, [trial["value"] for trial in complete]))
    ranked = sorted(range(len(complete)), key=lambda i: complete[i]["value"], reverse=_is_maximized(values))
    good = set(ranked[: max(1, len(ranked) // 3)])
    for i in reversed(ranked):  # the best on top
        style = {"color": PALETTE[0], "alpha": 0.85} if i in good else {"color": GREY, "alpha": 0.35}
        axes.plot(range(len(placed)), [heights[i] for heights, _ in placed], linewidth=1.3, **style)
    for place, (_, ticks) in enumerate(placed):
        axes.axvline(place, color="black", linewidth=0.8)
        for at, text in ticks:
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
            axes.text(place + 0.03, at, text, va="center", fontsize=8.5, bbox=box)
    axes.set_xticks(range(len(placed)), [name.replace(".", ".\n") for name in [*names, values["metric"]]])
    axes.set(xlabel="parameter, and the score", ylabel="low to high", yticks=[], ylim=(-0.05, 1.05))
    axes.set_xlim(-0.15, len(placed) - 0.6)
    axes.grid(False)
    axes.spines["left"].set_visible(False)


def _draw_slice(axes, values: Values, complete: Sequence[Values], name: str) -> None:
    parameter, best = values["parameters"][name], values.get("best") or {}
    trials = [trial for trial in complete if name in trial["parameters"]]
    found = [trial["parameters"][name] for trial in trials]
    if parameter["kind"] == "choice":
        names = list(dict.fromkeys(map(str, [*(parameter.get("choices") or ()), *found])))
        found = [names.index(str(value)) for value in found]
        axes.set_xticks(range(len(names)), [short(entry, 14) for entry in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif parameter.get("log") and trials:
        logarithmic(axes, "x", found)
    axes.scatter(found, [trial["value"] for trial in trials], s=18, color=PALETTE[0], alpha=0.7, linewidths=0)
    for value, trial in zip(found, trials, strict=True):
        if trial["number"] == best.get("number"):
            axes.scatter(
                [value], [trial["value"]], s=90, facecolors="none", edgecolors=PALETTE[1], linewidths=1.6
            )
    axes.set(xlabel=f"{name} (log)" if parameter.get("log") else name, ylabel=values["metric"])


def _trial_section(values: Values) -> Section:
    names = list(values["parameters"])
    scores = list(dict.fromkeys(name for trial in values["trials"] for name in trial.get("scores") or {}))
    scores = [name for name in scores if name != values["metric"]]
    best = (values.get("best") or {}).get("number")
    rows = []
    for trial in values["trials"]:
        given, found = trial.get("parameters") or {}, trial.get("scores") or {}
        value = trial.get("value")
        rows.append(
            [
                Cell(str(trial["number"]), trial["number"], "best" if trial["number"] == best else ""),
                trial["state"],
                Cell("–" if value is None else number(value), value, strong=trial["number"] == best),
                *(_parameter(given.get(name)) for name in names),
                *(found.get(name) for name in scores),
                None if trial.get("seconds") is None else Cell(f"{trial['seconds']:,.1f}", trial["seconds"]),
                trial.get("error") or "",
            ]
        )
    columns = (
        Column("trial"),
        Column("state", choose=True, number=False),
        Column(values["metric"]),
        *(
            Column(name, choose=parameter["kind"] == "choice", number=parameter["kind"] != "choice")
            for name, parameter in values["parameters"].items()
        ),
        *map(Column, scores),
        Column("seconds"),
        Column("error", number=False, wide=any(trial.get("error") for trial in values["trials"])),
    )
    return Section("Trials", table("All trials", columns, rows, "trials", search=True))


def _parameter(value: Any) -> Any:
    return Cell(f"{value:.4g}", value) if isinstance(value, float) else value


def _space(values: Values) -> str:
    rows = [
        (
            name,
            parameter["kind"],
            ", ".join(map(str, parameter["choices"])) if parameter.get("choices") else "",
            _parameter(parameter.get("low")),
            _parameter(parameter.get("high")),
            "log" if parameter.get("log") else "",
        )
        for name, parameter in values["parameters"].items()
    ]
    columns = (
        Column("parameter", number=False),
        Column("kind", number=False),
        Column("choices", number=False),
        "lowest",
        "highest",
        Column("scale", number=False),
    )
    return table("The space that was searched", columns, rows, "space")
