"""The command line's options for a RunConfig, derived from its dataclasses. No torch here.

Every key of the configuration is an option: `train.batch_size` is `--train.batch-size`, the `pooling` of
the task sst is `--sst.pooling`. The course's own flags work as aliases.
"""

import argparse
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from minbert import CommandParser, InputError, did_you_mean
from multitask.config.option_types import checked, comma_list, flat, merge, parse, table
from multitask.config.run_config import MODEL_KEYS, RunConfig, read_config
from multitask.config.stages import stage_configs
from multitask.config.task_config import DEFAULT_TASKS, TaskConfig
from multitask.config.task_file import TRUST, load_recorded_task_file
from multitask.config.task_kinds import KINDS

COURSE_ALIASES = {
    "--lr": "optim.lr",
    "--batch_size": "train.batch_size",
    "--batch-size": "train.batch_size",
    "--epochs": "train.epochs",
    "--seed": "train.seed",
}
COURSE_MODES = {
    "pretrain": "backbone",
    "last-linear-layer": "backbone",
    "finetune": "none",
    "full-model": "none",
}


# Of options that are not read unless another one is set: how their keys begin -> whether it is, and which.
NEEDS: dict[str, tuple[Callable[[RunConfig], Any], str]] = {
    "lora.": (lambda run: run.lora.rank, "--lora.rank of at least 1"),
    "smart.": (
        lambda run: run.smart.weight or run.smart.bregman,
        "--smart.weight or --smart.bregman above 0",
    ),
    "gradients.target_decay": (lambda run: run.gradients.surgery == "gradvac", "--gradients.surgery gradvac"),
    "vocab_size": (lambda run: run.needs_scratch, "--weights scratch"),
}

_TASK_HINTS = typing.get_type_hints(TaskConfig)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds CONFIG, --print-config and an option for every key of RunConfig."""
    parser.add_argument("config", metavar="CONFIG", nargs="?", help="TOML file, or the name of a preset")
    parser.add_argument(
        "--print-config", action="store_true", help="print the configuration in force, as JSON"
    )
    add_key_options(parser)


def add_key_options(parser: argparse.ArgumentParser) -> None:
    """Adds an option for every key of RunConfig, the aliases, and --tasks."""
    parser.add_argument("--tasks", help=f"comma-separated; default {','.join(DEFAULT_TASKS)}")
    parser.add_argument("--trust", action="store_true", help=TRUST)
    for key, hint, help, value in run_keys():
        shown = "" if value in (None, {}, ()) else f"; default {value}"
        parser.add_argument(option_of(key), dest=f"key:{key}", metavar=_metavar(hint), help=f"{help}{shown}")
    course = parser.add_argument_group("aliases for the flags of the course's starter code")
    for flag, key in COURSE_ALIASES.items():
        course.add_argument(flag, dest=f"key:{key}", metavar="X", help=f"--{key.replace('_', '-')}")
    course.add_argument("--hidden_dropout_prob", metavar="RATE", help="dropout of encoder and heads")
    course.add_argument("--use_gpu", action="store_true", help="--device cuda")
    for flag in ("--option", "--fine-tune-mode"):
        course.add_argument(
            flag, dest="mode", choices=sorted(COURSE_MODES), help="pretrain: --freeze backbone"
        )
    each = parser.add_argument_group("options of each task, as in --sst.pooling cls")
    for f in fields(TaskConfig):
        key = f.name.replace("_", "-")
        each.add_argument(
            f"--TASK.{key}",
            dest=f"task:{f.name}",
            metavar=_metavar(_TASK_HINTS[f.name]),
            help=f.metadata["help"],
        )


def option_of(key: str) -> str:
    """Returns the option of a key of RunConfig: --data.cache stands beside --data, which is no section."""
    return "--data.cache" if key == "data_cache" else f"--{key.replace('_', '-')}"


def run_keys() -> Iterator[tuple[str, Any, str, Any]]:
    """Yields each key of RunConfig but those of tasks: dotted name, type, help, default."""
    for f in fields(RunConfig):
        hint = typing.get_type_hints(RunConfig)[f.name]
        if is_dataclass(hint):
            hints = typing.get_type_hints(hint)
            default = f.default_factory()
            for part in fields(hint):
                value = getattr(default, part.name)
                yield f"{f.name}.{part.name}", hints[part.name], part.metadata["help"], value
        elif f.metadata:
            yield f.name, hint, f.metadata["help"], None if f.default is MISSING else f.default
    yield from ((f"model.{name}", hint, "as in config.json", None) for name, hint in MODEL_KEYS.items())


def read_run_options(parser: CommandParser, arguments: Sequence[str]) -> tuple[RunConfig, argparse.Namespace]:
    """Reads the configuration that the arguments ask for: preset or file first, then the options on top.

    Raises InputError for an unknown option, with the nearest one, and for one that would change nothing.
    """
    options = RunOptions(parser, arguments)
    name = options.given.config
    if name in KINDS and not Path(name).exists():
        raise InputError(
            f"CONFIG is {name!r}, a task; give several tasks as one word: --tasks "
            f"{options.given.tasks or 'sst'},{name}"
        )
    values = read_config(name) if name else {}
    config = options.configure(values)
    stages = stage_configs(config)
    for key, _, _, usual in run_keys():
        for beginning, (is_on, needed) in NEEDS.items():
            given = options.value(key)
            if given is None or not key.startswith(beginning) or any(map(is_on, stages)):
                continue
            if flat(values).get(key, usual) == usual:  # not switched off what the file switches on
                raise InputError(
                    f"{option_of(key)} is {given} and changes nothing: it needs {needed}; give that, or "
                    f"leave it out"
                )
    return config, options.given


class RunOptions:
    """Options on the command line, for one configuration or for the many of a table or a search.

    `given` holds those of the parser as argparse has them, `dotted` (option, text) of the tasks' own. Raises
    InputError for an unknown one.
    """

    def __init__(self, parser: CommandParser, arguments: Sequence[str]):
        self.parser = parser
        self.words = list(arguments)
        self.dotted: list[tuple[str, str]] = []  # --TASK.KEY VALUE and --TASK.KEY=VALUE
        known = {option for option in self._known() if not option.startswith("--TASK.")}
        plain, words = [], iter(arguments)
        for word in words:
            option, equals, text = word.partition("=")
            if not option.startswith("--") or "." not in option or option in known:
                plain.append(word)
                continue
            text = text if equals else next(words, None)
            if text is None:
                raise InputError(f"{option} needs a value")
            self.dotted.append((option, text))
        self.given = parser.parse_args(plain)

    def value(self, key: str) -> str | None:
        """Returns the text that was given for a key of RunConfig, such as `train.seed`, or None."""
        return vars(self.given)[f"key:{key}"]

    @property
    def tasks(self) -> set[str]:
        """Returns the tasks that --TASK.KEY options name."""
        return {_task_of(option) for option, _ in self.dotted}

    def configure(self, values: dict[str, Any], strict: bool = True) -> RunConfig:
        """Returns the configuration of the values with the options on top, for the tasks that --tasks names.

        Unless `strict`, an option of a task that the values do not have is left out.
        """
        tasks = _chosen_tasks(self.given.tasks, table("tasks", values.get("tasks", {})))
        merged = merge(values, self.changes(tasks, strict))
        task_file = checked("task_file", merged.get("task_file"), str | None)
        named = self.value("task_file") is not None
        asked = vars(self.given)
        source = asked.get("config") or asked.get("table") or asked.get("space") or "the configuration"
        load_recorded_task_file(task_file, source, named or self.given.trust)
        given = merged.get("tasks", {})
        return RunConfig.from_dict(merged | {"tasks": {name: given.get(name, {}) for name in tasks}})

    def changes(self, tasks: Sequence[str], strict: bool = True) -> dict[str, Any]:
        """Returns what the options change of a configuration with these tasks, as nested values."""
        changes: dict[str, Any] = {}
        given, hints = self.given, {key: hint for key, hint, _, _ in run_keys()}
        if given.mode:
            changes["freeze"] = COURSE_MODES[given.mode]
        if given.use_gpu:
            changes["device"] = "cuda"
        if given.hidden_dropout_prob is not None:
            rate = parse("--hidden_dropout_prob", given.hidden_dropout_prob, float)
            changes["model"] = {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate}
            changes["tasks"] = {name: {"dropout": rate} for name in tasks}
        for name, text in vars(given).items():
            if name.startswith("key:") and text is not None:
                key = name.removeprefix("key:")
                value = parse(option_of(key), text, hints[key])
                changes = merge(changes, _nested(key, value))
        for option, text in self.dotted:
            task, _, key = option.removeprefix("--").partition(".")
            key = key.replace("-", "_")
            if task not in tasks and not strict:
                continue
            sections = {name.partition(".")[0] for name in hints}
            if key in _TASK_HINTS and task not in (*tasks, *sections):
                raise InputError(
                    f"there is no option {option}: the run has no task {task!r}{did_you_mean(task, tasks)}; "
                    f"it has {', '.join(tasks)}"
                )
            if task not in tasks or key not in _TASK_HINTS:
                near = [f"--{name}.{key.replace('_', '-')}" for name in tasks for key in _TASK_HINTS]
                raise InputError(
                    f"there is no option {option}{did_you_mean(option, [*self._known(), *near])}; see "
                    f"{self.parser.prog} --help"
                )
            changes = merge(changes, {"tasks": {task: {key: parse(option, text, _TASK_HINTS[key])}}})
        return changes

    def _known(self) -> list[str]:
        return [option for action in self.parser._actions for option in action.option_strings]


def _task_of(option: str) -> str:
    return option.removeprefix("--").partition(".")[0]


def _chosen_tasks(text: str | None, configured: dict[str, Any]) -> list[str]:
    if text is None:
        return list(configured) or list(DEFAULT_TASKS)
    names = comma_list(text)
    if not names or len(set(names)) < len(names):
        raise InputError(f"--tasks is {text!r}; name each task once, as in --tasks sst,paraphrase,sts")
    return names


def _nested(key: str, value: Any) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _metavar(hint: Any) -> str:
    several = {dict: "KEY=VALUE,...", tuple: "A,B,..."}.get(typing.get_origin(hint))
    if several:
        return several
    names = [kind.__name__ for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    return {"int": "N", "float": "X", "str": "TEXT", "bool": "true|false"}[names[0]]
