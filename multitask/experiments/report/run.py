"""The page of a run: scores, costs, training, predictions, errors, data, sentence vectors, configuration."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert import InputError, read_json_object
from multitask.config.option_types import flat
from multitask.config.run_folder import ENVIRONMENT
from multitask.experiments.report import html
from multitask.experiments.report.curves import conflict_section, training_section
from multitask.experiments.report.data import data_section
from multitask.experiments.report.embeddings import embedding_section
from multitask.experiments.report.errors import error_section
from multitask.experiments.report.html import Section, facts, paragraph, rounded, section, text_column
from multitask.experiments.report.predictions import Predicted, predict_split, prediction_section
from multitask.inference.run import Run, load_run
from multitask.metrics.scores import overall_scores
from multitask.runtime.tracking import read_metrics

FORMULAS = (
    "overall_2024 = (SST + Para + (STS + 1) / 2) / 3 and mean_raw = (SST + Para + STS) / 3 are both called "
    "overall elsewhere; compare like with like."
)


def run_page(folder: Path, data: str | Path | None, split: str, with_texts: bool, device: str) -> str:
    """Renders the page. Raises InputError if `folder` is not a run's, and for given data that are missing."""
    run = load_run(folder, device)
    records = read_metrics(folder / "metrics.jsonl")
    predicted, examined = {}, []
    try:
        with run.data_folder(data) as source:
            predicted, notes = predict_split(run, source, split, with_texts)
            examined = [
                prediction_section(predicted, split),
                error_section(predicted, with_texts),
                data_section(run, source),
                embedding_section(run, predicted),
            ]
    except InputError as error:
        if data is not None:
            raise
        predicted, notes = {}, [f"nothing is predicted: {error}"]  # the curves are worth a page without it
    sections = [
        _score_section(run, predicted, split, notes),
        training_section(run, records),
        conflict_section(records),
        *examined,
        _configuration_section(run),
    ]
    limit = run.config.limit
    part = "" if limit is None else f", {limit:,} random examples of each split only"
    about = f"Tasks {', '.join(run.config.tasks)}; predictions on {split}{part}."
    return html.page(f"Run {folder.resolve().name}", about, sections)


def _score_section(run: Run, predicted: Mapping[str, Predicted], split: str, notes: Sequence[str]) -> Section:
    """Scores as recorded with the run and as computed for this page, both overall scores, and costs."""
    recorded = dict(run.scores.get("scores", {}))  # of the best checkpoint
    found = {name: entry.scores() for name, entry in predicted.items() if entry.rows}
    overall = run.scores.get("overall", {}), overall_scores(found)
    each = [(task, recorded.get(task, {}), found.get(task, {})) for task in {**recorded, **found}]
    rows = [
        (task, metric, old.get(metric), now.get(metric))
        for task, old, now in [*each, ("all", *overall)]
        for metric in {**old, **now}
    ]
    step = f", step {run.scores['step']}" if "step" in run.scores else ""
    caption = (
        f"Shares of 1, or correlations from -1 to 1; recorded: in scores.json, on "
        f"{run.scores.get('split', 'dev')}{step}; now: on {split}, for this page"
    )
    columns = (text_column("task"), text_column("score"), "recorded", "now")
    tables = [html.table(caption, columns, rows, "scores")]
    if run.scores.get("costs"):
        tables.append(facts("What the run cost", _costs(run.scores), "costs"))
    parts = [html.beside(*tables)]
    if not run.scores:
        parts.append(paragraph("The run is not finished: it has no scores.json yet.", "note"))
    if any(overall):
        parts.append(paragraph(FORMULAS, "soft"))
    else:
        parts.append(paragraph("There is no overall score: it needs sst, paraphrase and sts.", "note"))
    return section("Scores and costs", *parts, html.bullets([*run.scores.get("notes", ()), *notes]))


def _costs(scores: Mapping[str, Any]) -> dict[str, Any]:
    costs = scores["costs"]
    return {
        "epochs": rounded(costs["epochs"], 2),
        "seconds of training, without evaluations": rounded(costs["training_seconds"], 1),
        "seconds in all": rounded(scores["seconds"], 1),
        "tokens read in training": costs["tokens"],
        "tokens a second of training": rounded(costs["tokens"] / costs["training_seconds"], 0),
        "parameters trained": costs["trained_parameters"],
        "parameters": costs["parameters"],
        "% of the parameters trained": rounded(100 * costs["trained_parameters"] / costs["parameters"], 2),
        "peak memory, MiB": rounded(costs["peak_memory"] / 2**20, 0),
    }


def _configuration_section(run: Run) -> Section:
    values = _texts(run.config.to_dict())
    parts = [facts("Every value in force, null where nothing is set", values, "configuration", search=True)]
    path = run.folder / "environment.json"
    if path.is_file():
        environment = _texts(read_json_object(path, ENVIRONMENT, "train anew"))
        parts.append(facts("Where it ran; data files by their SHA-256", environment, "environment"))
    return section("Configuration", *parts)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested values under dotted names, as JSON would show them."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in flat(values).items()}
