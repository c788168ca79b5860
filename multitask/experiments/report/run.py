"""The page of a run: scores, costs, how it was trained, what it gets wrong, and what its vectors are like."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert import InputError
from multitask.experiments.report.curves import conflict_section, training_section
from multitask.experiments.report.data import data_section
from multitask.experiments.report.embeddings import embedding_section
from multitask.experiments.report.errors import error_section
from multitask.experiments.report.page import (
    Column,
    Section,
    beside,
    bullets,
    facts,
    page,
    paragraph,
    rounded,
    table,
)
from multitask.experiments.report.predictions import Predicted, predict_split, prediction_section
from multitask.metrics import overall_scores
from multitask.run import Run, load_run
from multitask.tracking import read_metrics

MEBIBYTE = 2**20


def run_page(folder: Path, data: str | Path | None, split: str, with_texts: bool, device: str) -> str:
    """The page's HTML. Raises InputError for a folder that is no run, and for given data that are missing."""
    run = load_run(folder, device)
    records = read_metrics(folder / "metrics.jsonl")
    predicted, notes, examined = _examine(run, data, split, with_texts)
    sections = [
        score_section(run, predicted, split, notes),
        training_section(run, records),
        conflict_section(records),
        *examined,
        _configuration_section(run),
    ]
    about = f"Tasks {', '.join(run.config.tasks)}; predictions on {split}"
    if run.config.limit is not None:
        about += f", the first {run.config.limit:,} examples of each split only"
    return page(f"Run {folder.resolve().name}", f"{about}.", [part for part in sections if part is not None])


def _examine(
    run: Run, data: str | Path | None, split: str, with_texts: bool
) -> tuple[dict[str, Predicted], list[str], list[Section | None]]:
    """What is predicted on the split, notes on what is not, and the sections that need the data."""
    try:
        with run.data_folder(data) as source:
            predicted, notes = predict_split(run, source, split, with_texts)
            sections = [
                prediction_section(predicted, split),
                error_section(predicted, with_texts),
                data_section(run, source),
                embedding_section(run, predicted),
            ]
            return predicted, notes, sections
    except InputError as error:
        if data is not None:
            raise
        return {}, [f"nothing is predicted: {error}"], []  # the curves are worth a page without the data


def score_section(run: Run, predicted: Mapping[str, Predicted], split: str, notes: Sequence[str]) -> Section:
    """Scores as the run has them and as they are found now, both overall scores by name, and costs."""
    recorded = {
        task: dict(values) for task, values in run.scores.get("scores", {}).items()
    }  # of the best checkpoint
    found = {name: entry.scores() for name, entry in predicted.items() if entry.rows}
    rows = []
    for task in {**recorded, **found}:
        for metric in {**recorded.get(task, {}), **found.get(task, {})}:
            values = (recorded.get(task, {}).get(metric), found.get(task, {}).get(metric))
            rows.append((task, metric, *values))
    overall = overall_scores(found)
    for name in {**run.scores.get("overall", {}), **overall}:
        rows.append(("all", name, run.scores.get("overall", {}).get(name), overall.get(name)))
    step = f", step {run.scores['step']}" if "step" in run.scores else ""
    columns = (
        Column("task", number=False),
        Column("score", number=False),
        "recorded",
        "now",
    )
    caption = (
        f"Shares of 1, or correlations from -1 to 1; recorded: in scores.json, on "
        f"{run.scores.get('split', 'dev')}{step}; now: on {split}, for this page"
    )
    tables = [table(caption, columns, rows, "scores")]
    if run.scores.get("costs"):
        tables.append(facts("What the run cost", _costs(run.scores), "costs"))
    body = beside(*tables)
    if not run.scores:
        body += paragraph("The run is not finished: it has no scores.json yet.", "note")
    if not (run.scores.get("overall") or overall):
        body += paragraph("There is no overall score: it needs sst, paraphrase and sts.", "note")
    else:
        body += paragraph(
            "overall_2024 = (SST + Para + (STS + 1) / 2) / 3 and mean_raw = (SST + Para + STS) / 3 are both "
            "called overall elsewhere; compare like with like.",
            "soft",
        )
    body += bullets([*run.scores.get("notes", ()), *notes])
    return Section("Scores and costs", body)


def _costs(scores: Mapping[str, Any]) -> dict[str, Any]:
    costs = scores["costs"]
    seconds, tokens = costs.get("training_seconds"), costs.get("tokens")
    trained, all = costs.get("trained_parameters"), costs.get("parameters")
    memory = costs.get("peak_memory")
    return {
        "epochs": rounded(costs.get("epochs"), 2),
        "seconds of training, without evaluations": rounded(seconds, 1),
        "seconds in all": rounded(scores.get("seconds"), 1),
        "tokens read in training": tokens,
        "tokens a second of training": rounded(tokens / seconds if tokens and seconds else None, 0),
        "parameters trained": trained,
        "parameters": all,
        "% of the parameters trained": rounded(
            100 * trained / all if trained is not None and all else None, 2
        ),
        "peak memory, MiB": rounded(memory / MEBIBYTE if memory is not None else None, 0),
    }


def _configuration_section(run: Run) -> Section:
    body = facts(
        "Every value in force, null where nothing is set",
        _flat(run.config.to_dict()),
        "configuration",
        search=True,
    )
    path = run.folder / "environment.json"
    if path.is_file():
        environment = _flat(json.loads(path.read_text(encoding="utf-8")))
        body += facts("Where it ran; data files by their SHA-256", environment, "environment")
    return Section("Configuration", body)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values under dotted names, as JSON would show them."""
    found = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found
