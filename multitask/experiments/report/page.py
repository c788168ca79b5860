"""The HTML of a report: a page in one file, sections, tables that sort and filter, figures, escaped text."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A table's cell: what it shows, what it is sorted by, a second line, and whether it stands out.

    `value` is None where a number is not known; such cells come last. A filter goes by `group`, else `value`.
    """

    text: str
    value: Any = None
    below: str = ""
    strong: bool = False
    group: str | None = None

    @property
    def choice(self) -> str | None:
        """What a filter calls the cell."""
        return str(self.value) if self.group is None and self.value is not None else self.group


@dataclass(frozen=True)
class Column:
    """A table's column: numbers, or text that may wrap; `choose` offers its values as a filter."""

    name: str
    choose: bool = False
    number: bool = True
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a page, with its place in the list of contents."""

    title: str
    body: str


def page(title: str, about: str, sections: Sequence[Section]) -> str:
    """The whole file. It loads nothing, and says so to the browser: only its own script may run."""
    assets = resources.files("multitask") / "experiments" / "report" / "assets"
    style, script = ((assets / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    contents = "".join(
        f'<li><a href="#section-{i}">{escape(section.title)}</a></li>' for i, section in enumerate(sections)
    )
    body = "\n".join(
        f'<section id="section-{i}"><h2>{escape(section.title)}</h2>\n{section.body}\n</section>'
        for i, section in enumerate(sections)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>
{paragraph(about)}</header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text; nothing where there is no text."""
    if not text:
        return ""
    return f'<p class="{kind}">{escape(text)}</p>\n' if kind else f"<p>{escape(text)}</p>\n"


def bullets(lines: Sequence[str]) -> str:
    """A list of plain texts; nothing where there is none."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>\n" if lines else ""


def figure(title: str, guide: str, svg: str, wide: bool = False) -> str:
    """A plot with its title and what to look for in it; both name it for those who cannot see it."""
    prefix = "f" + sha256(f"{title}{svg}".encode()).hexdigest()[:8]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)  # an id is unique in a page
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(f"{title}. {guide}")}"', 1)
    caption = f"<figcaption><strong>{escape(title)}</strong> {escape(guide)}</figcaption>"
    plot = f'<div class="plot" tabindex="0">{svg}</div>' if wide else f'<div class="plot">{svg}</div>'
    return f"<figure{' class=wide' if wide else ''}>{caption}{plot}</figure>\n"


def figures(*parts: str) -> str:
    """Figures side by side where there is room."""
    shown = "".join(parts)
    return f'<div class="figures">\n{shown}</div>\n' if shown else ""


def beside(*parts: str) -> str:
    """Tables side by side where there is room."""
    return f'<div class="beside">\n{"".join(parts)}</div>\n'


def table(
    caption: str,
    columns: Sequence[Column | str],
    rows: Sequence[Sequence[Any]],
    name: str = "",
    search: bool = False,
    sortable: bool = True,
) -> str:
    """A table in a box of its own that scrolls; the first column heads its row.

    A cell is a Cell or a plain value, see `cell`. `name` is the table's id; `search` filters by words.
    """
    columns = [Column(column) if isinstance(column, str) else column for column in columns]
    shown = [[entry if isinstance(entry, Cell) else cell(entry) for entry in row] for row in rows]
    head = "".join(_heading(column, sortable) for column in columns)
    body = "\n".join(f"<tr>{_row(columns, row)}</tr>" for row in shown)
    chosen = [i for i, column in enumerate(columns) if column.choose]
    return (
        f'<div class="table"{f" id={name}" if name else ""}>'
        f"{_filters(columns, shown, chosen, search)}"
        f'<p class="caption">{escape(caption)}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f'<table aria-label="{escape(caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div></div>\n"
    )


def facts(caption: str, values: Mapping[str, Any], name: str = "", search: bool = False) -> str:
    """A table of two columns, names and values."""
    columns = (Column("name", number=False), Column("value", number=False, wide=True))
    return table(caption, columns, list(values.items()), name, search, sortable=False)


def origin(values: Mapping[str, Any]) -> str:
    """The command, the time and the environment that an ablation or a search was made with."""
    found = {"created": values.get("created"), "command": values.get("command")} | dict(
        values.get("environment") or {}
    )
    return facts(
        "Command and environment", {name: value for name, value in found.items() if value is not None}
    )


def cell(value: Any) -> Cell:
    """A plain value as a cell: floats with four digits after the point, None and NaN as a dash."""
    if value is None or value != value:
        return Cell("–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no", str(value).lower())
    if isinstance(value, int):
        return Cell(f"{value:,}", value)
    if isinstance(value, float):
        return Cell(number(value), value)
    return Cell(str(value), str(value) or None)


def number(value: float) -> str:
    """A number with four digits after the point, as a power of ten where that would be little or nothing."""
    if value != 0 and abs(value) < 0.001:
        return f"{value:.2e}"
    return f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def rounded(value: float | None, digits: int) -> Cell | None:
    """A number with so many digits after the point; nothing where it is not known."""
    return None if value is None else Cell(f"{value:,.{digits}f}", value)


def _heading(column: Column, sortable: bool) -> str:
    name, kind = escape(column.name), ' class="number"' if column.number else ""
    if not sortable:
        return f'<th scope="col"{kind}>{name}</th>'
    return f'<th scope="col" aria-sort="none"{kind}><button type="button">{name}</button></th>'


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    parts = []
    for i, (column, entry) in enumerate(zip(columns, row, strict=True)):
        kinds = {"number": column.number, "texts": column.wide, "strong": entry.strong}
        kind = " ".join(name for name, holds in kinds.items() if holds)
        marks = f' class="{kind}"' if kind else ""
        marks += "" if entry.value is None else f' data-value="{escape(str(entry.value))}"'
        marks += "" if entry.group is None else f' data-group="{escape(entry.group)}"'
        text = escape(entry.text) + (f"<small>{escape(entry.below)}</small>" if entry.below else "")
        parts.append(f'<th scope="row"{marks}>{text}</th>' if i == 0 else f"<td{marks}>{text}</td>")
    return "".join(parts)


def _filters(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], chosen: Sequence[int], search: bool
) -> str:
    if not rows or not (chosen or search):
        return ""
    parts = []
    for i in chosen:
        values = sorted({row[i].choice for row in rows} - {None})
        options = "".join(f"<option>{escape(value)}</option>" for value in ["all", *values])
        options = options.replace("<option>", '<option value="">', 1)
        parts.append(f'<label>{escape(columns[i].name)} <select data-column="{i}">{options}</select></label>')
    if search:
        parts.append('<label>search <input type="search"></label>')
    return f'<div class="filters">{" ".join(parts)} <output>{len(rows)} rows</output></div>'
