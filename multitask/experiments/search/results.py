"""Results of a search: its trials, the best one as a configuration file, the importance of parameters."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert import InputError, atomic_write
from multitask.config.option_types import flat, merge
from multitask.config.run_config import RunConfig
from multitask.experiments.search.settings import Settings
from multitask.experiments.search.space import Point, nest
from multitask.experiments.search.storage import Attempts, import_optuna, quiet_optuna, to_point
from multitask.text_table import aligned_lines

IMPORTANCE_TRIALS = 10  # complete ones, below which importance is noise
SHARE_OF_GOOD = 0.25  # importance: what tells the best quarter of the trials from all
SHOWN = 10  # trials in the printed table
# For `multitask train` to be given.
NOT_OF_THE_BEST = ("weights", "data", "data_cache", "out", "limit", "threads")
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
        """Returns the content of search.json, apart from the environment."""
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


def collect(study: Any, settings: Settings, folder: Path) -> SearchResult:
    """Reads the results from a search's study."""
    attempts = Attempts(study, settings.trials)
    latest = {number: attempts.latest(number) for number in range(settings.trials)}
    found = {
        number: trial
        for number, trial in latest.items()
        if trial is not None and len(trial.params) == len(settings.parameters)
    }
    trials = tuple(_trial(settings, number, trial) for number, trial in found.items())
    complete = [trial for trial in trials if trial.state == "complete"]
    # Of equal ones the first.
    best = max(complete, key=lambda trial: (trial.value, -trial.number), default=None)
    importance, notes = _importance(study, complete)
    failed = sum(trial.state == "failed" for trial in trials)
    if failed:
        notes.append(f"{failed} of {len(trials)} trials failed; search.json has their errors")
    hashes = [trial.user_attrs["data"] for trial in found.values() if "data" in trial.user_attrs]
    if any(each != hashes[0] for each in hashes):
        notes.append("the trials were trained on data files that differ; their values cannot be compared")
    if settings.seeds[1:]:
        notes.append(f"each value is the mean over the seeds {', '.join(map(str, settings.seeds))}")
    return SearchResult(folder, settings, metric_name(settings), trials, best, importance, tuple(notes))


def metric_name(settings: Settings) -> str:
    """Returns the name of the number that is searched for."""
    from multitask.config.stages import stage_configs
    from multitask.config.task_kinds import make_task
    from multitask.metrics.scores import overall_scores

    last = stage_configs(settings.config())[-1]
    if last.select is not None:
        return last.select
    tasks = [make_task(name, task) for name, task in last.tasks.items()]
    metrics = {task.name: task.primary_metric for task in tasks if task.scored}
    if overall_scores({name: {metric: 0.0} for name, metric in metrics.items()}):
        return "overall_2024"
    names = ", ".join(f"{name}.{metric}" for name, metric in metrics.items())
    return names if len(metrics) == 1 else f"mean of {names}"


def write_results(result: SearchResult) -> None:
    """Writes search.json, best.toml where a trial is complete, and the page."""
    import torch

    from multitask.experiments.report.report import write_report
    from multitask.runtime.tracking import environment, write_json

    facts = {"environment": environment(torch.device("cpu"), result.settings.data)}
    write_json(result.folder / "search.json", result.as_dict() | facts)
    if result.best is not None:
        with atomic_write(result.folder / "best.toml") as file:
            file.write(best_toml(result))
    write_report(result.folder)


def best_toml(result: SearchResult) -> str:
    """Returns the best trial's configuration as a TOML file for `multitask train`, without default values."""
    try:
        import tomli_w
    except ImportError:
        raise InputError('writing TOML needs tomli-w; pip install "minbert[experiments]"') from None

    config = result.best_config
    kinds = {name: {"type": task.type} for name, task in config.tasks.items()}
    usual = flat(RunConfig.from_dict({"tasks": kinds}).to_dict())
    # A task with default values only is a task of the run all the same.
    values: dict[str, Any] = {"tasks": kinds}
    for key, value in flat(config.to_dict()).items():
        if key not in NOT_OF_THE_BEST and value != usual.get(key):
            values = merge(values, nest(key, _without_null(value)))
    head = (
        f"# {result.settings.title}: the best of {len(result.trials)} trials, number {result.best.number}\n"
        f"# {result.metric} {result.best.value:.4f}\n"
    )
    if config.limit is not None:
        head += f"# searched with --limit {config.limit}, which is not repeated here\n"
    return f"{head}\n{tomli_w.dumps(values)}"


def table(result: SearchResult) -> str:
    """Formats the best trials and the importance of parameters as lines."""
    complete = [trial for trial in result.trials if trial.state == "complete"]
    names = [parameter.name for parameter in result.settings.parameters]
    rows = [["trial", result.metric, *names, "seconds"]]
    for trial in sorted(complete, key=lambda trial: (-trial.value, trial.number))[:SHOWN]:
        seconds = "" if trial.seconds is None else f"{trial.seconds:.0f}"
        values = [show(trial.parameters[name]) for name in names]
        rows.append([str(trial.number), f"{trial.value:.4f}", *values, seconds])
    lines = aligned_lines(rows, left=0)
    counts = Counter(trial.state for trial in result.trials)
    lines.append(", ".join(f"{counts[state]} {state}" for state in STATES.values() if counts[state]))
    if result.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in result.importance.items())
        lines.append(f"importance: {shares}")
    return "\n".join([*lines, *result.notes])


def show(value: Any) -> str:
    """Formats a parameter's value."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return json.dumps(value) if isinstance(value, list) else str(value)


def _trial(settings: Settings, number: int, trial: Any) -> TrialResult:
    attributes = trial.user_attrs
    state = STATES[trial.state.name]
    error = attributes.get("error") or attributes.get("stopped") or "its process ended before the trial did"
    seconds = None
    if trial.datetime_start and trial.datetime_complete:
        seconds = round((trial.datetime_complete - trial.datetime_start).total_seconds(), 3)
    return TrialResult(
        number=number,
        state=state,
        value=trial.value if trial.value is not None and math.isfinite(trial.value) else None,
        parameters=to_point(settings, trial.params),
        seconds=seconds,
        error=error if state == "failed" else None,
        scores=attributes.get("scores", {}),
        steps=attributes.get("steps", []),
    )


def _importance(study: Any, complete: list[TrialResult]) -> tuple[dict[str, float] | None, list[str]]:
    """Computes by PED-ANOVA how far a parameter's values in good trials differ from those in all."""
    if len(complete) < IMPORTANCE_TRIALS:
        needed = f"the importance of parameters needs {IMPORTANCE_TRIALS} complete trials"
        return None, [f"{needed}; there are {len(complete)}"]
    if len({trial.value for trial in complete}) == 1:
        return None, ["all complete trials have the same value; no parameter is more important than another"]
    importance = import_optuna().importance
    with quiet_optuna():
        evaluator = importance.PedAnovaImportanceEvaluator(target_quantile=SHARE_OF_GOOD)
        return dict(importance.get_param_importances(study, evaluator=evaluator)), []


def _without_null(value: Any) -> Any:
    """Returns the value with `none` in place of null, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _without_null(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_null(entry) for entry in value]
    return "none" if value is None else value
