"""Plots as SVG for a page: text as outlines, colors for light and dark, the same bytes for the same data.

Needs matplotlib.
"""

import re
import textwrap
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO

from minbert import InputError, printable
from minbert.cli.page import figure as page_figure
from multitask.inference.chart_style import DARK, STYLE, css_color

WIDTH, HEIGHT = 5.2, 3.5  # inches; 374 units wide, so that a narrow screen shows text at 10 pixels
MARKERS = "osD^vP*XhdpH"


def require_matplotlib() -> None:
    """Raises InputError where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise InputError('a report needs matplotlib; pip install "minbert[experiments]"')


def figure(title: str, guide: str, draw: Callable, height: float = HEIGHT, width: float | None = None) -> str:
    """A figure of a page with what `draw(axes)` draws; sizes in inches.

    One with a width of its own gets a row of its own, which scrolls.
    """
    return page_figure(title, guide, chart(draw, height, width or WIDTH), wide=width is not None)


def chart(draw: Callable, height: float = HEIGHT, width: float = WIDTH) -> str:
    """An <svg> element with what `draw(axes)` draws; sizes in inches."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the tables have the name
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        buffer = StringIO()
        figure.savefig(buffer, format="svg", transparent=True)
    return _inline(buffer.getvalue())


def _inline(svg: str) -> str:
    """The <svg> element alone, sized and colored by the page, without what only XML needs."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s*<style type="text/css">.*?</style>', "", svg, flags=re.DOTALL)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda found: css_color(found[0]) if found[0] in DARK else found[0], svg)
    head, _, rest = svg.partition(">")
    head = re.sub(r'\s(?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", head)
    return f"{head}>{rest}".replace("xlink:href", "href")


def short(text: object, width: int = 26) -> str:
    """A name as two lines at the most, for a tick or a legend; the tables have it whole."""
    lines = textwrap.wrap(printable(str(text)), width, break_long_words=True) or [""]
    return "\n".join(lines[:2]) + ("…" if len(lines) > 2 else "")


def legend_below(axes, columns: int = 2) -> None:
    """A legend under the plot, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns)
