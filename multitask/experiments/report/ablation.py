"""The page of an ablation: its table, differences with intervals, costs, what failed, and how it was made."""

from collections.abc import Mapping, Sequence
from typing import Any

from multitask.experiments.report.ablation_costs import cost_section
from multitask.experiments.report.charts import GREY, PALETTE, chart, short
from multitask.experiments.report.page import (
    Cell,
    Column,
    Section,
    bullets,
    figure,
    figures,
    origin,
    page,
    paragraph,
    table,
)

Values = Mapping[str, Any]


def ablation_page(values: Values) -> str:
    """The page's HTML, from what table.json holds."""
    sections = [
        _score_section(values),
        _difference_section(values),
        _published_section(values),
        cost_section(values),
        _failure_section(values),
        _origin_section(values),
    ]
    return page(
        values.get("title") or "Ablation",
        values.get("about") or "",
        [part for part in sections if part is not None],
    )


def _level(values: Values) -> str:
    return f"{100 * values.get('level', 0.95):g} %"


def _score_section(values: Values) -> Section:
    columns, rows = values["columns"], []
    for row in values["rows"]:
        baseline = row["name"] == values["baseline"]
        cells = [
            _score_cell((row.get("scores") or {}).get(name), (row.get("differences") or {}).get(name))
            for name in columns
        ]
        about = "the baseline" if baseline else ""
        rows.append([Cell(row["name"], row["name"], about), *cells, _finished(row)])
    seeds = ", ".join(map(str, values.get("seeds", ())))
    caption = (
        f"Mean ± standard deviation over the seeds {seeds} on {values.get('split', 'dev')}; below it the "
        f"difference to {values['baseline']} with its {_level(values)} interval. Tinted: significant"
    )
    heads = [Column("row", number=False), *map(Column, columns), Column("cells")]
    body = table(caption, heads, rows, "scores")
    body += paragraph(
        f"An interval is a paired bootstrap over the {values.get('split', 'dev')} examples"
        + (f" with {values['resamples']:,} resamples" if values.get("resamples") else "")
        + "; a difference is called significant where its interval leaves out 0 and all seeds, two at least, "
        "agree on its sign. What other seeds would change is not in the interval: the standard deviation "
        "says that. With many rows some intervals leave out 0 by chance.",
        "soft",
    )
    if values.get("limit") is not None:
        body += paragraph(
            f"Reduced size: only the first {values['limit']:,} examples of each split were used. Compare "
            f"rows with one another, not with other tables.",
            "note",
        )
    return Section("Scores", body + bullets(values.get("notes") or ()))


def _score_cell(score: Values | None, difference: Values | None) -> Cell:
    if not score or score.get("mean") is None:
        return Cell("–")
    spread = "" if score.get("sd") is None else f" ± {score['sd']:.4f}"
    below, significant = "", False
    if difference and difference.get("mean") is not None:
        significant = difference.get("significant") is True
        below = f"{difference['mean']:+.4f}"
        if difference.get("low") is not None and difference.get("high") is not None:
            below += f" [{difference['low']:+.4f}, {difference['high']:+.4f}]"
        if difference.get("significant") is not None:
            below += "\nsignificant" if significant else "\nnot significant"
    return Cell(f"{score['mean']:.4f}{spread}", score["mean"], below, significant)


def _finished(row: Values) -> Cell:
    states = [entry.get("state") for entry in row.get("cells") or ()]
    done = states.count("finished")
    return Cell(f"{done} of {len(states)}", done)


def _difference_section(values: Values) -> Section | None:
    """A forest plot a score, and a table of what no interval could be given for."""
    shown = []
    for name in values["columns"]:
        found = [
            (row["name"], row["differences"][name])
            for row in values["rows"]
            if (row.get("differences") or {}).get(name, {}).get("mean") is not None
        ]
        if found:
            shown.append(
                figure(
                    f"{name}: difference to {values['baseline']}",
                    f"An interval ({_level(values)}) that crosses the line at 0 is no finding; hollow points "
                    "are not significant.",
                    chart(
                        lambda axes, found=found, name=name: _draw_forest(axes, found, name),
                        1.1 + 0.34 * len(found),
                    ),
                )
            )
    reasons = sorted(
        {
            f"{row['name']}, {name}: {difference['why']}"
            for row in values["rows"]
            for name, difference in (row.get("differences") or {}).items()
            if difference.get("why")
        }
    )
    if not (shown or reasons):
        return None
    return Section("Differences to the baseline", figures(*shown) + _folded(reasons))


def _folded(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    summary = f"<summary>What is not called significant, and why ({len(reasons)})</summary>"
    return f"<details>{summary}{bullets(reasons)}</details>\n"


def _draw_forest(axes, found: Sequence[tuple[str, Values]], name: str) -> None:
    for place, (_, difference) in enumerate(found):
        significant = difference.get("significant") is True
        color = PALETTE[0] if significant else GREY
        if difference.get("low") is not None and difference.get("high") is not None:
            axes.plot([difference["low"], difference["high"]], [place, place], color=color, linewidth=2)
        fill = color if significant else "white"
        axes.plot([difference["mean"]], [place], "o", color=color, markerfacecolor=fill, markersize=6)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), [short(row, 24) for row, _ in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set(xlabel=f"difference in {name}", ylabel="row")
    axes.locator_params(axis="x", nbins=5)


def _published_section(values: Values) -> Section | None:
    """Published numbers beside ours, score by score."""
    rows, notes = [], []
    for row in values["rows"]:
        published = row.get("published")
        if not published:
            continue
        own = {name: (score or {}).get("mean") for name, score in (row.get("scores") or {}).items()}
        given = dict(published.get("scores") or {})
        given |= {
            name: published[name] for name in ("overall_2024", "mean_raw") if published.get(name) is not None
        }
        for name, value in given.items():
            rows.append(_published_row(row["name"], name, value, own.get(name), ""))
        if published.get("overall") is not None:
            formula = published.get("formula")
            known = formula in ("overall_2024", "mean_raw")
            kind = f"as {formula}" if known else "by neither formula"
            ours = own.get(formula) if known else None
            rows.append(_published_row(row["name"], "overall, as printed", published["overall"], ours, kind))
        if published.get("note"):
            notes.append(f"{row['name']}: {published['note']}")
    if not rows:
        return None
    columns = (
        Column("row", choose=True, number=False),
        Column("score", choose=True, number=False),
        "published",
        "ours",
        "ours - published",
        Column("formula", number=False),
    )
    body = table("Published numbers beside ours (means over the seeds)", columns, rows, "published")
    about = (
        "Published overall scores follow one of two formulas, or neither; a comparison holds only between "
        "numbers of one formula, and only where data, weights and training are alike."
    )
    return Section("Published numbers", paragraph(about) + body + bullets(notes))


def _published_row(row: str, name: str, published: float, ours: float | None, formula: str) -> list[Any]:
    gap = None if ours is None or published is None else ours - published
    return [row, name, published, ours, None if gap is None else Cell(f"{gap:+.4f}", gap), formula]


def _failure_section(values: Values) -> Section | None:
    rows = [
        (
            row["name"],
            cell.get("seed"),
            cell.get("state"),
            cell.get("error") or "",
            str(cell.get("key") or "")[:12],
        )
        for row in values["rows"]
        for cell in row.get("cells") or ()
        if cell.get("state") != "finished"
    ]
    if not rows:
        return None
    columns = (
        Column("row", number=False),
        "seed",
        Column("state", choose=True, number=False),
        Column("error", number=False, wide=True),
        Column("cell", number=False),
    )
    about = paragraph(
        "These cells are in no mean; `multitask ablate` on the same folder tries them again.", "note"
    )
    return Section("Cells that are not finished", about + table("Cells", columns, rows, "failures"))


def _origin_section(values: Values) -> Section:
    rows = [
        (
            row["name"],
            row.get("about") or "",
            ", ".join(f"{key} = {value!r}" for key, value in row["set"].items()),
        )
        for row in values["rows"]
        if row.get("set") is not None
    ]
    columns = (
        Column("row", number=False),
        Column("about", number=False, wide=True),
        Column("changes to the base configuration", number=False, wide=True),
    )
    body = table("What each row changes", columns, rows, "rows")
    return Section("How it was made", body + origin(values))
