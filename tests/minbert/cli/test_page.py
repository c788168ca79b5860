"""HTML pages: escaping, sections, tables, what stands beside each other; numbers as they are shown.

Run: pytest tests/minbert/cli/test_page.py
"""

import re

import pytest

from minbert.cli.page import (
    Cell,
    Column,
    Tile,
    bullets,
    difference,
    duration,
    facts,
    figure,
    folded,
    headline,
    number,
    page,
    paragraph,
    score,
    section,
    side_by_side,
    table,
    tabs,
)


def test_all_that_is_shown_is_escaped():
    text = "<i>&\"'\x1b[2J\ud800"
    columns = [Column(text, choose=True), text]
    shown = [
        table(
            text, columns, [[Cell(text, text, text, group=text, tint=text), text]], search=True, title=text
        ),
        facts(text, {text: text}),
        bullets([text], text),
        tabs({text: [paragraph(text)]}),
        folded(text, paragraph(text)),
        figure(text, text, "<svg></svg>"),
    ]
    whole = page(text, text, [section(text, *shown)], headline([Tile(*[text] * 4)], {text: text}))
    assert "<i>" not in whole and "\x1b" not in whole
    assert whole.count(r"&lt;i&gt;&amp;&#34;&#39;\x1b[2J\ud800") >= 30
    whole.encode("utf-8")


def test_a_long_name_wraps_at_its_dots_and_underscores():
    shown = table("", ["model.hidden_<b_prob\x1b", "0.5"], []) + headline([Tile("a_b", 12345)], {})
    assert r"model.<wbr>hidden_&lt;b_<wbr>prob\x1b" in shown and ">0.5<" in shown
    assert "a_<wbr>b</dt><dd>12,345" in shown


def test_a_section_without_parts_is_left_out():
    empty = section("nothing here", side_by_side(), tabs({}), bullets([]))
    whole = page("title", "", [empty, section("full", paragraph("a")), section("next", paragraph("b"))])
    assert "nothing here" not in whole and '<a href="#section-0">full</a>' in whole


@pytest.mark.parametrize(
    ("count", "lengths"), [(1, [1]), (2, [2]), (3, [3]), (4, [2, 2]), (5, [2, 3]), (7, [2, 2, 3])]
)
def test_rows_are_of_about_the_same_length(count, lengths):
    parts = [figure(f"number {place}", "", "<svg></svg>") for place in range(count)]
    lines = side_by_side("", *parts).split('<div class="row">')[1:]
    assert [line.count("<figure") for line in lines] == lengths
    assert re.findall(r"number (\d)</strong>", "".join(lines)) == [*map(str, range(count))]


def test_two_figures_in_a_page_share_no_id():
    svg = '<svg><defs><path id="a"/></defs><use href="#a"/><g clip-path="url(#a)"/></svg>'
    first, second = (figure(title, "", svg) for title in ("one", "two"))
    ids, links = (
        [set(re.findall(pattern, plot)) for plot in (first, second)]
        for pattern in (r'\bid="([^"]+)"', r'(?:href="|url\()#([^")]+)')
    )
    assert not ids[0] & ids[1]
    assert all(own and own <= known for own, known in zip(links, ids, strict=True))


def test_numbers_have_few_digits_and_a_real_minus():
    assert [number(value) for value in (12.1849, 0.0123456, -1e-5, 4961.7, 0.0)] == [
        *("12.2", "0.0123", "−1e−05", "4,962", "0")
    ]
    assert [score(value) for value in (0.62471, -0.0004, -0.5, 1.0)] == ["0.625", "0.000", "−0.500", "1.000"]
    assert [difference(value) for value in (0.0004, -0.0004, 0.0036, -0.1)] == [
        *("0.000", "0.000", "+0.004", "−0.100")
    ]
    assert [duration(value) for value in (0.44, 12.1849, 91.2, 7000)] == [
        *("0.4 s", "12 s", "1.5 minutes", "1.9 hours")
    ]
