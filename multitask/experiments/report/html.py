"""The HTML of a report: text, figures, and tables that sort and filter, in one file that loads nothing.

Templates escape every text; what these functions return is safe to be put into a page.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader

from multitask.experiments.report.charts import HEIGHT, WIDTH, chart

_LOADER = PackageLoader("multitask.experiments.report")
_TEMPLATES = Environment(loader=_LOADER, autoescape=True, trim_blocks=True, lstrip_blocks=True)
_BLOCKS = _TEMPLATES.get_template("blocks.html").module


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, the value that it is sorted by, a second line, and whether it is highlighted.

    `value` is None where a number is unknown; such cells come last. A filter uses `group`, else `value`.
    """

    text: str
    value: Any = None
    below: str = ""
    strong: bool = False
    group: str | None = None

    @property
    def choice(self) -> str | None:
        """The cell's name in a filter."""
        return str(self.value) if self.group is None and self.value is not None else self.group


@dataclass(frozen=True)
class Column:
    """A table's column: numbers, or text, which wraps if `wide`; `choose` offers its values as a filter."""

    name: str
    number: bool = True
    choose: bool = False
    wide: bool = False


def text_column(name: str, choose: bool = False, wide: bool = False) -> Column:
    return Column(name, False, choose, wide)


class Section(NamedTuple):
    """A part of a page with its own entry in the table of contents."""

    title: str
    parts: tuple[str, ...]


def section(title: str, *parts: str) -> Section:
    """Makes a section of parts that are not empty; without any it is left out of the page."""
    return Section(title, tuple(filter(None, parts)))


def page(title: str, about: str, sections: Iterable[Section]) -> str:
    """Renders the whole file. Its policy forbids the browser to load anything and to run any other script."""
    script = _LOADER.get_source(_TEMPLATES, "report.js")[0]
    return _TEMPLATES.get_template("page.html").render(
        title=title,
        about=about,
        sections=[section for section in sections if section.parts],
        script=script,
        digest=b64encode(sha256(script.encode()).digest()).decode(),
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return _BLOCKS.paragraph(text, kind)


def bullets(lines: Sequence[str], summary: str = "") -> str:
    """A list of plain texts, folded under a summary if one is given; empty for no lines."""
    if not lines:
        return ""
    return _BLOCKS.folded(summary, lines) if summary else _BLOCKS.bullets(lines)


def figure(title: str, guide: str, draw: Any, height: float = HEIGHT, width: float | None = None) -> str:
    """Draws a plot by `draw(axes)`, with its title and a guide to reading it as caption and as ARIA label.

    Sizes are in inches; a plot with a width of its own gets a row of its own, which scrolls.
    """
    svg = chart(draw, height, width or WIDTH)
    prefix = "f" + sha256(f"{title}{svg}".encode()).hexdigest()[:8]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", svg)  # an id is unique in a page
    return _BLOCKS.figure(title, guide, svg.removeprefix("<svg"), width is not None)


def figures(*parts: str) -> str:
    """Figures side by side where there is room; empty without any."""
    return _BLOCKS.box("figures", parts) if parts else ""


def beside(*parts: str) -> str:
    """Tables side by side where there is room; empty without any."""
    return _BLOCKS.box("beside", parts) if parts else ""


def table(
    caption: str,
    columns: Sequence[Column | str],
    rows: Iterable[Sequence[Any]],
    name: str = "",
    search: bool = False,
    sortable: bool = True,
) -> str:
    """A table in a box of its own that scrolls; the first column heads its row.

    Entries are Cells or plain values, see `cell`. `name` is the table's id; `search` filters by words.
    """
    columns = [Column(column) if isinstance(column, str) else column for column in columns]
    return _BLOCKS.table(caption, columns, [list(map(cell, row)) for row in rows], name, search, sortable)


def facts(caption: str, values: Mapping[str, Any], name: str = "", search: bool = False) -> str:
    """A table of two columns, names and values."""
    columns = (text_column("name"), text_column("value", wide=True))
    return table(caption, columns, values.items(), name, search, sortable=False)


def origin(values: Mapping[str, Any]) -> str:
    """A table of the command, the time and the environment of an ablation or a search."""
    found = {"created": values["created"], "command": values["command"]} | values["environment"]
    return facts("Command and environment", {key: value for key, value in found.items() if value})


def cell(value: Any) -> Cell:
    """Converts a plain value: floats with four digits after the point, None and NaN as a dash."""
    if isinstance(value, Cell):
        return value
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
    """Formats a number with four digits after the point, small ones as a power of ten."""
    if value != 0 and abs(value) < 0.001:
        return f"{value:.2e}"
    return f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def rounded(value: float | None, digits: int) -> Cell | None:
    """Formats a number with so many digits after the point; None stays None."""
    return None if value is None else Cell(f"{value:,.{digits}f}", value)
