"""A finished table as Markdown, CSV and LaTeX. All three hold the numbers of table.json, rounded alike."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minbert import atomic_write

Summary = Mapping[str, Any]
HEADINGS = {
    "sst.accuracy": "SST acc",
    "paraphrase.accuracy": "Para acc",
    "sts.pearson": "STS r",
    "overall_2024": "overall_2024",
    "mean_raw": "mean_raw",
}


def heading(column: str) -> str:
    """What stands above a column of scores."""
    return HEADINGS.get(column, column.replace(".", " "))


def score_text(entry: Mapping[str, Any] | None) -> str:
    """Mean ± standard deviation over seeds, three digits; the mean alone for one seed."""
    if not entry:
        return "-"
    spread = "" if entry["sd"] is None else f" ± {entry['sd']:.3f}"
    return f"{entry['mean']:.3f}{spread}"


def difference_text(entry: Mapping[str, Any] | None) -> str:
    """The difference to the baseline with its interval; * where it is significant."""
    if not entry:
        return "-"
    mark = "*" if entry["significant"] else ""
    if entry["low"] is None:
        return f"{entry['mean']:+.3f}"
    return f"{entry['mean']:+.3f} [{entry['low']:+.3f}, {entry['high']:+.3f}]{mark}"


def cost_texts(costs: Mapping[str, Any]) -> list[str]:
    """Trained parameters, seconds an epoch, peak memory in MB, tokens a second."""
    if not costs:
        return ["-"] * 4
    memory = costs["peak_memory"] / 1e6
    return [
        f"{costs['trained_parameters']:,}",
        f"{costs['seconds_per_epoch']:.1f}",
        f"{memory:,.0f}",
        f"{costs['tokens_per_second']:,.0f}",
    ]


COSTS = ["trained", "s/epoch", "peak MB", "tokens/s"]


def table_rows(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the first table: scores and costs."""
    columns = summary["columns"]
    rows = [
        [row["name"], *(score_text(row["scores"].get(name)) for name in columns), *cost_texts(row["costs"])]
        for row in summary["rows"]
    ]
    return ["row", *map(heading, columns), *COSTS], rows


def difference_rows(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the second table: differences to the baseline."""
    columns = summary["columns"]
    rows = [
        [row["name"], *(difference_text(row["differences"].get(name)) for name in columns)]
        for row in summary["rows"]
        if row["name"] != summary["baseline"]
    ]
    return [f"row minus {summary['baseline']}", *map(heading, columns)], rows


def published_rows(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the third table: published numbers, with both overall scores of their parts."""
    columns = summary["columns"]
    rows = []
    for row in summary["rows"]:
        given = row["published"]
        if given:
            values = [given["scores"].get(name, given.get(name)) for name in columns]
            texts = ["-" if value is None else f"{value:.3f}" for value in values]
            printed = "-" if given["overall"] is None else f"{given['overall']:.3f}"
            rows.append([row["name"], *texts, printed, given["formula"]])
    return ["published", *map(heading, columns), "printed as overall", "which is"], rows


def tables(summary: Summary) -> list[tuple[list[str], list[list[str]]]]:
    """All tables that have something to say: scores and costs, differences, published numbers."""
    found = [table_rows(summary), difference_rows(summary), published_rows(summary)]
    return [table for table in found if table[1]] if summary["columns"] else found[:1]


def notes(summary: Summary) -> list[str]:
    """What must stand under the table."""
    seeds = ", ".join(map(str, summary["seeds"]))
    limit = f", the first {summary['limit']:,} examples of each split" if summary["limit"] else ""
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
    lines += [f"failed: {'; '.join(names)}: {error}" for error, names in failed.items()]
    return lines


def markdown(summary: Summary) -> str:
    """The tables for a README or an issue."""
    parts = [f"# {summary['title']}", *([summary["about"]] if summary["about"] else [])]
    for headings, rows in tables(summary):
        lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
        parts.append("\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines))
    parts.append("\n".join(f"- {line}" for line in notes(summary)))
    if summary["command"]:
        parts.append(f"    {summary['command']}")
    return "\n\n".join(parts) + "\n"


def latex(summary: Summary) -> str:
    """The scores as a `tabular`, the differences as a second one; needs the package booktabs."""
    parts = []
    for headings, rows in tables(summary):
        body = [" & ".join(_tex(cell) for cell in line) + r" \\" for line in rows]
        head = " & ".join(_tex(cell) for cell in headings) + r" \\"
        begin = rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}"
        parts.append(
            "\n".join([begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"])
        )
    return "\n\n".join([*(f"% {line}" for line in notes(summary)), *parts]) + "\n"


def write_csv(summary: Summary, path: Path) -> None:
    """A line for each row, score and seed, full precision: what other programs read."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "seed", "state", "score", "value"])
        for row in summary["rows"]:
            for cell in row["cells"]:
                for name in summary["columns"]:
                    value = cell["scores"].get(name, "")
                    writer.writerow([row["name"], cell["seed"], cell["state"], name, value])


def _write(text: Callable[[Summary], str]) -> Callable[[Summary, Path], None]:
    def write(summary: Summary, path: Path) -> None:
        with atomic_write(path) as file:
            file.write(text(summary))

    return write


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def _tex(text: str) -> str:
    replaced = {
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
    for character in "&%$#_{}":
        replaced[character] = f"\\{character}"
    return "".join(replaced.get(character, character) for character in text)


FORMATS: dict[str, Callable[[Summary, Path], None]] = {
    "table.md": _write(markdown),
    "table.csv": write_csv,
    "table.tex": _write(latex),
}
