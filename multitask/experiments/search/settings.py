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

from minbert import InputError, make_folder
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
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        parameters = tuple(
            Parameter(**entry | {name: tuple(entry[name]) for name in ("keys", "choices", "grid")})
            for entry in values["parameters"]
        )
        fixed = {"parameters": parameters, "seeds": tuple(values["seeds"]), "points": tuple(values["points"])}
        return Settings(**values | fixed)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} has no search: {FILE} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; begin the search anew with another --out") from None


def with_length(settings: Settings, trials: int | None) -> Settings:
    """Returns the same search with another number of trials; None leaves it."""
    return settings if trials is None else replace(settings, trials=Method(settings.sampler, trials).trials)


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
