"""Reads SPACE.toml: the parameters of a search, over the keys of a configuration. No torch, no Optuna.

A parameter is a table by its configuration key, `[space.optim.lr]`, or by a name of its own with `keys`,
the list of configuration keys that all get its value.
"""

import itertools
import json
import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from minbert import InputError, did_you_mean
from multitask.config.option_types import build, checked, flat, listed, merge, plain, table
from multitask.config.options import run_keys
from multitask.config.run_config import RunConfig, read_config
from multitask.config.task_config import DEFAULT_TASKS, TaskConfig

FOLDER = "presets/searches"
RANGE_KEYS = ("low", "high", "log", "step", "grid")
PARAMETER_KEYS = (*RANGE_KEYS, "choices", "keys")
NOT_SEARCHED = ("data", "data_cache", "out", "select", "task_file")
LARGEST_GRID = 10_000  # points; more are a mistake
CORNERS = 500  # configurations that are built before the first trial of a search without grid

Point = dict[str, Any]  # parameter's name -> value, as the configuration has it
Configure = Callable[[dict[str, Any]], RunConfig]


@dataclass(frozen=True)
class Parameter:
    """One thing that is searched: a range of numbers (kind "float" or "int"), or a list ("choice")."""

    name: str
    keys: tuple[str, ...]
    kind: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    grid: tuple[float, ...] = ()

    def values(self) -> list[Any]:
        """Returns the values that a grid visits. Raises InputError for a range without step or grid."""
        if self.kind == "choice" or self.grid:
            return plain(self.choices or self.grid)
        if self.step is None:
            raise InputError(
                f"space.{self.name} is a range; for a grid give step, or grid with the values to visit"
            )
        count = round((self.high - self.low) / self.step) + 1
        return [self.low + index * self.step for index in range(count)]

    def ends(self) -> list[Any]:
        """Returns the choices, or both ends of the range."""
        return plain(self.choices) if self.kind == "choice" else [self.low, self.high]

    def as_dict(self) -> dict[str, Any]:
        """Returns the parameter as search.json has it."""
        choices = plain(self.choices) if self.kind == "choice" else None
        return {"kind": self.kind, "low": self.low, "high": self.high, "log": self.log, "choices": choices}


@dataclass(frozen=True)
class SpaceFile:
    """Keys of a search's file."""

    title: str = "Search"
    about: str = ""
    metric: str | None = None
    seeds: tuple[int, ...] = ()
    preset: str | None = None
    base: dict = field(default_factory=dict)
    space: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Space:
    """A search as its file has it; `values` are the nested values below all trials (preset and base)."""

    title: str
    about: str
    metric: str | None
    seeds: tuple[int, ...]  # none: the configuration's own
    values: dict[str, Any]
    parameters: tuple[Parameter, ...]

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "Space":
        """Builds a search from a file's nested values. Raises InputError, by name, for wrong ones."""
        file = SpaceFile(**build(SpaceFile, given, ""))
        values = merge(read_config(file.preset) if file.preset else {}, file.base)
        tasks = table("base.tasks", values.get("tasks", {})) or {name: {} for name in DEFAULT_TASKS}
        if len(set(file.seeds)) < len(file.seeds):
            raise InputError(f"seeds is {list(file.seeds)}; name each seed once")
        found = dict(_parameter_tables(file.space))
        if not found:
            raise InputError("the search has no parameter; add a table such as [space.optim.lr]")
        hints = {key: hint for key, hint, _, _ in run_keys() if key not in NOT_SEARCHED}
        of_task = typing.get_type_hints(TaskConfig)
        hints |= {f"tasks.{task}.{key}": hint for task in tasks for key, hint in of_task.items()}
        parameters = tuple(_parameter(name, entry, hints) for name, entry in found.items())
        _refuse_twice(parameters)
        if file.seeds and any("train.seed" in parameter.keys for parameter in parameters):
            raise InputError("space.train.seed is searched, and seeds are given; leave one of them out")
        return cls(file.title, file.about, file.metric, file.seeds, values | {"tasks": tasks}, parameters)

    def with_point(self, point: Point) -> dict[str, Any]:
        """Returns nested values of the trial at a point."""
        return merge(self.values, nested(self.parameters, point))

    def grid(self) -> Iterator[Point]:
        """Yields every point of the grid; the last parameter changes fastest."""
        axes = [parameter.values() for parameter in self.parameters]
        size = math.prod(map(len, axes))
        if size > LARGEST_GRID:
            raise InputError(
                f"the grid has {size} points, more than {LARGEST_GRID}; name fewer, or give --sampler tpe"
            )
        return (self._point(values) for values in itertools.product(*axes))

    def corners(self) -> list[Point]:
        """Lists points at the ends of all ranges with every choice; where these are many, one at a time."""
        axes = [parameter.ends() for parameter in self.parameters]
        if math.prod(map(len, axes)) <= CORNERS:
            return [self._point(values) for values in itertools.product(*axes)]
        first = [axis[0] for axis in axes]
        rows = [first, [axis[-1] for axis in axes]]
        for index, axis in enumerate(axes):
            rows += [[*first[:index], value, *first[index + 1 :]] for value in axis]
        return [self._point(row) for row in rows]

    def base(self, configure: Configure, points: list[Point]) -> dict[str, Any]:
        """Returns the whole configuration of the first point, as nested values.

        Raises InputError where a point's configuration cannot be built, or does not have the point's values,
        since an option stands above them.
        """
        for point in points:
            config = configure(self.with_point(point))
            values = flat(config.to_dict())
            for parameter in self.parameters:
                for key in parameter.keys:
                    _check_in_force(key, point[parameter.name], values, list(config.tasks))
        return configure(self.with_point(points[0])).to_dict()

    def _point(self, values: typing.Iterable[Any]) -> Point:
        return {parameter.name: value for parameter, value in zip(self.parameters, values, strict=True)}


def read_space(name: str) -> Space:
    """Reads a TOML file, or the preset of that name. Raises InputError for one that is not a search."""
    return Space.from_dict(read_config(name, FOLDER))


def nested(parameters: tuple[Parameter, ...], point: Point) -> dict[str, Any]:
    """Converts a point to nested values of a configuration."""
    values: dict[str, Any] = {}
    for parameter in parameters:
        for key in parameter.keys:
            values = merge(values, nest(key, point[parameter.name]))
    return values


def nest(key: str, value: Any) -> dict[str, Any]:
    """Returns the value under a dotted key as nested values."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _check_in_force(key: str, value: Any, values: dict[str, Any], tasks: list[str]) -> None:
    """Raises InputError where a configuration, with flat values and these tasks, lacks a point's value."""
    if key.startswith("tasks.") and key.split(".")[1] not in tasks:
        raise InputError(f"{key} is searched, and the run has no such task; its tasks are {', '.join(tasks)}")
    found = values.get(key)
    if found != value and not (found is None and value == "none"):
        option = key.removeprefix("tasks.").replace("_", "-")
        raise InputError(f"{key} is searched; leave out the option that sets it (--{option}, or an alias)")


def label(choice: Any) -> Any:
    """Converts a choice to what a study can keep: lists to their JSON text."""
    return choice if isinstance(choice, str | int | float) else json.dumps(plain(choice))


def _parameter_tables(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each parameter's dotted name and table, whether written in quotes or as nested tables."""
    for key, entry in values.items():
        name = f"{prefix}{key.replace('-', '_')}"
        entry = table(f"space.{name}", entry)
        if any(isinstance(part, dict) for part in entry.values()):
            yield from _parameter_tables(entry, f"{name}.")
        else:
            yield name, entry


def _parameter(name: str, entry: dict[str, Any], hints: dict[str, Any]) -> Parameter:
    """Makes a parameter from its table. Raises InputError, with its name, for one that makes no sense."""
    where = f"space.{name}"
    for key in entry:
        if key not in PARAMETER_KEYS:
            known = f"{did_you_mean(key, PARAMETER_KEYS)}; known: {', '.join(PARAMETER_KEYS)}"
            raise InputError(f"there is no key {where}.{key}{known}")
    given = checked(f"{where}.keys", entry.get("keys", [name]), tuple[str, ...])
    keys = tuple(key.replace("-", "_") for key in given)
    for key in keys:
        if key not in hints:
            meant = did_you_mean(f"tasks.{key}" if f"tasks.{key}" in hints else key, hints)
            own = "" if "keys" in entry else "; under a name of its own, a parameter lists its keys = [...]"
            raise InputError(f"{where}: there is no configuration key {key}{meant}{own}")
    if not keys:
        raise InputError(f"{where}.keys is empty; name the configuration keys that get the value")
    hint = hints[keys[0]]
    if "choices" in entry:
        return _choice(name, keys, entry, hint)
    return _range(name, keys, entry, hint)


def _choice(name: str, keys: tuple[str, ...], entry: dict[str, Any], hint: Any) -> Parameter:
    where = f"space.{name}"
    for key in RANGE_KEYS:
        if key in entry:
            raise InputError(f"{where} has choices and {key}; a parameter is a list of choices or a range")
    given = listed(f"{where}.choices", entry["choices"])
    # `none` stays as TOML can write it.
    choices = [v if v == "none" else plain(checked(f"{where}.choices", v, hint)) for v in given]
    labels = [json.dumps(choice) for choice in choices]
    if not choices or len(set(labels)) < len(labels):
        raise InputError(f"{where}.choices is {given}; name at least one value, and each once")
    return Parameter(name, keys, "choice", choices=tuple(choices))


def _range(name: str, keys: tuple[str, ...], entry: dict[str, Any], hint: Any) -> Parameter:
    where = f"space.{name}"
    if "low" not in entry or "high" not in entry:
        raise InputError(f"{where} needs low and high, or choices")
    kind = next((kind for kind in (bool, int, float, str) if kind in {hint, *typing.get_args(hint)}), None)
    if kind not in (int, float):
        raise InputError(f"{where} has low and high, and {keys[0]} is not a number; give choices")
    low, high = (checked(f"{where}.{end}", entry[end], kind) for end in ("low", "high"))
    log = checked(f"{where}.log", entry.get("log", False), bool)
    step = checked(f"{where}.step", entry.get("step"), kind | None)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"{where} goes from {low} to {high}; low must be the smaller one")
    if log and low <= 0:
        raise InputError(f"{where}.low is {low}; a range with log = true begins above 0")
    if log and step is not None:
        raise InputError(f"{where} has log and step; leave one of them out")
    if step is not None and not (step > 0 and _is_multiple(high - low, step)):
        raise InputError(f"{where}.step is {step}; it must be above 0 and divide {high} - {low}")
    grid = checked(f"{where}.grid", entry.get("grid", []), tuple[kind, ...])
    if len(set(grid)) < len(grid) or not all(low <= value <= high for value in grid):
        raise InputError(f"{where}.grid is {list(grid)}; name values from {low} to {high}, each once")
    if grid and step is not None:
        raise InputError(f"{where} has step and grid; leave one of them out")
    return Parameter(name, keys, kind.__name__, low, high, log, step, grid=grid)


def _is_multiple(value: float, step: float) -> bool:
    return math.isclose(value / step, round(value / step), abs_tol=1e-9) and round(value / step) > 0


def _refuse_twice(parameters: tuple[Parameter, ...]) -> None:
    names: dict[str, str] = {}
    for parameter in parameters:
        for key in parameter.keys:
            if key in names:
                raise InputError(f"{key} is set by space.{names[key]} and by space.{parameter.name}")
            names[key] = parameter.name
