"""Fixtures for the tests of reports: a made-up table, a made-up search, a tiny run, and their pages."""

import csv
import json
import math
import random
import shutil
from pathlib import Path

import pytest

from multitask import RunConfig, train
from multitask.experiments.report.report import write_report

pytest.importorskip("matplotlib")

CODE = '</script><script>document.title = "taken"</script><b>bold</b> & "quotes"'
COLUMNS = ["sst.accuracy", "paraphrase.accuracy", "sts.pearson", "overall_2024", "mean_raw"]
NAMES = ["heads only", "LoRA first:4", f"cost $5 {CODE}", "full", "a name " * 12]
MADE = {"created": "2025-01-01T00:00:00+00:00", "environment": {"torch": "2.13.0", "threads": 1}}
TASKS = ("sst", "paraphrase", "sts")


def ablation_row(place: int, draw: random.Random) -> dict:
    """A row with three seeds; the last but one has a failed cell, the last has nothing else."""
    cells = []
    for seed in (1, 2, 3):
        failed = place == 4 or (place == 3 and seed == 2)
        sst, paraphrase, sts = (base + 0.01 * place + draw.gauss(0, 0.004) for base in (0.45, 0.72, 0.8))
        overall = (sst + paraphrase + (sts + 1) / 2) / 3, (sst + paraphrase + sts) / 3
        scores = {} if failed else dict(zip(COLUMNS, (sst, paraphrase, sts, *overall), strict=True))
        facts = {"state": "finished", "error": None, "seconds": 40.0 + 10 * place + seed}
        if failed:
            facts = {"state": "failed", "error": f"the loss is nan {CODE}", "seconds": None}
        cells.append({"seed": seed, "key": f"{place}{seed}" * 20, "scores": scores} | facts)
    done = [cell["scores"] for cell in cells if cell["scores"]]
    means = {name: sum(own[name] for own in done) / len(done) for name in COLUMNS if done}
    costs = {"trained_parameters": 7700 * 10**place if done else None, "parameters": 77_000_000, "epochs": 3}
    costs |= {"seconds_per_epoch": 20.5, "peak_memory": 2**30, "tokens_per_second": 9000.0}
    scores = {name: {"mean": mean, "sd": 0.0123, "n": len(done)} for name, mean in means.items()}
    row = {"name": NAMES[place], "about": "its description", "set": {"optim.lr": 2e-5} if place else {}}
    return row | {"published": None, "cells": cells, "scores": scores, "costs": costs}


@pytest.fixture(scope="session")
def ablation() -> dict:
    """A table.json: a baseline, significant and other differences, a failed row, hostile names."""
    draw = random.Random(1)
    rows = [ablation_row(place, draw) for place in range(5)]
    for row in rows[1:4]:
        row["differences"] = {}
        for name in COLUMNS:
            mean = row["scores"][name]["mean"] - rows[0]["scores"][name]["mean"]
            entry = {"mean": mean, "low": mean - 0.015, "high": mean + 0.015, "significant": mean > 0.015}
            row["differences"][name] = entry | {"why": None if mean > 0.015 else "the interval holds 0"}
    unknown = {"mean": 0.01, "low": None, "high": None, "significant": None, "why": "one seed only"}
    rows[1]["differences"]["sst.accuracy"] = unknown
    published = {"overall": 0.683, "formula": "mean_raw", "scores": {"sst.accuracy": 0.529}}
    rows[3]["published"] = published | {"overall_2024": 0.7014, "mean_raw": 0.6762, "note": "another formula"}
    facts = {"kind": "ablation", "title": f"Methods {CODE}", "about": "Ways of fine-tuning.", "split": "dev"}
    facts |= {"baseline": "heads only", "seeds": [1, 2, 3], "limit": 400, "level": 0.95, "resamples": 10000}
    facts |= {"command": "multitask ablate methods", "notes": ["2 rows rejected"]} | MADE
    return facts | {"columns": COLUMNS, "rows": rows}


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
            trial |= {"parameters": {}, "seconds": None}
        trials.append(trial)
    best = max((trial for trial in trials if trial["value"]), key=lambda trial: trial["value"])
    facts = {"kind": "search", "title": "Rates", "about": "Effects.", "sampler": "tpe", "notes": []} | MADE
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
