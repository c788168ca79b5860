"""Multi-task fine-tuning on top of minbert. The public names, loaded on first use."""

from typing import TYPE_CHECKING

from minbert import attach_names

if TYPE_CHECKING:
    from multitask.config.run_config import RunConfig as RunConfig
    from multitask.config.task_config import TaskConfig as TaskConfig
    from multitask.config.task_file import load_task_file as load_task_file
    from multitask.config.task_kinds import register as register
    from multitask.course.multitask_bert import MultitaskBERT as MultitaskBERT
    from multitask.inference.run import Run as Run
    from multitask.inference.run import evaluate as evaluate
    from multitask.inference.run import load_run as load_run
    from multitask.runtime.callbacks import Callback as Callback
    from multitask.tasks.base import ScoredTask as ScoredTask
    from multitask.tasks.base import TextTask as TextTask
    from multitask.tasks.base import TrainingTask as TrainingTask
    from multitask.training.trainer import resume as resume
    from multitask.training.trainer import train as train

__getattr__, __dir__, __all__ = attach_names(
    __name__,
    {
        "config.run_config": ("RunConfig",),
        "config.task_config": ("TaskConfig",),
        "course.multitask_bert": ("MultitaskBERT",),
        "inference.run": (
            "Run",
            "evaluate",
            "load_run",
        ),
        "runtime.callbacks": ("Callback",),
        "tasks.base": (
            "ScoredTask",
            "TextTask",
            "TrainingTask",
        ),
        "config.task_file": ("load_task_file",),
        "config.task_kinds": ("register",),
        "training.trainer": (
            "resume",
            "train",
        ),
    },
)
