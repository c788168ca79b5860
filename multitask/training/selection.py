"""Selection of the best checkpoint of a run: from scores to the number that decides."""

from collections.abc import Callable, Mapping
from statistics import fmean

from minbert import InputError, did_you_mean
from multitask.config.run_config import RunConfig
from multitask.inference.evaluation import score_examples
from multitask.metrics.scores import overall_scores
from multitask.runtime.callbacks import Scores
from multitask.tasks.base import TrainingTask
from multitask.training.inputs import RunInputs

Select = Callable[[Scores], float | None]


def selectors(config: RunConfig, tasks: Mapping[str, TrainingTask]) -> dict[str, Select]:
    """Returns for each checkpoint the number by which it is chosen: best, and best-TASK where asked for."""
    chosen = {"best": selector(config, tasks)}
    for name, task in tasks.items() if config.checkpoint.best_per_task else ():
        if task.scored:
            metric = task.primary_metric
            chosen[f"best-{name}"] = lambda scores, name=name, metric=metric: scores.get(name, {}).get(metric)
    return chosen


def selector(config: RunConfig, tasks: Mapping[str, TrainingTask]) -> Select:
    """Returns the function from scores to the number that decides; None where nothing was scored.

    This is `config.select`, else overall_2024, else the mean of the tasks' primary metrics.
    """

    def value(scores: Scores) -> float | None:
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


def check_select(config: RunConfig, inputs: RunInputs) -> None:
    """Scores a few examples; raises InputError for a `select` that no evaluation gives."""
    if config.select is not None:
        few = {name: examples[:2] for name, examples in inputs.dev.items()}
        scores, _ = score_examples(inputs.model, few, config.eval.batch_tokens)
        selector(config, inputs.model.tasks)(scores)
