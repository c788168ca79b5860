"""Summarizes the records of a table's cells: means over seeds, differences to the baseline, costs, notes."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np

from multitask.config.option_types import flat
from multitask.experiments.ablation.cells import Cell
from multitask.experiments.ablation.definition import COURSE, Ablation, Row, overall_of
from multitask.experiments.ablation.statistics import LEVEL, RESAMPLES, bootstrap, difference, summarize

OVERALL = ("overall_2024", "mean_raw")
ENVIRONMENT = ("minbert", "git", "torch", "python", "platform", "device", "threads")
Records = Mapping[str, Mapping[str, Any]]  # by the cells' keys
Columns = dict[str, dict[int, Any]]  # a row's scores or replicates: column -> seed -> value


def summarize_table(
    ablation: Ablation, cells: Sequence[Cell], records: Records, command: str = ""
) -> dict[str, Any]:
    """Returns the content of table.json; docs/experiments.md describes its form."""
    finished = {key: record for key, record in records.items() if record["state"] == "finished"}
    scores = {key: cell_scores(record) for key, record in finished.items()}
    columns = _columns(scores[cell.key] for cell in cells if cell.key in scores)
    replicates = _replicates(finished, columns)
    by_row = {row.name: [cell for cell in cells if cell.row == row.name] for row in ablation.rows}

    def of_row(name: str, found: Mapping[str, Mapping[str, Any]]) -> Columns:
        given = {cell.seed: found[cell.key] for cell in by_row[name] if cell.key in found}
        return {c: {seed: own[c] for seed, own in given.items() if c in own} for c in columns}

    baseline = of_row(ablation.baseline, scores), of_row(ablation.baseline, replicates)
    rows = []
    for row in ablation.rows:
        own = of_row(row.name, scores)
        differences = {}
        if row.name != ablation.baseline:
            resampled = of_row(row.name, replicates)
            each = {c: difference(own[c], baseline[0][c], resampled[c], baseline[1][c]) for c in columns}
            differences = {name: asdict(found) for name, found in each.items() if found}
        rows.append(
            {
                "name": row.name,
                "about": row.about,
                "set": flat(row.changes),
                "published": row.published,
                "cells": [_cell_facts(cell, records, scores) for cell in by_row[row.name]],
                "scores": {c: summarize([*values.values()]) for c, values in own.items() if values},
                "differences": differences,
                "costs": _costs([finished[c.key]["costs"] for c in by_row[row.name] if c.key in finished]),
            }
        )
    environment = next((record["environment"] for record in finished.values()), None)
    return {
        "kind": "ablation",
        "title": ablation.title,
        "about": ablation.about,
        "baseline": ablation.baseline,
        "seeds": list(ablation.seeds),
        "split": "dev",
        "limit": cells[0].config.limit,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "environment": {key: environment.get(key) for key in ENVIRONMENT} if environment else {},
        "command": command,
        "columns": columns,
        "rows": rows,
        "notes": _notes(cells, finished),
        "level": LEVEL,
        "resamples": RESAMPLES,
    }


def cell_scores(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns a cell's finite scores by column, the overall scores where all their tasks have one."""
    entries = record["tasks"].items()
    scores = {f"{task}.{e['metric']}": e["value"] for task, e in entries if e["value"] is not None}
    return scores | overall_of(scores)


def _columns(all_scores: Iterable[Mapping[str, float]]) -> list[str]:
    """Orders the scores: those of the course's tasks, others as the tables have them, the overall scores."""
    names = dict.fromkeys(name for scores in all_scores for name in scores)
    course = [name for name in COURSE.values() if name in names]
    others = [name for name in names if name not in {*course, *OVERALL}]
    return course + others + [name for name in OVERALL if name in names]


def _replicates(finished: Records, columns: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Scores all cells on the same resampled dev examples: key -> column -> (R,).

    Tasks whose rows were scored on different examples are left out, which a note says.
    """
    found: dict[str, dict[str, np.ndarray]] = {key: {} for key in finished}
    for number, column in enumerate(columns):
        task, _, metric = column.partition(".")
        groups: dict[str, dict[str, Mapping[str, Any]]] = {}
        for key, record in finished.items():
            entry = record["tasks"].get(task)
            if entry and entry["kind"] and entry["value"] is not None and entry["metric"] == metric:
                groups.setdefault(entry["examples"], {})[key] = entry
        if len(groups) == 1:
            for key, values in bootstrap(*groups.values(), seed=number).items():
                found[key][column] = values
    return {key: own | overall_of(own) for key, own in found.items()}


def _cell_facts(cell: Cell, records: Records, scores: Mapping[str, Any]) -> dict[str, Any]:
    record = records.get(cell.key, {})
    return {
        "seed": cell.seed,
        "key": cell.key,
        "state": record.get("state", "missing"),
        "error": record.get("error"),
        "scores": scores.get(cell.key, {}),
        "seconds": record.get("seconds"),
    }


def _costs(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Averages the costs of a row's cells; peak memory is the highest."""
    if not costs:
        return {}
    return {
        "trained_parameters": costs[0]["trained_parameters"],
        "parameters": costs[0]["parameters"],
        "epochs": fmean(cost["epochs"] for cost in costs),
        "seconds_per_epoch": fmean(cost["training_seconds"] / cost["epochs"] for cost in costs),
        "tokens_per_second": fmean(cost["tokens"] / cost["training_seconds"] for cost in costs),
        "peak_memory": max(cost["peak_memory"] for cost in costs),
    }


def _notes(cells: Sequence[Cell], finished: Records) -> list[str]:
    """Returns notes on cells that are missing or cannot be compared."""
    notes = []
    for fact in ("device", "torch", "threads", "platform"):
        values = sorted({str(record["environment"].get(fact)) for record in finished.values()})
        if len(values) > 1:
            notes.append(
                f"cells ran with different {fact}: {', '.join(values)}; small differences may be its"
            )
    for task in sorted({name for record in finished.values() for name in record["tasks"]}):
        sets = {r["tasks"][task]["examples"] for r in finished.values() if task in r["tasks"]}
        if len(sets) > 1:
            notes.append(
                f"{task}: rows were scored on different examples and cannot be compared with each other"
            )
    missing = [cell for cell in cells if cell.key not in finished]
    if missing:
        notes.append(f"{len(missing)} of {len(cells)} cells have no scores")
    return notes


def describe_row(row: Row) -> str:
    """Returns in one line the keys that a row changes."""
    return ", ".join(f"{key} = {value}" for key, value in flat(row.changes).items()) or "the base"
