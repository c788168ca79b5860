"""A cell of a table: one configuration with one seed, and the key under which its result is kept.

The key is a hash of all that decides the result: the configuration without places, device and threads, the
data files, the weights, and the packages' files that training may use.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

from minbert import find_folder
from multitask.config.run_config import RunConfig
from multitask.data.records import files_of
from multitask.tasks.splits import SAMPLE
from multitask.training.inputs import SCRATCH, file_hash

# Keys of a configuration that do not decide the result, apart from the last bits of sums. Data, weights and
# the task file count by their content.
NON_RESULT_KEYS = ("out", "threads", "device", "data", "data_cache", "weights", "task_file", "track")
# Folders of minbert and multitask, and modules of these names, that no training run imports.
NOT_TRAINING = {"__pycache__", "check", "cli", "course", "experiments", "export", "presets"}


@dataclass(frozen=True)
class Cell:
    """A row's configuration with one seed, and its key."""

    row: str
    seed: int
    config: RunConfig
    key: str

    @property
    def folder_name(self) -> str:
        """A readable name for its run, unique to the cell."""
        return f"{slug(self.row)}-seed-{self.seed}-{self.key[:8]}"


def make_cell(row: str, seed: int, config: RunConfig) -> Cell:
    """Returns the cell of a row and a seed. Raises InputError for missing data or weights."""
    config = replace(config, train=replace(config.train, seed=seed))
    return Cell(row, seed, config, cell_key(config))


def cell_key(config: RunConfig) -> str:
    """Returns the hash of all that decides the result, in hexadecimal."""
    values = {name: value for name, value in config.to_dict().items() if name not in NON_RESULT_KEYS}
    values["cache"] = {"precision": config.cache.precision}
    facts = {
        "configuration": values,
        "data": _data_hashes(config),
        "weights": _weights_hashes(config),
        "task_file": _hash(config.task_file) if config.task_file else None,
        "source": source_hash(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def slug(text: str) -> str:
    """Returns the text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "row"


def training_sources() -> list[Path]:
    """Returns the packages' files that training may use, code and data, in a fixed order."""
    packages = [Path(str(resources.files(name))) for name in ("minbert", "multitask")]
    return [
        path
        for package in packages
        for path in sorted(package.rglob("*"))
        if path.is_file() and not NOT_TRAINING & set(path.relative_to(package).parent.parts)
    ]


@cache
def source_hash() -> str:
    """Returns one hash of all training sources."""
    return _combined((path.name, _hash(path)) for path in training_sources())


def _data_hashes(config: RunConfig) -> dict[str, str]:
    """Hashes the training and dev files that exist; the bundled corpus is among the sources."""
    if config.data in (None, SAMPLE):
        return {"data": str(config.data)}
    names = {name for task in config.tasks.values() for name in (task.train, task.dev) if name}
    found = {}
    for name in sorted(names):
        files = files_of(Path(config.data) / name)
        paths = {name if len(files) == 1 else f"{name}/{path.name}": path for path in files}
        found |= {key: _hash(path) for key, path in paths.items() if path.is_file()}
    return found


def _weights_hashes(config: RunConfig) -> str:
    if config.weights in (None, SCRATCH):
        return str(config.weights)
    files = sorted(path for path in find_folder(config.weights).iterdir() if path.is_file())
    return _combined((path.name, _hash(path)) for path in files if path.suffix != ".md")


def _combined(entries: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(list(entries)).encode()).hexdigest()


def _hash(path: str | Path) -> str:
    path = Path(path).resolve()
    state = path.stat()
    return _hash_of_version(path, state.st_size, state.st_mtime_ns)


@cache
def _hash_of_version(path: Path, size: int, changed: int) -> str:
    """Reads a large file once for all cells."""
    return file_hash(path)
