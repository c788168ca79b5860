"""The HTML of a page: text, figures, and tables that sort and filter, in one file that loads nothing.

Templates escape every text and write its control characters out; what these functions return is safe to be
put into a page.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader

from minbert.cli.page.numbers import number
from minbert.cli.shown_text import printable

_LOADER = PackageLoader("minbert.cli.page")
_TEMPLATES = Environment(
    loader=_LOADER,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: printable(value) if type(value) is str else value,
)
# A name may wrap behind its dots and underscores; 0.5 may not.
_TEMPLATES.filters["parts"] = lambda name: re.split(r"(?<=[^\W\d][._])(?=\w)", printable(name))
_BLOCKS = _TEMPLATES.get_template("blocks.html").module
_LONGEST_ROW = 3  # figures beside each other that can still be read in 1280 pixels


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, the value that it is sorted by, and a second line.

    `value` is None where a number is unknown; such cells come last. A filter uses `group`, else `value`.
    `kind` is "strong" for a cell that stands out, "soft" for a grey one. `tint` is the CSS color of its
    background, which is as strong as text can still be read for a `share` of 1.
    """

    text: str
    value: Any = None
    below: str = ""
    kind: str = ""
    group: str | None = None
    tint: str = ""
    share: float = 0.0

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


class Tile(NamedTuple):
    """One number of a headline: a Cell or a plain value; `color` is a CSS color."""

    name: str
    value: Any
    below: str = ""
    color: str = ""


class Section(NamedTuple):
    """A part of a page with its own entry in the table of contents."""

    title: str
    parts: tuple[str, ...]


def section(title: str, *parts: str) -> Section:
    """Makes a section of parts that are not empty; without any it is left out of the page."""
    return Section(title, tuple(filter(None, parts)))


def page(title: str, about: str, sections: Iterable[Section], head: str = "") -> str:
    """Renders the whole file. Its policy forbids the browser to load anything and to run any other script.

    `head`, a headline say, stands above the table of contents.
    """
    script = _LOADER.get_source(_TEMPLATES, "page.js")[0]
    return _TEMPLATES.get_template("page.html").render(
        title=title,
        about=about,
        head=head,
        sections=[section for section in sections if section.parts],
        script=script,
        digest=b64encode(sha256(script.encode()).digest()).decode(),
    )


def headline(tiles: Sequence[Tile], facts: Mapping[str, Any]) -> str:
    """The numbers that matter most, and below them the facts in one line that are not None or empty."""
    tiles = [tile._replace(value=cell(tile.value).text) for tile in tiles]
    return _BLOCKS.headline(tiles, {name: value for name, value in facts.items() if value not in (None, "")})


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return _BLOCKS.paragraph(text, kind)


def bullets(lines: Sequence[str], summary: str = "") -> str:
    """A list of plain texts, folded under a summary if one is given; empty for no lines."""
    if not lines:
        return ""
    return folded(summary, _BLOCKS.bullets(lines)) if summary else _BLOCKS.bullets(lines)


def folded(summary: str, *parts: str) -> str:
    """Parts that are shown once the summary is clicked."""
    return _BLOCKS.folded(summary, parts)


def tabs(parts: Mapping[str, Sequence[str]]) -> str:
    """Parts by the name of their tab, of which one is shown at a time; empty without any."""
    return _BLOCKS.tabs(parts) if parts else ""


def figure(title: str, guide: str, svg: str, wide: bool = False) -> str:
    """An <svg> element with a title and a guide to reading it, which are its caption and its ARIA label.

    A `wide` one has a row of its own, which scrolls.
    """
    prefix = "f" + sha256(printable(f"{title}{svg}").encode()).hexdigest()[:8]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", svg)  # an id is unique in a page
    return _BLOCKS.figure(title, guide, svg.removeprefix("<svg"), wide)


def side_by_side(*parts: str) -> str:
    """Figures and tables side by side where there is room, three at most; shorter rows come first."""
    parts = tuple(filter(None, parts))
    count = -(-len(parts) // _LONGEST_ROW)
    bounds = (len(parts) * place // count for place in range(count + 1) if count)
    return _BLOCKS.rows([parts[start:end] for start, end in pairwise(bounds)]) if parts else ""


def table(
    caption: str,
    columns: Sequence[Column | str],
    rows: Iterable[Sequence[Any]],
    name: str = "",
    search: bool = False,
    title: str = "",
    kind: str = "sorted",
) -> str:
    """A table in a box of its own that scrolls; the first column heads its row.

    Entries are Cells or plain values, see `cell`. `name` is the table's id; `search` filters by words. The
    kind is "sorted" for rows that a click on a heading sorts, "stacked" where besides a narrow screen shows
    the cells of a row below each other, "fixed" for rows in an order of their own, "facts" without headings.
    """
    columns = [Column(column) if isinstance(column, str) else column for column in columns]
    cells = [list(map(cell, row)) for row in rows]
    return _BLOCKS.table(caption, columns, cells, name, search, title, kind)


def facts(caption: str, values: Mapping[str, Any], name: str = "", search: bool = False) -> str:
    """A table of two columns, names and values."""
    columns = (text_column("name"), text_column("value", wide=True))
    return table(caption, columns, values.items(), name, search, kind="facts")


def cell(value: Any) -> Cell:
    """Converts a plain value: numbers with three significant digits, None and NaN as a dash."""
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
    if isinstance(value, list | tuple):
        return cell(", ".join(map(str, value)))
    return Cell(str(value), str(value) or None)
