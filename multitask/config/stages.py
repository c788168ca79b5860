"""Stages: a run as a list of runs, each of which starts from the best weights of the one before.

Further masked language modelling, then heads on a frozen encoder, then all tasks together, say. A stage is
a table of what it changes of the run's own keys; `tasks` names its tasks (default: all), a table under a
task's name changes that task.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from minbert import InputError
from multitask.config.compatibility import CHANGEABLE
from multitask.config.option_types import listed, merge, table
from multitask.config.run_config import RunConfig

NOT_IN_STAGES = (
    "weights",
    "weights_prefix",
    "data",
    "out",
    "device",
    "threads",
    "task_file",
    "stages",
    "vocab_size",
)


def stage_configs(config: RunConfig) -> list[RunConfig]:
    """Returns the configuration of each stage; the run's own alone where it has none.

    Raises InputError, which names the stage, for one that cannot be.
    """
    if not config.stages:
        return [config]
    configs = []
    for number, changes in enumerate(config.stages, start=1):
        try:
            configs.append(_stage_config(config, number, changes))
        except InputError as error:
            raise InputError(f"stage {number}: {error}") from None
    return configs


def stage_folder(out: str | Path, number: int) -> Path:
    """Returns the folder of stage `number`, from 1, of a run into `out`; the last one is `out` itself."""
    return Path(out) / "stages" / str(number)


def _stage_config(config: RunConfig, number: int, changes: dict[str, Any]) -> RunConfig:
    changes = {key.replace("-", "_"): value for key, value in changes.items()}
    for key in NOT_IN_STAGES:
        if key in changes:
            raise InputError(f"{key} belongs to the whole run; set it outside [[stages]]")
    values = config.to_dict()
    tasks = values.pop("tasks")
    names = listed("tasks", changes.pop("tasks", list(tasks)))
    for name in names:
        if name not in tasks:
            raise InputError(f"there is no task {name!r} in the run; it has {', '.join(tasks)}")
    of_tasks = {name: table(name, changes.pop(name)) for name in tasks if name in changes}
    merged = merge(values, changes) | {"stages": []}
    merged["tasks"] = {name: merge(tasks[name], of_tasks.get(name, {})) for name in names}
    if number > 1:
        merged["weights"] = str(stage_folder(config.out or ".", number - 1) / "best")
        merged["weights_prefix"] = None
        merged["model"] = {key: value for key, value in merged["model"].items() if key in CHANGEABLE}
        if "extra_layers" not in changes:
            merged["extra_layers"] = 0  # the stage before has added them
    last = number == len(config.stages)
    stage = RunConfig.from_dict(merged)
    return stage if last else replace(stage, out=str(stage_folder(config.out or ".", number)))
