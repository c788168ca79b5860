"""Fixtures for the tests of reports: a made-up table, a made-up search, a tiny run, and their pages."""

import json
import math
import random
from pathlib import Path

import pytest

from multitask import RunConfig, train
from multitask.experiments.report.report import write_report

pytest.importorskip("matplotlib")

CODE = '</script><script>document.title = "taken"</script><b>bold</b> & "quotes"'
COLUMNS = ["sst.accuracy", "paraphrase.accuracy", "sts.pearson", "overall_2024", "mean_raw"]
ENVIRONMENT = {"torch": "2.13.0", "threads": 1}


def scores_of(sst: float, paraphrase: float, sts: float) -> dict[str, float]:
    overall = (sst + paraphrase + (sts + 1) / 2) / 3, (sst + paraphrase + sts) / 3
    return dict(zip(COLUMNS, (sst, paraphrase, sts, *overall), strict=True))


def ablation_row(place: int, draw: random.Random) -> dict:
    """A row with three seeds; the last but one has a failed cell, the last has nothing else."""
    cells = []
    for seed in (1, 2, 3):
        failed = place == 4 or (place == 3 and seed == 2)
        own = scores_of(*(base + 0.01 * place + draw.gauss(0, 0.004) for base in (0.45, 0.72, 0.8)))
        cells.append(
            {
                "seed": seed,
                "key": f"{place}{seed}" * 20,
                "state": "failed" if failed else "finished",
                "error": f"the loss is nan {CODE}" if failed else None,
                "scores": {} if failed else own,
                "seconds": None if failed else 40.0 + 10 * place + seed,
            }
        )
    done = [cell["scores"] for cell in cells if cell["scores"]]
    means = {name: sum(own[name] for own in done) / len(done) for name in COLUMNS if done}
    return {
        "name": ["heads only", "LoRA first:4", f"cost $5 {CODE}", "full", "a name " * 12][place],
        "about": "what it is",
        "set": {"optim.lr": 2e-5} if place else {},
        "published": None,
        "cells": cells,
        "scores": {name: {"mean": mean, "sd": 0.0123, "n": len(done)} for name, mean in means.items()},
        "costs": {
            "trained_parameters": 7700 * 10**place if done else None,
            "parameters": 77_000_000,
            "seconds_per_epoch": 20.5,
            "peak_memory": 2**30,
            "tokens_per_second": 9000.0,
            "epochs": 3,
        },
    }


@pytest.fixture(scope="session")
def ablation() -> dict:
    """What table.json holds: a baseline, significant and other differences, a failed row, hostile names."""
    draw = random.Random(1)
    rows = [ablation_row(place, draw) for place in range(5)]
    for row in rows[1:4]:
        row["differences"] = {}
        for name in COLUMNS:
            mean = row["scores"][name]["mean"] - rows[0]["scores"][name]["mean"]
            row["differences"][name] = {
                "mean": mean,
                "low": mean - 0.015,
                "high": mean + 0.015,
                "significant": mean > 0.015,
                "why": None if mean > 0.015 else "the interval holds 0",
            }
    unknown = {"mean": 0.01, "low": None, "high": None, "significant": None, "why": "one seed only"}
    rows[1]["differences"]["sst.accuracy"] = unknown
    rows[3]["published"] = {
        "overall": 0.683,
        "formula": "mean_raw",
        "scores": {"sst.accuracy": 0.529},
        "overall_2024": 0.7014,
        "mean_raw": 0.6762,
        "note": "printed with another formula",
    }
    return {
        "kind": "ablation",
        "title": f"Methods {CODE}",
        "about": "Ways of fine-tuning.",
        "baseline": "heads only",
        "seeds": [1, 2, 3],
        "split": "dev",
        "limit": 400,
        "created": "2025-01-01T00:00:00+00:00",
        "environment": ENVIRONMENT,
        "command": "multitask ablate methods",
        "columns": COLUMNS,
        "rows": rows,
        "notes": ["2 rows rejected"],
        "level": 0.95,
        "resamples": 10000,
    }


@pytest.fixture(scope="session")
def search() -> dict:
    """What search.json holds: 24 trials of every state over a log scale, whole numbers and choices."""
    draw, trials = random.Random(2), []
    parameters = {
        "optim.lr": {"kind": "float", "low": 1e-6, "high": 1e-3, "log": True, "choices": None},
        "lora.rank": {"kind": "int", "low": 2, "high": 32, "log": False, "choices": None},
        "sampling": {
            "kind": "choice",
            "low": None,
            "high": None,
            "log": False,
            "choices": ["annealed", CODE],
        },
    }
    for place in range(24):
        state = {3: "failed", 23: "running"}.get(place, "pruned" if place % 6 == 5 else "complete")
        given = {
            "optim.lr": 10 ** draw.uniform(-6, -3),
            "lora.rank": draw.randint(2, 32),
            "sampling": draw.choice(["annealed", CODE]),
        }
        value = 0.7 - 0.02 * (math.log10(given["optim.lr"]) + 4.5) ** 2
        trials.append(
            {
                "number": place,
                "state": state,
                "value": value if state == "complete" else None,
                "parameters": {} if state == "running" else given,
                "seconds": None if state == "running" else 30.0 + place,
                "error": CODE if state == "failed" else None,
                "scores": {"sst.accuracy": value - 0.2, "overall_2024": value} if state == "complete" else {},
                "steps": [[10, value - 0.1], [20, value]] if state in ("complete", "pruned") else [],
            }
        )
    best = max((trial for trial in trials if trial["value"]), key=lambda trial: trial["value"])
    return {
        "kind": "search",
        "title": "Rates",
        "about": "What matters.",
        "sampler": "tpe",
        "metric": "overall_2024",
        "direction": "maximize",
        "created": "2025-01-01T00:00:00+00:00",
        "environment": ENVIRONMENT,
        "command": "multitask search rates",
        "parameters": parameters,
        "trials": trials,
        "best": {key: best[key] for key in ("number", "value", "parameters")},
        "importance": {"optim.lr": 0.8, "lora.rank": 0.15, "sampling": 0.05},
        "notes": [],
    }


@pytest.fixture(scope="session")
def pages(tmp_path_factory, ablation, search, tiny_folder, tiny_data) -> dict[str, Path]:
    """The three pages, each in the folder that it is about."""
    folder = tmp_path_factory.mktemp("pages")
    values = {
        "weights": str(tiny_folder),
        "data": str(tiny_data),
        "out": str(folder / "run"),
        "device": "cpu",
        "threads": 1,
        "sampling": "together",
        "gradients": {"conflicts_every": 2},
        "train": {"epochs": 1, "batch_size": 8},
        "tasks": {"sst": {}, "paraphrase": {}, "sts": {}},
    }
    train(RunConfig.from_dict(values))
    for name, content in (("table", ablation), ("search", search)):
        (folder / name).mkdir()
        (folder / name / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return {name: write_report(folder / name) for name in ("run", "table", "search")}
