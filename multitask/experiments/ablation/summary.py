"""From the records of a table's cells to the table: means over seeds, differences, what it cost."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np

from multitask.experiments.ablation.cells import Cell
from multitask.experiments.ablation.definition import Ablation, Row, flat
from multitask.experiments.ablation.statistics import LEVEL, RESAMPLES, bootstrap, difference, summarize
from multitask.metrics import overall_scores

COURSE = {"sst": "sst.accuracy", "paraphrase": "paraphrase.accuracy", "sts": "sts.pearson"}
OVERALL = ("overall_2024", "mean_raw")
ENVIRONMENT = ("minbert", "git", "torch", "python", "platform", "device", "threads")
Records = Mapping[str, Mapping[str, Any]]  # by the cells' keys


def summarize_table(
    ablation: Ablation, cells: Sequence[Cell], records: Records, command: str = "", resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The table as table.json holds it; docs/experiments.md describes its form."""
    by_row = {row.name: [cell for cell in cells if cell.row == row.name] for row in ablation.rows}
    finished = {key: record for key, record in records.items() if record["state"] == "finished"}
    scores = {key: cell_scores(record) for key, record in finished.items()}
    columns = _columns(scores[cell.key] for cell in cells if cell.key in scores)
    replicates = _replicates(finished, columns, resamples)
    notes = _notes(cells, finished)
    baseline = _by_seed(by_row[ablation.baseline], scores), _by_seed(by_row[ablation.baseline], replicates)
    rows = []
    for row in ablation.rows:
        ours = _by_seed(by_row[row.name], scores), _by_seed(by_row[row.name], replicates)
        rows.append(
            {
                "name": row.name,
                "about": row.about,
                "set": flat(row.changes),
                "published": row.published,
                "cells": [_cell_facts(cell, records, scores) for cell in by_row[row.name]],
                "scores": _means(ours[0], columns),
                "differences": {} if row.name == ablation.baseline else _differences(ours, baseline, columns),
                "costs": _costs([finished[c.key] for c in by_row[row.name] if c.key in finished]),
            }
        )
    environments = [record["environment"] for record in finished.values()]
    config = cells[0].config
    return {
        "kind": "ablation",
        "title": ablation.title,
        "about": ablation.about,
        "baseline": ablation.baseline,
        "seeds": list(ablation.seeds),
        "split": "dev",
        "limit": config.limit,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "environment": {k: environments[0].get(k) for k in ENVIRONMENT} if environments else {},
        "command": command,
        "columns": columns,
        "rows": rows,
        "notes": notes,
        "level": LEVEL,
        "resamples": resamples,
    }


def cell_scores(record: Mapping[str, Any]) -> dict[str, float]:
    """A cell's scores by column; those that are no numbers are left out."""
    tasks = {name: {entry["metric"]: entry["value"]} for name, entry in record["tasks"].items()}
    flat_scores = {f"{task}.{metric}": v for task, entry in tasks.items() for metric, v in entry.items()}
    found = {name: value for name, value in flat_scores.items() if value is not None}
    complete = {task: entry for task, entry in tasks.items() if None not in entry.values()}
    return found | overall_scores(complete)


def _columns(all_scores: Iterable[Mapping[str, float]]) -> list[str]:
    """Each task's score in the order of the course, then of the tables; the overall scores last."""
    names = list(dict.fromkeys(name for scores in all_scores for name in scores))
    course = [name for name in COURSE.values() if name in names]
    others = [name for name in names if name not in {*course, *OVERALL}]
    return course + others + [name for name in OVERALL if name in names]


def _replicates(
    finished: Records, columns: Sequence[str], resamples: int
) -> dict[str, dict[str, np.ndarray]]:
    """Each cell's scores on the same resampled dev examples: key -> column -> (R,).

    Without those of a task that rows were scored on with different examples, which a note says.
    """
    found: dict[str, dict[str, np.ndarray]] = {key: {} for key in finished}
    for number, column in enumerate(columns):
        task = column.partition(".")[0]
        groups: dict[str, dict[str, Mapping[str, Any]]] = {}
        for key, record in finished.items():
            entry = record["tasks"].get(task)
            if (
                entry
                and entry["kind"]
                and entry["value"] is not None
                and f"{task}.{entry['metric']}" == column
            ):
                groups.setdefault(entry["examples"], {})[key] = entry
        if len(groups) == 1:
            for key, values in bootstrap(*groups.values(), resamples, seed=number).items():
                found[key][column] = values
    for columns_of_cell in found.values():
        if all(name in columns_of_cell for name in COURSE.values()):
            parts = {task: {name.partition(".")[2]: columns_of_cell[name]} for task, name in COURSE.items()}
            columns_of_cell |= overall_scores(parts)
    return found


def _by_seed(cells: Sequence[Cell], found: Mapping[str, Any]) -> dict[int, Any]:
    return {cell.seed: found[cell.key] for cell in cells if cell.key in found}


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


def _means(by_seed: Mapping[int, Mapping[str, float]], columns: Sequence[str]) -> dict[str, Any]:
    values = {name: [scores[name] for scores in by_seed.values() if name in scores] for name in columns}
    return {name: asdict(summarize(entries)) for name, entries in values.items() if entries}


def _differences(ours: tuple, baseline: tuple, columns: Sequence[str]) -> dict[str, Any]:
    found = {}
    for name in columns:
        four = [
            {seed: entry[name] for seed, entry in part.items() if name in entry}
            for part in (ours[0], baseline[0], ours[1], baseline[1])
        ]
        result = difference(*four)
        if result is not None:
            found[name] = asdict(result)
    return found


def _costs(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the row's cells; peak memory is the highest."""
    costs = [record["costs"] for record in records]
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
    """What a reader must know before trusting the table."""
    notes = []
    for fact in ("device", "torch", "threads", "platform"):
        values = sorted({str(record["environment"].get(fact)) for record in finished.values()})
        if len(values) > 1:
            notes.append(
                f"cells ran with different {fact}: {', '.join(values)}; small differences may be its"
            )
    tasks = {name for record in finished.values() for name in record["tasks"]}
    for task in sorted(tasks):
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
    """What a row changes, in one line."""
    return ", ".join(f"{key} = {value}" for key, value in flat(row.changes).items()) or "the base"
