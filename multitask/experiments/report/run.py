"""The page of a run: a headline, then scores, training, predictions, errors, data, vectors, configuration."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert import InputError, read_json_object
from minbert.cli.page import (
    Cell,
    Section,
    Tile,
    bullets,
    duration,
    facts,
    folded,
    headline,
    number,
    page,
    paragraph,
    section,
    side_by_side,
    table,
    text_column,
)
from multitask.config.option_types import flat
from multitask.config.run_folder import ENVIRONMENT
from multitask.experiments.report.curves import conflict_section, score_cell, training_section
from multitask.experiments.report.data import data_section
from multitask.experiments.report.embeddings import embedding_section
from multitask.experiments.report.errors import error_section
from multitask.experiments.report.origin import environment
from multitask.experiments.report.predictions import predict_split, prediction_section
from multitask.inference.chart_style import css_color, task_colors
from multitask.inference.model_card import changed_keys
from multitask.inference.run import Run, load_run
from multitask.metrics.scores import overall_scores
from multitask.runtime.tracking import read_metrics

FORMULAS = (
    "overall_2024 = (SST + Para + (STS + 1) / 2) / 3 and mean_raw = (SST + Para + STS) / 3 are both called "
    "overall elsewhere; compare like with like."
)
OVERALL_MEANS = {"overall_2024": "mean with (STS + 1) / 2", "mean_raw": "mean with STS as it is"}
OFF_BY_ONE = "off_by_one: the share of predictions that are the true class or one beside it."
SAME = 5e-4  # scores that differ by less look alike


def run_page(folder: Path, data: str | Path | None, split: str, with_texts: bool, device: str) -> str:
    """Renders the page. Raises InputError if `folder` is not a run's, and for given data that are missing."""
    run = load_run(folder, device)
    records = read_metrics(folder / "metrics.jsonl")
    predicted, examined = {}, []
    try:
        with run.data_folder(data) as source:
            predicted, notes = predict_split(run, source, split, with_texts)
            examined = [
                prediction_section(run, predicted, split),
                error_section(predicted, with_texts),
                data_section(run, source),
                embedding_section(run, predicted),
            ]
    except InputError as error:
        if data is not None:
            raise
        predicted, notes = {}, [f"nothing is predicted: {error}"]  # the curves are worth a page without it
    found = {name: entry.scores() for name, entry in predicted.items() if entry.rows}
    sections = [
        _score_section(run, found, split, notes),
        training_section(run, records),
        *examined,
        conflict_section(run, records),
        _configuration_section(run),
    ]
    return page(f"Run {folder.resolve().name}", "", sections, _headline(run, found, split, records))


def _headline(run: Run, found: Mapping[str, Any], split: str, records: Sequence[Mapping[str, Any]]) -> str:
    """Overall scores and the main score of each task, as recorded if they are; where they come from."""
    scores, config = run.scores, run.config
    recorded = scores.get("scores", {})
    values, overall = (recorded, scores["overall"]) if recorded else (found, overall_scores(found))
    colors = task_colors([*config.tasks, *values])
    tiles = [Tile(name, score_cell(value), OVERALL_MEANS[name]) for name, value in overall.items()]
    for name, own in values.items():
        metric = run.model.tasks[name].primary_metric if name in run.model.tasks else next(iter(own), "")
        if metric in own:
            tiles.append(Tile(name, score_cell(own[metric]), metric, css_color(colors[name])))
    last = max((record["step"] for record in records if "step" in record), default=None)
    facts = {
        "scores on": scores.get("split", "dev") if recorded else split,
        "examples of each split at most": None if config.limit is None else f"{config.limit:,}",
        "best step": f"{scores['step']:,} of {last:,}" if "step" in scores and last is not None else None,
        "weights": config.weights,
        "seed": config.train.seed,
        "time": duration(scores["seconds"]) if "seconds" in scores else None,
    }
    return headline(tiles, facts)


def _score_section(run: Run, found: Mapping[str, Any], split: str, notes: Sequence[str]) -> Section:
    """All scores, as recorded with the run and as computed for this page if these differ, and costs."""
    recorded = dict(run.scores.get("scores", {}))  # of the best checkpoint
    overall = run.scores.get("overall", {}), overall_scores(found)
    each = [(task, recorded.get(task, {}), found.get(task, {})) for task in {**recorded, **found}]
    rows = [
        (task, metric, old.get(metric), now.get(metric))
        for task, old, now in [("all", *overall), *each]
        for metric in {**old, **now}
    ]
    on = run.scores.get("split", "dev")
    again = split == on and recorded and all(_alike(old, now) for *_, old, now in rows)
    columns = [
        text_column("task"),
        text_column("score"),
        *([on] if again else [f"{on}, recorded", f"{split}, now"]),
    ]
    caption = "Shares of 1, or correlations from −1 to 1; higher is better"
    if again:
        caption += "; predicting anew gave the same scores" if found else "; as recorded"
    elif recorded:
        caption += "; recorded with the run, and predicted now for this page"
    shown = [
        [task, metric, *map(score_cell, (old, now)[: len(columns) - 2])] for task, metric, old, now in rows
    ]
    tables = [table(caption, columns, shown, "scores")]
    if run.scores.get("costs"):
        tables.append(facts("What the run cost", _costs(run.scores), "costs"))
    parts = [side_by_side(*tables)]
    if not run.scores:
        parts.append(paragraph("The run is not finished: it has no scores.json yet.", "note"))
    if any(overall):
        parts.append(paragraph(FORMULAS, "soft"))
    else:
        parts.append(paragraph("There is no overall score: it needs sst, paraphrase and sts.", "note"))
    if any(metric == "off_by_one" for _, metric, *_ in rows):
        parts.append(paragraph(OFF_BY_ONE, "soft"))
    return section("Scores and costs", *parts, bullets([*run.scores.get("notes", ()), *notes]))


def _alike(old: float | None, now: float | None) -> bool:
    """True for a score that was found again, or was not computed for the page."""
    if old is None:
        return False
    return now is None or abs(old - now) < SAME or (old != old and now != now)


def _costs(scores: Mapping[str, Any]) -> dict[str, Any]:
    costs = scores["costs"]
    share = 100 * costs["trained_parameters"] / costs["parameters"]
    return {
        "epochs": float(costs["epochs"]),
        "time in all": Cell(duration(scores["seconds"]), scores["seconds"]),
        "training, without evaluations": Cell(duration(costs["training_seconds"]), costs["training_seconds"]),
        "tokens read in training": costs["tokens"],
        "tokens a second": costs["tokens"] / costs["training_seconds"],
        "parameters": costs["parameters"],
        "parameters trained": Cell(
            f"{costs['trained_parameters']:,} ({number(share)} %)", costs["trained_parameters"]
        ),
        "peak memory": Cell(f"{costs['peak_memory'] / 2**20:,.0f} MiB", costs["peak_memory"]),
    }


def _configuration_section(run: Run) -> Section:
    """Shows values that differ from the defaults; folded all in force, and where the run was trained."""
    changed = [(key, _text(now), _text(usual)) for key, now, usual in changed_keys(run.config)]
    columns = (text_column("key"), text_column("value", wide=True), text_column("default", wide=True))
    parts = [paragraph("All settings are at their defaults.")]
    if changed:
        parts = [
            table("Settings that differ from their defaults", columns, changed, "changed", kind="stacked")
        ]
    values = {key: _text(value) for key, value in flat(run.config.to_dict()).items()}
    everything = facts("", values, "configuration", search=True)
    parts.append(folded(f"All {len(values)} values in force", everything))
    path = run.folder / "environment.json"
    if path.is_file():
        parts.append(environment(read_json_object(path, ENVIRONMENT, "train anew")))
    return section("Configuration", *parts)


def _text(value: Any) -> str:
    """A value as a configuration file has it."""
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)
