"""What a search has found: its trials, the best one as a configuration file, which parameters mattered."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert import InputError, atomic_write
from multitask.config.run_config import RunConfig
from multitask.experiments.searches.settings import Settings
from multitask.experiments.searches.space import Point
from multitask.experiments.searches.storage import Kept, import_optuna, quiet_optuna, to_point

IMPORTANCE_TRIALS = 10  # complete ones, below which importance is noise
SHARE_OF_GOOD = 0.25  # importance: what tells the best quarter of the trials from all
SHOWN = 10  # trials in the printed table
NOT_OF_THE_BEST = ("weights", "data", "out", "limit", "threads")  # for `multitask train` to be given
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}


@dataclass(frozen=True)
class TrialResult:
    """A trial. `scores` by TASK.METRIC; `steps` are (step, value) of the first seed's evaluations."""

    number: int
    state: str  # complete, pruned, failed or running
    value: float | None
    parameters: Point
    seconds: float | None
    error: str | None
    scores: dict[str, float | None]
    steps: list[list[float | None]]


@dataclass(frozen=True)
class SearchResult:
    """A search as its study has it at present. `importance` sums to 1; None where it cannot be told."""

    folder: Path
    settings: Settings
    metric: str
    trials: tuple[TrialResult, ...]
    best: TrialResult | None
    importance: dict[str, float] | None
    notes: tuple[str, ...]

    @property
    def best_config(self) -> RunConfig:
        """The configuration of the best trial. Raises InputError where no trial is complete."""
        if self.best is None:
            raise InputError("no trial of the search is complete; see its trials for the errors")
        seeds = self.settings.seeds
        return self.settings.config(self.best.parameters, seed=seeds[0] if seeds else None)

    def as_dict(self) -> dict[str, Any]:
        """The content of search.json, apart from the environment."""
        best = self.best and {key: vars(self.best)[key] for key in ("number", "value", "parameters")}
        return {
            "kind": "search",
            "title": self.settings.title,
            "about": self.settings.about,
            "sampler": self.settings.sampler,
            "metric": self.metric,
            "direction": "maximize",
            "created": self.settings.created,
            "command": self.settings.command,
            "parameters": {parameter.name: parameter.as_dict() for parameter in self.settings.parameters},
            "trials": [vars(trial) for trial in self.trials],
            "best": best,
            "importance": self.importance,
            "notes": list(self.notes),
        }


def collect(kept: Kept, settings: Settings, folder: Path) -> SearchResult:
    """Reads a search's study."""
    found = kept.study.get_trials(deepcopy=False)
    trials = tuple(
        _trial(settings, trial) for trial in found if len(trial.params) == len(settings.parameters)
    )
    complete = [trial for trial in trials if trial.state == "complete"]
    # Of equal ones the first.
    best = max(complete, key=lambda trial: (trial.value, -trial.number), default=None)
    importance, notes = _importance(kept, complete)
    failed = sum(trial.state == "failed" for trial in trials)
    if failed:
        notes.append(f"{failed} of {len(trials)} trials failed; search.json has their errors")
    hashes = Counter(
        json.dumps(t.user_attrs["data"], sort_keys=True) for t in found if "data" in t.user_attrs
    )
    if len(hashes) > 1:
        notes.append("the trials were trained on data files that differ; their values cannot be compared")
    if settings.seeds[1:]:
        notes.append(f"each value is the mean over the seeds {', '.join(map(str, settings.seeds))}")
    return SearchResult(folder, settings, metric_name(settings), trials, best, importance, tuple(notes))


def metric_name(settings: Settings) -> str:
    """The number that is searched for, by name."""
    from multitask.config.stages import stage_configs
    from multitask.config.task_kinds import make_task
    from multitask.metrics.scores import overall_scores

    last = stage_configs(settings.config())[-1]
    if last.select is not None:
        return last.select
    tasks = {name: make_task(name, task) for name, task in last.tasks.items()}
    metrics = {name: task.primary_metric for name, task in tasks.items() if task.scored}
    overall = overall_scores({name: {metric: 0.0} for name, metric in metrics.items()})
    names = [f"{name}.{metric}" for name, metric in metrics.items()]
    if overall:
        return "overall_2024"
    return names[0] if len(names) == 1 else f"mean of {', '.join(names)}"


def write_results(result: SearchResult) -> None:
    """Writes search.json, best.toml where a trial is complete, and the page."""
    import torch

    from multitask.experiments.reports.report import write_report
    from multitask.runtime.tracking import environment, write_json

    facts = {"environment": environment(torch.device("cpu"), result.settings.data)}
    write_json(result.folder / "search.json", result.as_dict() | facts)
    if result.best is not None:
        with atomic_write(result.folder / "best.toml") as file:
            file.write(best_toml(result))
    write_report(result.folder)


def best_toml(result: SearchResult) -> str:
    """The best trial's configuration as a file for `multitask train`: all that differs from the defaults."""
    try:
        import tomli_w
    except ImportError:
        raise InputError('writing TOML needs tomli-w; pip install "minbert[experiments]"') from None

    config = result.best_config
    kinds = {name: {"type": task.type} for name, task in config.tasks.items()}
    values = _without_defaults(config.to_dict(), RunConfig.from_dict({"tasks": kinds}).to_dict())
    for key in NOT_OF_THE_BEST:
        values.pop(key, None)
    # A task with default values only is a task of the run all the same.
    values["tasks"] = {name: values.get("tasks", {}).get(name, {}) | kinds[name] for name in kinds}
    head = [
        f"{result.settings.title}: the best of {len(result.trials)} trials, number {result.best.number}",
        f"{result.metric} {result.best.value:.4f}",
    ]
    if config.limit is not None:
        head.append(f"searched with --limit {config.limit}, which is not repeated here")
    return "".join(f"# {line}\n" for line in head) + "\n" + tomli_w.dumps(values)


def table(result: SearchResult) -> str:
    """The best trials, and what the search says of its parameters, as lines to read."""
    complete = sorted(
        (trial for trial in result.trials if trial.state == "complete"), key=lambda t: (-t.value, t.number)
    )
    names = [parameter.name for parameter in result.settings.parameters]
    rows = [["trial", result.metric, *names, "seconds"]]
    for trial in complete[:SHOWN]:
        values = [show(trial.parameters[name]) for name in names]
        seconds = "" if trial.seconds is None else f"{trial.seconds:.0f}"
        rows.append([str(trial.number), f"{trial.value:.4f}", *values, seconds])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    counts = Counter(trial.state for trial in result.trials)
    lines.append(", ".join(f"{counts[state]} {state}" for state in STATES.values() if counts[state]))
    if result.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in result.importance.items())
        lines.append(f"importance: {shares}")
    return "\n".join([*lines, *result.notes])


def show(value: Any) -> str:
    """A parameter's value as text."""
    return (
        f"{value:.3g}"
        if isinstance(value, float)
        else json.dumps(value)
        if isinstance(value, list)
        else str(value)
    )


def _trial(settings: Settings, trial: Any) -> TrialResult:
    attributes = trial.user_attrs
    state = STATES[trial.state.name]
    error = attributes.get("error") or attributes.get("stopped")
    if state == "failed" and error is None:
        error = "its process ended before the trial did"
    seconds = None
    if trial.datetime_start and trial.datetime_complete:
        seconds = round((trial.datetime_complete - trial.datetime_start).total_seconds(), 3)
    value = trial.value if trial.value is not None and math.isfinite(trial.value) else None
    return TrialResult(
        number=trial.number,
        state=state,
        value=value,
        parameters=to_point(settings, trial.params),
        seconds=seconds,
        error=error if state == "failed" else None,
        scores=attributes.get("scores", {}),
        steps=attributes.get("steps", []),
    )


def _importance(kept: Kept, complete: list[TrialResult]) -> tuple[dict[str, float] | None, list[str]]:
    """By PED-ANOVA: how much a parameter's values among the good trials differ from those among all."""
    if len(complete) < IMPORTANCE_TRIALS:
        many = f"there are {len(complete)}"
        return None, [f"the importance of parameters needs {IMPORTANCE_TRIALS} complete trials; {many}"]
    if len({trial.value for trial in complete}) == 1:
        return None, ["all complete trials have the same value; no parameter is more important than another"]
    importance = import_optuna().importance
    with quiet_optuna():
        evaluator = importance.PedAnovaImportanceEvaluator(target_quantile=SHARE_OF_GOOD)
        return dict(importance.get_param_importances(kept.study, evaluator=evaluator)), []


def _without_defaults(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from the defaults; TOML has no null, `none` stands for it."""
    kept = {}
    for key, value in values.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            value = _without_defaults(value, default)
            if value:
                kept[key] = value
        elif value != default:
            kept[key] = _without_null(value)
    return kept


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_null(entry) for entry in value]
    return "none" if value is None else value
