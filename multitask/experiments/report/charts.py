"""Plots as SVG for a page: one look, text as outlines, the same bytes for the same data. Needs matplotlib."""

import re
import textwrap
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO

from minbert import InputError

WIDTH, HEIGHT = 5.2, 3.5  # inches; 374 units wide, so that a narrow screen shows text at 10 pixels
# Distinct for the colour-blind too, after Okabe & Ito and Paul Tol.
PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#a6761d", "#332288", "#aa4499", "#44aa99"),
    *("#661100", "#888888", "#117733"),
)
MARKERS = "osD^vP*XhdpH"
GREY = "#8a8f98"
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.fonttype": "path",
    "svg.hashsalt": "minbert",
    "text.parse_math": False,  # a name with dollar signs is no formula
}


def require_matplotlib() -> None:
    """Raises InputError where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise InputError('a report needs matplotlib; pip install "minbert[experiments]"')


def chart(draw: Callable, height: float = HEIGHT, width: float = WIDTH) -> str:
    """An <svg> element with what `draw(axes)` draws; sizes in inches."""
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE | {"axes.prop_cycle": cycler(color=PALETTE)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the tables have the name
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        buffer = StringIO()
        figure.savefig(buffer, format="svg")
    return _inline(buffer.getvalue())


def _inline(svg: str) -> str:
    """The <svg> element alone, sized by the page, without metadata and the names that only XML needs."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s*<style type="text/css">.*?</style>', "", svg, flags=re.DOTALL)
    head, _, rest = svg.partition(">")
    head = re.sub(r'\s(?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", head)
    return f"{head}>{rest}".replace("xlink:href", "href")


def short(text: object, width: int = 26) -> str:
    """A name as two lines at the most, for a tick or a legend; the tables have it whole."""
    lines = textwrap.wrap(str(text), width, break_long_words=True) or [""]
    return "\n".join(lines[:2]) + ("…" if len(lines) > 2 else "")


def legend_below(axes, columns: int = 2) -> None:
    """A legend under the plot, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns)
