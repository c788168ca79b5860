"""The kinds of tasks: a table from names to classes, which are imported on use; users register their own."""

from importlib import import_module
from typing import TYPE_CHECKING

from minbert import InputError, did_you_mean

if TYPE_CHECKING:
    from multitask.config.task_config import TaskConfig
    from multitask.tasks.base import TrainingTask

KINDS: dict[str, "str | type[TrainingTask]"] = {
    "sst": "multitask.tasks.course:SST",
    "cfimdb": "multitask.tasks.course:CFIMDB",
    "paraphrase": "multitask.tasks.course:Paraphrase",
    "sts": "multitask.tasks.course:STS",
    "classification": "multitask.tasks.generic:ClassificationTask",
    "multilabel": "multitask.tasks.multilabel:MultiLabelTask",
    "pair": "multitask.tasks.generic:PairTask",
    "similarity": "multitask.tasks.generic:SimilarityTask",
    "regression": "multitask.tasks.generic:RegressionTask",
    "tokens": "multitask.tasks.tokens:TokensTask",
    "ner": "multitask.tasks.corpora:NER",
    "news": "multitask.tasks.corpora:News",
    "mrpc": "multitask.tasks.corpora:MRPC",
    "simcse": "multitask.tasks.contrastive:SimCSE",
    "nli": "multitask.tasks.contrastive:NLI",
    "ranking": "multitask.tasks.contrastive:Ranking",
    "masked_lm": "multitask.tasks.masked_lm:MaskedLM",
}


def register(kind: str, task: "type[TrainingTask]") -> None:
    """Makes the class `task` known as `kind`. Raises InputError for a name that is taken.

    The same file may be run again: a class of the same module and name takes the place of the old one.
    """
    old = KINDS.get(kind, task)
    if isinstance(old, str) or (old.__module__, old.__qualname__) != (task.__module__, task.__qualname__):
        raise InputError(f"there is a task {kind!r} already; register yours under another name")
    KINDS[kind] = task


def find_kind(kind: str) -> "type[TrainingTask]":
    """Returns the class of a kind of task. Raises InputError for a name that is not known."""
    if kind not in KINDS:
        raise InputError(
            f"there is no task {kind!r}{did_you_mean(kind, KINDS)}; choose from {', '.join(KINDS)}, or load "
            f"your own with --task-file"
        )
    found = KINDS[kind]
    if isinstance(found, str):
        module, _, name = found.partition(":")
        found = getattr(import_module(module), name)
    return found


def make_task(name: str, config: "TaskConfig") -> "TrainingTask":
    """Returns the task that a configuration describes, without a head."""
    return find_kind(config.type)(name, config)
