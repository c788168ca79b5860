"""The pages of ablations and searches, without a browser: which folder has one, and what text becomes."""

import json
import re
import shutil

import pytest

from minbert import InputError
from multitask.cli.main import run as multitask
from multitask.experiments.report.charts import chart, short
from multitask.experiments.report.html import (
    Cell,
    Column,
    bullets,
    facts,
    figure,
    figures,
    page,
    paragraph,
    section,
    table,
)
from multitask.experiments.report.report import write_report

pytest.importorskip("matplotlib")


def test_only_folders_of_the_three_kinds_have_a_page(tmp_path):
    with pytest.raises(InputError, match="has none of config.json, table.json, search.json"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        write_report(tmp_path / "none")
    (tmp_path / "table.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        write_report(tmp_path)
    (tmp_path / "table.json").write_text('{"kind": "search", "columns": [], "rows": []}')
    with pytest.raises(InputError, match='needs "kind": "ablation"'):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_tables_without_any_result_are_pages_too(ablation, search, tmp_path):
    """As at the start: no cell is finished, no trial complete, nothing is known."""
    rows = [
        row | {"cells": [cell | {"state": "missing"} for cell in row["cells"]], "scores": {}, "costs": {}}
        for row in ablation["rows"]
    ]
    rows = [{key: value for key, value in row.items() if key != "differences"} for row in rows]
    (tmp_path / "table.json").write_text(json.dumps(ablation | {"rows": rows, "notes": []}))
    assert "Cells that are not finished" in write_report(tmp_path).read_text(encoding="utf-8")
    (tmp_path / "table.json").unlink()
    empty = search | {"trials": search["trials"][-1:], "best": None, "importance": None}
    (tmp_path / "search.json").write_text(json.dumps(empty))
    assert "No trial is complete yet" in write_report(tmp_path).read_text(encoding="utf-8")


def test_the_command_needs_nothing_but_one_file_and_writes_where_it_is_told(pages, tmp_path, capsys):
    out = tmp_path / "out" / "page.html"
    for name in ("table", "search"):
        shutil.copy(pages[name].parent / f"{name}.json", tmp_path)
        multitask(["report", str(tmp_path), "--out", str(out), "--without-texts"])
        assert out.read_text() == pages[name].read_text()
        (tmp_path / f"{name}.json").unlink()
    assert capsys.readouterr().out == f"wrote {out}\n" * 2
    with pytest.raises(InputError, match="at least 1"):
        multitask(["report", "x", "--threads", "0"])


def test_all_that_is_shown_is_escaped():
    text = "<i>&\"'"
    columns = [Column(text, choose=True), text]
    shown = [
        table(text, columns, [[Cell(text, text, text, group=text), text]], search=True),
        facts(text, {text: text}),
        bullets([text], text),
        paragraph(text),
        figure(text, text, lambda axes: axes.set(xlabel=text)),
    ]
    whole = page(text, text, [section(text, *shown)])
    assert "<i>" not in whole and '<i>&"' not in whole
    assert whole.count("&lt;i&gt;&amp;&#34;&#39;") >= 15


def test_a_section_without_parts_is_left_out():
    whole = page("title", "", [section("empty", figures(), bullets([])), section("full", paragraph("text"))])
    assert "empty" not in whole and '<a href="#section-0">full</a>' in whole


def test_a_plot_has_the_same_bytes_again_and_takes_any_name():
    def draw(axes):
        axes.plot([1, 2], [3, 4], label="$x_ costs $5 漢 <b>")
        axes.set(xlabel="$\\frac$")
        axes.legend()

    assert chart(draw) == chart(draw)
    svg = chart(draw)
    assert svg.startswith("<svg") and svg.endswith("</svg>")
    assert "http" not in svg and "metadata" not in svg and "<b>" not in svg


def test_two_plots_in_a_page_share_no_id():
    first, second = (figure(title, "", lambda axes: axes.plot([1, 2])) for title in ("one", "two"))
    ids, links = (
        [set(re.findall(pattern, plot)) for plot in (first, second)]
        for pattern in (r'\bid="([^"]+)"', r'(?:href="|url\()#([^")]+)')
    )
    assert not ids[0] & ids[1]
    assert all(own and own <= known for own, known in zip(links, ids, strict=True))


def test_long_names_are_cut_for_plots():
    assert short("LoRA first:4") == "LoRA first:4"
    assert short("a name " * 12, 20).count("\n") == 1 and short("a name " * 12, 20).endswith("…")
