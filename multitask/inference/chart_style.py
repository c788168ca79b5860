"""The look of all charts, on pages and as PNG: sizes, and one color a task. No matplotlib here.

Each color has a lighter twin for dark pages; all of them keep a contrast of 3 to 1 to what they stand on.
"""

from collections.abc import Iterable

INK, GREY, GRID, PAPER = "#1d2330", "#7c828d", "#d9dde4", "#ffffff"
ACCENT, ALERT = "#3b4fc4", "#b3261e"  # what belongs to no task; what is on the other side of zero
# Hues that are distinct for the color-blind too, after Okabe & Ito and Paul Tol.
_TASKS = {
    "#0072b2": "#5cb3ee",
    "#d05a00": "#ff9351",
    "#00855f": "#3ecf9e",
    "#b8528c": "#eb97c6",
    "#5b3fa8": "#ab96f7",
    "#8a6100": "#d9ae4c",
    "#117f8c": "#56cbd8",
    "#5f7a12": "#b4cf5f",
    "#a1332b": "#f58f85",
}
DARK = _TASKS | {
    INK: "#e4e7ed",
    GREY: "#99a1ae",
    GRID: "#363c47",
    PAPER: "#14171d",
    ACCENT: "#919dff",
    ALERT: "#f2877f",
}
COURSE = ("sst", "paraphrase", "sts")  # have the first colors in every run
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "legend.handlelength": 2.7,  # a dashed line with a marker shows its dashes
    "lines.linewidth": 1.4,
    "svg.fonttype": "path",
    "svg.hashsalt": "minbert",
    "text.parse_math": False,  # a name with dollar signs is no formula
}


def task_colors(tasks: Iterable[str]) -> dict[str, str]:
    """Returns the color of each task: fixed for those of the course, in the run's order for others."""
    palette = [*_TASKS]
    names = dict.fromkeys([*COURSE, *tasks])
    return {name: palette[place % len(palette)] for place, name in enumerate(names)}


def css_color(color: str) -> str:
    """Returns a color of this file for a page that is light or dark."""
    return f"light-dark({color}, {DARK[color]})"
