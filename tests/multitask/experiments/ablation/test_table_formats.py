"""A finished table as Markdown, CSV and LaTeX: the numbers of table.json, rounded and escaped."""

import csv

import pytest

from multitask.experiments.ablation.formats import (
    FORMATS,
    difference_text,
    latex,
    markdown,
    score_text,
)


def cell(seed, **changes):
    scores = {"sst.accuracy": 0.5 + seed / 100, "overall_2024": 0.6}
    return {"seed": seed, "state": "finished", "error": None, "scores": scores} | changes


FAILED = {"state": "failed", "error": "InputError: the loss is nan", "scores": {}}


@pytest.fixture
def summary():
    costs = {
        "trained_parameters": 1234567,
        "seconds_per_epoch": 12.34,
        "peak_memory": 5e8,
        "tokens_per_second": 9e3,
    }
    costs |= {"parameters": 2e6, "epochs": 3}
    published = {
        "overall": 0.683,
        "formula": "mean_raw",
        "scores": {"sst.accuracy": 0.529},
        "overall_2024": 0.7193,
    }
    return {
        "title": "A | B & C_1",
        "about": "About.",
        "baseline": "full",
        "seeds": [1, 2],
        "split": "dev",
        "limit": 1500,
        "columns": ["sst.accuracy", "overall_2024"],
        "rows": [
            {
                "name": "full",
                "published": None,
                "cells": [cell(1), cell(2)],
                "scores": {
                    "sst.accuracy": {"mean": 0.5154, "sd": 0.00712, "n": 2},
                    "overall_2024": {"mean": 0.6, "sd": None, "n": 1},
                },
                "differences": {},
                "costs": costs,
            },
            {
                "name": "50 % | a_b",
                "published": published,
                "cells": [cell(1), cell(2)],
                "scores": {"sst.accuracy": {"mean": 0.4, "sd": 0.1, "n": 2}},
                "differences": {
                    "sst.accuracy": {
                        "mean": -0.1154,
                        "low": -0.2,
                        "high": -0.01,
                        "significant": True,
                        "why": None,
                    }
                },
                "costs": costs,
            },
            {
                "name": "broken",
                "published": None,
                "cells": [cell(1, **FAILED), cell(2, **FAILED)],
                "scores": {},
                "differences": {},
                "costs": {},
            },
        ],
        "notes": ["2 of 6 cells have no scores"],
        "level": 0.95,
        "resamples": 10_000,
        "command": "multitask ablate x",
    }


def test_markdown_holds_the_rounded_numbers(summary):
    text = markdown(summary)
    assert "| row | SST acc | overall_2024 | trained | s/epoch | peak MB | tokens/s |" in text
    assert "| full | 0.515 ± 0.007 | 0.600 | 1,234,567 | 12.3 | 500 | 9,000 |" in text
    assert "| 50 % \\| a_b | -0.115 [-0.200, -0.010]* | - |" in text
    assert "| 50 % \\| a_b | 0.529 | 0.719 | 0.683 | mean_raw |" in text
    assert "| broken | - | - | - | - | - | - |" in text
    assert "the first 1,500 examples of each split" in text and "10,000 resamples" in text
    assert text.count("the loss is nan") == 1, "one line for one error"
    assert "failed: broken, seed 1; broken, seed 2: InputError: the loss is nan" in text


def test_every_line_of_a_table_has_as_many_cells(summary):
    for block in markdown(summary).split("\n\n"):
        if block.startswith("| "):
            counts = {line.replace("\\|", "").count("|") for line in block.splitlines()}
            assert len(counts) == 1


def test_latex_escapes_and_balances(summary):
    text = latex(summary)
    assert r"50 \% | a\_b & -0.115 [-0.200, -0.010]*" in text
    assert r"0.515 $\pm$ 0.007" in text and r"overall\_2024" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    body = [line for line in text.splitlines() if line.endswith(r"\\") and "full" in line]
    assert body[0].count("&") == 6


def test_csv_has_a_line_for_each_score_and_seed_in_full(summary, tmp_path):
    FORMATS["table.csv"](summary, tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    assert rows[0] == {
        "row": "full",
        "seed": "1",
        "state": "finished",
        "score": "sst.accuracy",
        "value": "0.51",
    }
    assert rows[-1]["state"] == "failed" and rows[-1]["value"] == ""


def test_texts_of_single_entries():
    assert score_text(None) == difference_text(None) == "-"
    assert score_text({"mean": 0.1234, "sd": None, "n": 1}) == "0.123"
    entry = {"mean": 0.1, "low": None, "high": None, "significant": None, "why": "x"}
    assert difference_text(entry) == "+0.100"
    assert difference_text(entry | {"low": 0.05, "high": 0.15}) == "+0.100 [+0.050, +0.150]"
