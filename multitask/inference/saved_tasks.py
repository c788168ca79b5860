"""The tasks that a configuration describes, and what a checkpoint holds of them: labels and heads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from minbert import BertConfig, InputError
from multitask.config.task_config import TaskConfig
from multitask.config.task_kinds import find_kind, make_task
from multitask.inference.checkpoint import check_damage, load_head, read_heads
from multitask.model.multitask_model import MultitaskModel
from multitask.tasks.base import TrainingTask


def saved_labels(folder: Path | None) -> dict[str, Sequence[str] | None]:
    """Reads the label names that a checkpoint's heads were trained for; empty without folder or heads."""
    saved = read_heads(folder) if folder else {}
    return {name: entry.get("labels") for name, entry in saved.items()}


def load_trained_heads(model: MultitaskModel, folder: Path) -> tuple[str, ...]:
    """Loads the heads that a checkpoint holds; -> these tasks, and those without parameters.

    Raises InputError for a file that differs from its checksum, for a head of another shape, and for one that
    was trained on other labels.
    """
    check_damage(folder)
    saved = read_heads(folder)
    for name, head in model.heads.items():
        if name not in saved:
            continue
        before, now = saved[name].get("labels") or [], getattr(model.tasks[name], "labels", ())
        if list(before) != list(now):
            raise InputError(
                f"the head of {name} in {folder} was trained for the labels {', '.join(before)}, not for "
                f"{', '.join(now)}; set {name}.labels, or name the task otherwise to train a new head"
            )
        load_head(folder, name, head)
    return tuple(name for name, head in model.heads.items() if name in saved or not list(head.parameters()))


def make_tasks(
    configs: Mapping[str, TaskConfig],
    encoder: BertConfig,
    labels: Mapping[str, Sequence[str] | None] | None = None,
) -> dict[str, TrainingTask]:
    """Returns the tasks of a configuration, their inputs cut to what the encoder takes.

    Raises InputError for a task that pools by the pooler of a family that has none, and for a length beyond
    the encoder's positions that is not the kind's usual one.
    """
    tasks = {}
    for name, config in configs.items():
        if config.pooling == "pooler" and not encoder.family.pooler:
            raise InputError(
                f"{name}.pooling is 'pooler', and {encoder.family.name} has none; take cls or mean"
            )
        length = min(config.max_length, encoder.max_length)
        usual = find_kind(config.type).defaults.get("max_length", TaskConfig.max_length)
        if length < config.max_length != usual:
            raise InputError(
                f"{name}.max-length is {config.max_length}, and the encoder has positions for {length} "
                f"tokens; give at most {length}, or leave it out"
            )
        saved = tuple((labels or {}).get(name) or ())
        tasks[name] = make_task(name, replace(config, max_length=length, labels=config.labels or saved))
        if not config.labels:
            tasks[name].tag_names = ()  # a checkpoint's labels are not in the order of a file's numbers
    return tasks
