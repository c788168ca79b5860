"""Settings of a search: its space resolved to one base configuration, how points are chosen.

They are kept in the search's folder as settings.json, from which every worker reads them and `multitask
search FOLDER` continues. No Optuna here.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from minbert import (
    ANYTHING,
    NUMBER,
    POSITIVE,
    TEXT,
    TRUTH,
    InputError,
    Rule,
    by_key,
    by_name,
    list_of,
    make_folder,
    or_null,
    read_json_object,
    whole,
)
from multitask.config.option_types import merge, one_of, plain, within
from multitask.config.run_config import RunConfig
from multitask.config.task_file import load_recorded_task_file
from multitask.experiments.search.space import Configure, Parameter, Point, Space, nested
from multitask.runtime.tracking import write_json

SAMPLERS = ("grid", "random", "tpe")
PRUNERS = ("none", "median", "halving", "hyperband")
DEFAULT_TRIALS = 20
FILE = "settings.json"
MAY_CHANGE = ("trials", "pruner", "created", "command", "about")  # when a search is continued
PARAMETER = {
    "name": TEXT,
    "keys": list_of(TEXT, 1),
    "kind": Rule(lambda value: value in ("float", "int", "choice"), "float, int or choice"),
    "low": or_null(NUMBER),
    "high": or_null(NUMBER),
    "log": TRUTH,
    "step": or_null(POSITIVE),
    "choices": list_of(ANYTHING),
    "grid": list_of(NUMBER),
}
RULES = {
    **dict.fromkeys(("title", "about", "created", "command"), TEXT),
    "seeds": list_of(whole(0)),
    "parameters": list_of(by_key(PARAMETER), 1),
    "base": by_name(ANYTHING),
    "points": list_of(by_name(ANYTHING)),
    "sampler": Rule(lambda value: value in SAMPLERS, f"one of {', '.join(SAMPLERS)}"),
    "trials": whole(1),
    "pruner": Rule(lambda value: value in PRUNERS, f"one of {', '.join(PRUNERS)}"),
    "sampler_seed": whole(0),
    "storage": or_null(TEXT),
    "data": by_name(TEXT),
}
# Keys of the base configuration that do not change results. Weights count by the folder's name.
NON_RESULT_KEYS = ("out", "threads", "device", "data", "data_cache", "weights", "task_file", "cache")


@dataclass(frozen=True)
class Method:
    """Sampler and pruner of a search. `trials` is None for every point of a grid, or for 20."""

    sampler: str = "tpe"
    trials: int | None = None
    pruner: str = "median"
    sampler_seed: int = 0

    def __post_init__(self):
        one_of("--sampler", self.sampler, SAMPLERS)
        one_of("--pruner", self.pruner, PRUNERS)
        within("--trials", self.trials, 1, float("inf"), "at least 1")
        within("--sampler-seed", self.sampler_seed, 0, 2**32 - 1, "from 0 to 2^32 - 1")
        if self.sampler == "grid" and self.trials is not None:
            raise InputError("a grid visits each of its points once; leave out --trials")


@dataclass(frozen=True)
class Settings:
    """A search as its folder keeps it. `storage` is None for study.db in the folder; it has no password."""

    title: str
    about: str
    seeds: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    base: dict[str, Any]  # the whole configuration of one point, as nested values
    points: tuple[Point, ...]  # of a grid, one for each trial; else none
    sampler: str
    trials: int
    pruner: str
    sampler_seed: int
    storage: str | None
    data: dict[str, str]  # hashes of the data files
    created: str
    command: str

    @classmethod
    def of(cls, space: Space, method: Method, configure: Configure, **facts: Any) -> "Settings":
        """Raises InputError where the configuration of a point of the grid, or a corner, cannot be built."""
        points = list(space.grid()) if method.sampler == "grid" else []
        base = space.base(configure, points or space.corners())
        if space.metric is not None:
            base = merge(base, {"select": space.metric})
        if base["stages"] and method.pruner != "none":
            raise InputError("a run of stages is not compared with others half-way; give --pruner none")
        return cls(
            title=space.title,
            about=space.about,
            seeds=space.seeds,
            parameters=space.parameters,
            base=base,
            points=tuple(points),
            sampler=method.sampler,
            trials=len(points) or method.trials or DEFAULT_TRIALS,
            pruner=method.pruner,
            sampler_seed=method.sampler_seed,
            **facts,
        )

    @property
    def study(self) -> str:
        """The study's name in its storage: machines with the same search share it."""
        base = {key: value for key, value in self.base.items() if key not in NON_RESULT_KEYS}
        facts = [
            base,
            Path(self.base["weights"] or "").name,
            [asdict(parameter) for parameter in self.parameters],
            *(self.seeds, self.sampler, self.sampler_seed, self.data),
        ]
        slug = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return f"{slug[:40] or 'search'}-{_hash(facts)[:12]}"

    def config(self, point: Point | None = None, **changes: Any) -> RunConfig:
        """Returns the configuration of a trial. `changes` are keys of the run, `seed` is that of training."""
        values = merge(self.base, nested(self.parameters, point)) if point else self.base
        seed = changes.pop("seed", None)
        if seed is not None:
            values = merge(values, {"train": {"seed": seed}})
        return build_config(values | changes)

    def save(self, folder: Path) -> None:
        """Writes the settings into a new folder, or into that of the same search at another length."""
        if (folder / FILE).is_file():
            self._check_same(read_settings(folder))
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and is not a search; choose another --out")
        make_folder(folder)
        write_json(folder / FILE, asdict(self))

    def _check_same(self, before: "Settings") -> None:
        ours, theirs = (plain(asdict(settings)) for settings in (self, before))
        differs = [key for key in ours if key not in MAY_CHANGE and ours[key] != theirs[key]]
        base = [key for key in ours["base"] if ours["base"][key] != theirs["base"].get(key)]
        differs += [f"base.{key}" for key in base if key not in ("out", "threads", "data_cache")]
        differs = [key for key in differs if key != "base"]
        if differs:
            raise InputError(
                f"the search begun before has other values of {', '.join(differs)}; choose another --out, or "
                f"continue it as it is: multitask search FOLDER"
            )


def build_config(values: dict[str, Any]) -> RunConfig:
    """Builds the configuration of nested values, whose tasks may be those of their task file."""
    load_recorded_task_file(values.get("task_file"), "the search")
    return RunConfig.from_dict(values)


def read_settings(folder: str | Path) -> Settings:
    """Reads the settings of the search in a folder. Raises InputError where there is none."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(
            f"{folder} has no search: {FILE} is missing; give the folder that `multitask search --out` made"
        )
    remedy = "begin the search anew with another --out"
    found = read_json_object(path, RULES, remedy)
    if unknown := sorted(found.keys() - RULES.keys()):
        raise InputError(f"{path} has the key {unknown[0]!r}, which no search has; {remedy}")
    lists = ("keys", "choices", "grid")
    parameters = tuple(
        Parameter(**{name: tuple(entry[name]) if name in lists else entry[name] for name in PARAMETER})
        for entry in found["parameters"]
    )
    fixed = {"parameters": parameters, "seeds": tuple(found["seeds"]), "points": tuple(found["points"])}
    return Settings(**found | fixed)


def with_length(settings: Settings, trials: int | None) -> Settings:
    """Returns the same search with another number of trials; None leaves it."""
    return settings if trials is None else replace(settings, trials=Method(settings.sampler, trials).trials)


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
