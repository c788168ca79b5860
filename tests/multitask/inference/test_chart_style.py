"""The colors of charts: distinct, the same for a task in every run, readable on light and on dark pages.

Run: pytest tests/multitask/inference/test_chart_style.py
"""

import pytest

from multitask.inference.chart_style import DARK, GRID, PAPER, css_color, task_colors


def luminance(color: str) -> float:
    """WCAG 2.2's relative luminance."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(color: str, other: str) -> float:
    low, high = sorted((luminance(color), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("color", sorted({*DARK} - {GRID, PAPER}))
def test_a_mark_is_seen_on_a_light_and_on_a_dark_page(color):
    assert contrast(color, PAPER) >= 3 and contrast(DARK[color], DARK[PAPER]) >= 3


def test_a_task_keeps_its_color():
    few, many = task_colors(["sts"]), task_colors(["ner", "sts", "news", "sst"])
    assert few["sts"] == many["sts"] and many["ner"] == task_colors(["paraphrase", "ner"])["ner"]
    assert len({*many.values()}) == len(many) == 5
    assert css_color(few["sts"]) == f"light-dark({few['sts']}, {DARK[few['sts']]})"
    assert {*task_colors(map(str, range(40))).values()} < {*DARK}  # they begin anew
