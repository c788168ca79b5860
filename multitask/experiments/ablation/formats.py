"""A finished table as Markdown, CSV and LaTeX. All three hold the numbers of table.json, rounded alike."""

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from minbert import atomic_write
from multitask.text_table import markdown_table

Summary = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]  # headings and rows
HEADINGS = {"sst.accuracy": "SST acc", "paraphrase.accuracy": "Para acc", "sts.pearson": "STS r"}
COSTS = ["trained", "s/epoch", "peak MB", "tokens/s"]
TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def score_text(entry: Mapping[str, Any] | None) -> str:
    """Formats mean ± standard deviation over seeds with three digits; the mean alone for one seed."""
    if not entry:
        return "-"
    spread = "" if entry["sd"] is None else f" ± {entry['sd']:.3f}"
    return f"{entry['mean']:.3f}{spread}"


def difference_text(entry: Mapping[str, Any] | None) -> str:
    """Formats the difference to the baseline with its interval; * where it is significant."""
    if not entry:
        return "-"
    if entry["low"] is None:
        return f"{entry['mean']:+.3f}"
    mark = "*" if entry["significant"] else ""
    return f"{entry['mean']:+.3f} [{entry['low']:+.3f}, {entry['high']:+.3f}]{mark}"


def cost_texts(costs: Mapping[str, Any]) -> list[str]:
    """Formats trained parameters, seconds an epoch, peak memory in MB, tokens a second."""
    if not costs:
        return ["-"] * len(COSTS)
    return [
        f"{costs['trained_parameters']:,}",
        f"{costs['seconds_per_epoch']:.1f}",
        f"{costs['peak_memory'] / 1e6:,.0f}",
        f"{costs['tokens_per_second']:,.0f}",
    ]


def tables(summary: Summary) -> list[Table]:
    """Returns the tables that have rows: scores and costs, differences to the baseline, published numbers."""
    columns, baseline = summary["columns"], summary["baseline"]
    headings = [HEADINGS.get(name, name.replace(".", " ")) for name in columns]
    scores, differences, published = [], [], []
    for row in summary["rows"]:
        name, given = row["name"], row["published"]
        scores.append([name, *(score_text(row["scores"].get(c)) for c in columns), *cost_texts(row["costs"])])
        if name != baseline:
            differences.append([name, *(difference_text(row["differences"].get(c)) for c in columns)])
        if given:
            values = [*(given["scores"].get(c, given.get(c)) for c in columns), given["overall"]]
            texts = ["-" if value is None else f"{value:.3f}" for value in values]
            published.append([name, *texts, given["formula"]])
    found = [
        (["row", *headings, *COSTS], scores),
        ([f"row minus {baseline}", *headings], differences),
        (["published", *headings, "printed as overall", "which is"], published),
    ]
    return [table for table in found if table[1]] if columns else found[:1]


def notes(summary: Summary) -> list[str]:
    """Returns the notes under the table: seeds and split, intervals, both formulas, failed cells."""
    seeds = ", ".join(map(str, summary["seeds"]))
    limit = f", {summary['limit']:,} random examples of each split" if summary["limit"] else ""
    percent, resamples = round(100 * summary["level"]), summary["resamples"]
    lines = [
        f"Mean ± standard deviation over seeds {seeds} on the {summary['split']} split{limit}.",
        f"Differences: {percent} % intervals of a paired bootstrap over the dev examples, {resamples:,} "
        f"resamples; * marks those that leave out 0 where all seeds agree, two at least. What other seeds "
        f"would change is not in the interval: the standard deviation says that.",
        "overall_2024 = (SST + Para + (STS + 1) / 2) / 3, mean_raw = (SST + Para + STS) / 3.",
        *summary["notes"],
    ]
    failed: dict[str, list[str]] = {}
    for row in summary["rows"]:
        for cell in row["cells"]:
            if cell["state"] == "failed":
                failed.setdefault(cell["error"], []).append(f"{row['name']}, seed {cell['seed']}")
    return lines + [f"failed: {'; '.join(names)}: {error}" for error, names in failed.items()]


def markdown(summary: Summary) -> str:
    """Returns title, tables, notes and command as Markdown."""
    parts = [f"# {summary['title']}", summary["about"]]
    parts += [markdown_table(*table, numbers=True) for table in tables(summary)]
    parts.append("\n".join(f"- {line}" for line in notes(summary)))
    parts.append(summary["command"] and f"    {summary['command']}")
    return "\n\n".join(filter(None, parts)) + "\n"


def latex(summary: Summary) -> str:
    """Returns each table as a `tabular`; needs the package booktabs."""
    parts = [f"% {line}" for line in notes(summary)]
    for headings, rows in tables(summary):
        cells = ([cell.translate(TEX) for cell in line] for line in (headings, *rows))
        head, *body = (" & ".join(line) + r" \\" for line in cells)
        begin = rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}"
        lines = [begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def csv_text(summary: Summary) -> str:
    """Returns a line for each row, score and seed in full precision, for other programs."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", "seed", "state", "score", "value"])
    for row in summary["rows"]:
        for cell in row["cells"]:
            for name in summary["columns"]:
                value = cell["scores"].get(name, "")
                writer.writerow([row["name"], cell["seed"], cell["state"], name, value])
    return file.getvalue()


def write_formats(summary: Summary, folder: Path) -> None:
    """Writes table.md, table.csv and table.tex."""
    for ending, text in (("md", markdown), ("csv", csv_text), ("tex", latex)):
        with atomic_write(folder / f"table.{ending}") as file:
            file.write(text(summary))
