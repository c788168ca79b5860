"""A finished table as Markdown, CSV and LaTeX: the numbers of table.json, rounded and escaped."""

import csv
import io
import re

import pytest

from multitask.experiments.ablation.formats import csv_text, latex, markdown


def row(name, scores=None, differences=None, published=None, costs=None, error=None):
    state = "failed" if error else "finished"
    own = {} if error else {"sst.accuracy": 0.51, "overall_2024": 0.6}
    cells = [{"seed": seed, "state": state, "error": error, "scores": own} for seed in (1, 2)]
    given = {"scores": scores or {}, "differences": differences or {}, "costs": costs or {}}
    return {"name": name, "published": published, "cells": cells} | given


@pytest.fixture
def summary():
    costs = {"trained_parameters": 1234567, "seconds_per_epoch": 12.34, "peak_memory": 5e8}
    costs |= {"tokens_per_second": 9e3, "parameters": 2e6, "epochs": 3}
    published = {"overall": 0.683, "formula": "mean_raw", "overall_2024": 0.7193}
    published |= {"scores": {"sst.accuracy": 0.529}}
    difference = {"mean": -0.1154, "low": -0.2, "high": -0.01, "significant": True, "why": None}
    bare, single = difference | {"mean": 0.1, "low": None, "high": None}, {"mean": 0.6, "sd": None, "n": 1}
    full = {"sst.accuracy": {"mean": 0.5154, "sd": 0.00712, "n": 2}, "overall_2024": single}
    other = {"sst.accuracy": {"mean": 0.4, "sd": 0.1, "n": 2}}
    rows = [
        row("full", full, costs=costs),
        row("50 % | a_b", other, {"sst.accuracy": difference, "overall_2024": bare}, published, costs),
        row("broken", error="InputError: the loss is nan"),
    ]
    facts = {"title": "A | B & C_1", "about": "About.", "command": "multitask ablate x", "baseline": "full"}
    facts |= {"seeds": [1, 2], "split": "dev", "limit": 1500, "level": 0.95, "resamples": 10_000}
    return facts | {"columns": ["sst.accuracy", "overall_2024"], "rows": rows, "notes": ["2 of 6 cells"]}


def test_markdown_has_the_rounded_numbers(summary):
    text = markdown(summary)
    assert "| row | SST acc | overall_2024 | trained | s/epoch | peak MB | tokens/s |" in text
    assert "| full | 0.515 ± 0.007 | 0.600 | 1,234,567 | 12.3 | 500 | 9,000 |" in text
    assert "| 50 % \\| a_b | −0.115 [−0.200, −0.010]* | +0.100 |" in text
    assert "| 50 % \\| a_b | 0.529 | 0.719 | 0.683 | mean_raw |" in text
    assert "| broken | - | - | - | - | - | - |" in text
    assert "1,500 random examples of each split" in text and "10,000 resamples" in text
    assert text.count("the loss is nan") == 1, "one line for one error"
    assert "failed: broken, seeds 1, 2: InputError: the loss is nan" in text
    for block in text.split("\n\n"):
        if block.startswith("| "):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_latex_escapes_and_balances(summary):
    text = latex(summary)
    assert r"50 \% \textbar{} a\_b & $-$0.115 [$-$0.200, $-$0.010]* & +0.100 \\" in text
    assert r"0.515 $\pm$ 0.007" in text and r"overall\_2024" in text
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 3
    assert text.count(r"\caption{A \textbar{} B \& C\_1: ") == 3 and text.count(r"\toprule") == 3
    assert set(re.findall(r"\\label{(.*)}", text)) == {
        *("tab:a-b-c-1-scores", "tab:a-b-c-1-differences", "tab:a-b-c-1-published")
    }
    assert next(line for line in text.splitlines() if line.startswith("full")).count("&") == 6


def test_csv_has_a_line_for_each_score_and_seed_in_full(summary):
    rows = list(csv.reader(csv_text(summary).splitlines()))
    assert rows[0] == ["row", "seed", "state", "score", "value"]
    assert rows[1] == ["full", "1", "finished", "sst.accuracy", "0.51"]
    assert len(rows) == 1 + 3 * 2 * 2 and rows[-1][2:] == ["failed", "overall_2024", ""]


def test_hostile_names_are_escaped_everywhere(summary):
    name = "=1+1\x1b[2J\n\\end{tabular}"
    hostile = summary | {"title": name, "about": name, "command": name, "notes": [name], "baseline": name}
    hostile["rows"] = [row(name, {"sst.accuracy": {"mean": -0.0001, "sd": 0.1, "n": 2}}, error="\n% x")]
    lines = list(csv.reader(io.StringIO(csv_text(hostile))))[1:]
    assert {line[0] for line in lines} == {"'=1+1\\x1b[2J\n\\end{tabular}"}
    tex, plain = latex(hostile), markdown(hostile)
    assert "\x1b" not in tex + plain + csv_text(hostile)
    code = [line for line in tex.splitlines() if not line.startswith("% ")]
    assert code.count(r"\end{tabular}") == 1 and sum(r"\end{tabular}" in line for line in code) == 1
    assert not any("% x" in line for line in code)
    assert "0.000 ± 0.100" in plain and "-0.000" not in tex + plain


@pytest.mark.parametrize("name", ["[bracket", "*star"])
def test_a_line_end_in_latex_takes_no_name_as_its_own(summary, name):
    text = latex(summary | {"rows": [row("full"), row(name)]})
    assert f"\n{{}}{name} & " in text
