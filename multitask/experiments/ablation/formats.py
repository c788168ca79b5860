"""A finished table as Markdown, CSV and LaTeX, with the numbers of table.json, rounded as on its page."""

import csv
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from minbert import atomic_write, markdown_text, printable, spreadsheet_cell
from minbert.cli.page import difference, score
from multitask.text_table import markdown_table

Summary = Mapping[str, Any]
HEADINGS = {"sst.accuracy": "SST acc", "paraphrase.accuracy": "Para acc", "sts.pearson": "STS r"}
COSTS = ["trained", "s/epoch", "peak MB", "tokens/s"]
TEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"±": r"$\pm$", "−": "$-$"}
)


class Table(NamedTuple):
    """A table of a summary; `name` tells it from the others, `about` is its caption."""

    name: str
    about: str
    headings: list[str]
    rows: list[list[str]]


def score_text(entry: Mapping[str, Any] | None) -> str:
    """Formats mean ± standard deviation over seeds; the mean alone for one seed."""
    if not entry:
        return "-"
    spread = "" if entry["sd"] is None else f" ± {score(entry['sd'])}"
    return f"{score(entry['mean'])}{spread}"


def difference_text(entry: Mapping[str, Any] | None) -> str:
    """Formats the difference to the baseline with its interval; * where it is significant."""
    if not entry:
        return "-"
    if entry["low"] is None:
        return difference(entry["mean"])
    mark = "*" if entry["significant"] else ""
    return f"{difference(entry['mean'])} [{difference(entry['low'])}, {difference(entry['high'])}]{mark}"


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
            texts = ["-" if value is None else score(value) for value in values]
            published.append([name, *texts, given["formula"]])
    level = f"{100 * summary['level']:g} %"
    found = [
        Table("scores", "means over the seeds, and costs", ["row", *headings, *COSTS], scores),
        Table(
            "differences",
            f"differences to {baseline} with {level} intervals; * is significant",
            [f"row minus {baseline}", *headings],
            differences,
        ),
        Table(
            "published",
            "published numbers",
            ["published", *headings, "printed as overall", "which is"],
            published,
        ),
    ]
    return [table for table in found if table.rows] if columns else found[:1]


def explanations(summary: Summary) -> list[str]:
    """Returns what the numbers are: seeds and split, intervals, both formulas."""
    seeds = ", ".join(map(str, summary["seeds"]))
    limit = f", {summary['limit']:,} random examples of each split" if summary["limit"] else ""
    percent, resamples = round(100 * summary["level"]), summary["resamples"]
    return [
        f"Mean ± standard deviation over seeds {seeds} on the {summary['split']} split{limit}.",
        f"Differences: {percent} % intervals of a paired bootstrap over the dev examples, {resamples:,} "
        f"resamples; * marks those that leave out 0 where all seeds agree, two at least. What other seeds "
        f"would change is not in the interval: the standard deviation says that.",
        "overall_2024 = (SST + Para + (STS + 1) / 2) / 3, mean_raw = (SST + Para + STS) / 3.",
    ]


def failures(summary: Summary) -> list[str]:
    """Returns what is missing or cannot be compared, and why cells failed."""
    failed: dict[str, dict[str, list[str]]] = {}
    for row in summary["rows"]:
        for cell in row["cells"]:
            if cell["state"] == "failed":
                failed.setdefault(cell["error"], {}).setdefault(row["name"], []).append(str(cell["seed"]))
    reasons = []
    for error, rows in failed.items():
        names = (f"{name}, seed{'s'[: len(seeds) > 1]} {', '.join(seeds)}" for name, seeds in rows.items())
        reasons.append(f"failed: {'; '.join(names)}: {error}")
    return [*summary["notes"], *reasons]


def notes(summary: Summary) -> list[str]:
    """Returns the notes under the table."""
    return explanations(summary) + failures(summary)


def markdown(summary: Summary) -> str:
    """Returns title, tables, notes and command as Markdown."""
    parts = [f"# {markdown_text(summary['title'])}", markdown_text(summary["about"])]
    parts += [markdown_table(table.headings, table.rows, numbers=True) for table in tables(summary)]
    parts.append("\n".join(f"- {markdown_text(line)}" for line in notes(summary)))
    parts.append(summary["command"] and f"    {_line(summary['command'])}")
    return "\n\n".join(filter(None, parts)) + "\n"


def latex(summary: Summary) -> str:
    """Returns each table as a float with caption and label; needs the package booktabs."""
    parts = ["\n".join(f"% {_line(text)}" for text in (r"\usepackage{booktabs}", *notes(summary)))]
    slug = re.sub(r"[^a-z0-9]+", "-", summary["title"].lower()).strip("-")[:40].strip("-") or "table"
    for table in tables(summary):
        cells = ([_tex(cell) for cell in line] for line in (table.headings, *table.rows))
        head, *body = (" & ".join(line) + r" \\" for line in cells)
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(summary['title'])}: {_tex(table.about)}.}}",
            rf"\label{{tab:{slug}-{table.name}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(text: str) -> str:
    return printable(" ".join(text.split()))


def _tex(text: str) -> str:
    if text == "-":
        return "--"
    begin = "{}" if text.lstrip().startswith(("[", "*")) else ""  # else the line end before takes them
    return begin + _line(text).translate(TEX)


def csv_text(summary: Summary) -> str:
    """Returns a line for each row, score and seed in full precision, for other programs."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", "seed", "state", "score", "value"])
    for row in summary["rows"]:
        for cell in row["cells"]:
            for name in summary["columns"]:
                value = cell["scores"].get(name, "")
                writer.writerow([spreadsheet_cell(row["name"]), cell["seed"], cell["state"], name, value])
    return file.getvalue()


def write_formats(summary: Summary, folder: Path) -> None:
    """Writes table.md, table.csv and table.tex."""
    for ending, text in (("md", markdown), ("csv", csv_text), ("tex", latex)):
        with atomic_write(folder / f"table.{ending}") as file:
            file.write(text(summary))
