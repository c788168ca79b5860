"""Fixtures for the tests of reports: a made-up table, a made-up search, a tiny run, and their pages."""

import csv
import json
import math
import random
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from multitask import RunConfig, train
from multitask.experiments.ablation.cells import Cell
from multitask.experiments.ablation.compute_cell import failure
from multitask.experiments.ablation.definition import Ablation, Row, published_scores
from multitask.experiments.ablation.summary import summarize_table
from multitask.experiments.report.report import write_report

pytest.importorskip("matplotlib")

CODE = '</script><script>document.title = "taken"</script><b>bold</b> & "quotes"'
NAMES = ["heads only", "LoRA first:4", f"cost $5 {CODE}", "full", "a name " * 12]
TASKS = ("sst", "paraphrase", "sts")


class Tables(HTMLParser):
    """The tables of a page: {id: rows of (text, data-value)}; and all tags with their attributes."""

    def __init__(self, page: Path):
        super().__init__()
        self.tables, self.tags, self._name, self._cell = {}, [], None, None
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag == "div" and attributes.get("class", "").split()[:1] == ["table"]:
            self._name = attributes.get("id")
            self.tables[self._name] = []
        elif tag == "tr" and self._name is not None:
            self.tables[self._name].append([])
        elif tag in ("td", "th") and self._name is not None:
            self._cell = ["", attributes.get("data-value")]
            self.tables[self._name][-1].append(self._cell)

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell[0] += data

    def rows(self, name: str) -> list[list[tuple[str, str | None]]]:
        """The rows of a table without its heading."""
        return [[tuple(cell) for cell in row] for row in self.tables[name][1:]]


@pytest.fixture(scope="session")
def tables_of():
    """The function `tables_of(page)` -> Tables."""
    return Tables


@pytest.fixture(scope="session")
def ablation(cell_record) -> dict:
    """A table.json of five rows with hostile names; the last but one has a failed cell, the last no other."""
    draw, config = np.random.default_rng(1), SimpleNamespace(limit=400)
    given = {"overall": 0.683, "sst": 0.529, "paraphrase": 0.738, "sts": 0.782, "note": "another formula"}
    published = {"full": published_scores(given)}
    rows = tuple(Row(name, "", {"optim": {"lr": 1e-5}}, published.get(name), config) for name in NAMES)
    cells, records = [], {}
    for place, name in enumerate(NAMES):
        for seed in (1, 2, 3):
            cells.append(Cell(name, seed, config, f"{place}{seed}"))
            record = cell_record(draw, 0.1 * place, seconds=40.0 + 10 * place + seed)
            record["costs"] |= {"trained_parameters": 4 * 10**place, "parameters": 80_000}
            failed = place == 4 or (place == 3 and seed == 2)
            records[cells[-1].key] = failure(name, seed, f"the loss is nan {CODE}") if failed else record
    table = Ablation(f"Methods {CODE}", "Ways of fine-tuning.", "heads only", (1, 2, 3), rows)
    return json.loads(json.dumps(summarize_table(table, cells, records, "multitask ablate methods")))


@pytest.fixture(scope="session")
def search() -> dict:
    """A search.json: 24 trials of every state over a log scale, whole numbers and choices."""
    draw, trials = random.Random(2), []
    keys, choices = ("kind", "low", "high", "log", "choices"), ["annealed", CODE]
    parameters = {
        "optim.lr": dict(zip(keys, ("float", 1e-6, 1e-3, True, None), strict=True)),
        "lora.rank": dict(zip(keys, ("int", 2, 32, False, None), strict=True)),
        "sampling": dict(zip(keys, ("choice", None, None, False, choices), strict=True)),
    }
    for place in range(24):
        state = {3: "failed", 23: "running"}.get(place, "pruned" if place % 6 == 5 else "complete")
        points = 10 ** draw.uniform(-6, -3), draw.randint(2, 32), draw.choice(choices)
        given = dict(zip(parameters, points, strict=True))
        value = 0.7 - 0.02 * (math.log10(given["optim.lr"]) + 4.5) ** 2
        trial = {"number": place, "state": state, "value": None, "parameters": given, "scores": {}}
        trial |= {"steps": [], "seconds": 30.0 + place, "error": CODE if state == "failed" else None}
        if state == "complete":
            trial |= {"value": value, "scores": {"sst.accuracy": value - 0.2, "overall_2024": value}}
        if state in ("complete", "pruned"):
            trial["steps"] = [[10, value - 0.1], [20, value]]
        if state == "running":
            trial["seconds"] = None
        trials.append(trial)
    best = max((trial for trial in trials if trial["value"]), key=lambda trial: trial["value"])
    facts = {"kind": "search", "title": "Rates", "about": "Effects.", "sampler": "tpe", "notes": []}
    facts |= {"created": "2025-01-01T00:00:00+00:00", "environment": {"torch": "2.13.0", "threads": 1}}
    facts |= {"metric": "overall_2024", "direction": "maximize", "command": "multitask search rates"}
    facts |= {"importance": {"optim.lr": 0.8, "lora.rank": 0.15, "sampling": 0.05}}
    best = {key: best[key] for key in ("number", "value", "parameters")}
    return facts | {"parameters": parameters, "trials": trials, "best": best}


@pytest.fixture(scope="session")
def hostile() -> str:
    return '</script><script>document.title = "taken"</script><img src=x onerror=alert(1)> & "quotes" \''


@pytest.fixture(scope="session")
def data(tmp_path_factory, tiny_data, hostile) -> Path:
    """The tiny data with a text in each dev file that would be code if it were not escaped."""
    folder = shutil.copytree(tiny_data, tmp_path_factory.mktemp("hostile") / "data")
    for path in folder.glob("*-dev.csv"):
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t"))
        text = next(i for i, name in enumerate(rows[0]) if name.startswith("sentence"))
        for row in rows[1:4]:
            row[text] = hostile
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
    return folder


@pytest.fixture(scope="session")
def folder(tiny_folder, data, tmp_path_factory) -> Path:
    """A run of the three tasks with records of gradient conflict. To be read only, but for its page."""
    out = tmp_path_factory.mktemp("report") / "run"
    values = {"weights": str(tiny_folder), "data": str(data), "out": str(out), "device": "cpu"}
    values |= {"threads": 1, "sampling": "together", "gradients": {"conflicts_every": 2}}
    values |= {"train": {"epochs": 2, "batch_size": 8}, "optim": {"lr": 1e-3, "head_lr": 1e-2}}
    train(RunConfig.from_dict(values | {"tasks": {name: {} for name in TASKS}}))
    return out


@pytest.fixture(scope="session")
def pages(tmp_path_factory, ablation, search, folder) -> dict[str, Path]:
    """The three pages, each in the folder that it is about."""
    folders = {"run": folder}
    for name, content in (("table", ablation), ("search", search)):
        folders[name] = tmp_path_factory.mktemp(name)
        (folders[name] / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return {name: write_report(folders[name]) for name in folders}
