"""Which checkpoint of a run is the best: from scores to the number that decides."""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import fmean

from minbert import InputError, did_you_mean
from multitask.config.run_config import RunConfig
from multitask.inference.run import Run
from multitask.metrics.scores import overall_scores
from multitask.tasks.base import TrainingTask
from multitask.training.preparation import Prepared


def selectors(
    config: RunConfig, tasks: Mapping[str, TrainingTask]
) -> dict[str, Callable[[Mapping], float | None]]:
    """Checkpoint -> the number by which it is chosen: best, and best-TASK where the run keeps these."""
    chosen = {"best": selector(config, tasks)}
    if config.checkpoint.best_per_task:
        for name, task in tasks.items():
            if task.scored:
                chosen[f"best-{name}"] = partial(_primary, name, task.primary_metric)
    return chosen


def _primary(name: str, metric: str, scores: Mapping[str, Mapping[str, float]]) -> float | None:
    return scores[name][metric] if name in scores else None


def selector(config: RunConfig, tasks: Mapping[str, TrainingTask]) -> Callable[[Mapping], float | None]:
    """Scores -> the number by which the best checkpoint is chosen; None where nothing was scored.

    `config.select`, else overall_2024, else the mean of the tasks' primary metrics.
    """

    def value(scores: Mapping[str, Mapping[str, float]]) -> float | None:
        overall = overall_scores(scores)
        if config.select is None:
            primary = [scores[name][tasks[name].primary_metric] for name in scores]
            return overall.get("overall_2024", fmean(primary) if primary else None)
        values = overall | {f"{name}.{metric}": v for name, s in scores.items() for metric, v in s.items()}
        if config.select not in values:
            accepted = f"choose from {', '.join(values)}" if values else "there is no dev split to score"
            raise InputError(f"select is {config.select!r}; {accepted}{did_you_mean(config.select, values)}")
        return values[config.select]

    return value


def check_select(config: RunConfig, prepared: Prepared) -> None:
    """Raises InputError for a `select` that no evaluation gives, which the scores of a few examples tell."""
    if config.select is not None:
        run = Run(prepared.model, prepared.tokenizer, {}, tuple(prepared.model.tasks), config)
        few = {name: examples[:2] for name, examples in prepared.dev.items()}
        selector(config, prepared.model.tasks)(run.score(few, quiet=True).scores)
