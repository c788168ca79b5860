"""Multi-task fine-tuning on top of minbert. The public surface, loaded on first use."""

from importlib import import_module

_HOME = {
    "MultitaskBERT": "course.multitask_bert",
    "Run": "run",
    "RunConfig": "config",
    "ScoredTask": "tasks.base",
    "TaskConfig": "task_config",
    "TextTask": "tasks.base",
    "TrainingTask": "tasks.base",
    "evaluate": "run",
    "load_run": "run",
    "register": "tasks.registry",
    "resume": "fine_tune",
    "train": "fine_tune",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'multitask' has no attribute {name!r}")
    return getattr(import_module(f"multitask.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
