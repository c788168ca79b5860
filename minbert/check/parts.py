"""The parts that can be checked, by name, and how a part is found: a string "package.module:NAME"."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from minbert.errors import InputError

if TYPE_CHECKING:
    from minbert.check.stage import Part  # with numpy, which no command's --help needs

ENTRY_POINTS = "minbert.check"
OWN_PARTS = {
    "model": "minbert.check.bert.model:MODEL",
    "optimizer": "minbert.check.components.optimizer:OPTIMIZER",
    "lora": "minbert.check.components.lora:LORA",
    "pooling": "minbert.check.components.pooling:POOLING",
    "tokenizer": "minbert.check.components.tokenizer:TOKENIZER",
}

CONFIGURED_MODEL = "minbert.check.bert.model:model_with_config"  # with settings


def part_places() -> dict[str, str]:
    """Name -> place of all installed parts: minbert's own, and those of the entry points "minbert.check"."""
    from importlib.metadata import entry_points

    return OWN_PARTS | {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def part_files(folder: Path, places: Mapping[str, str], root: Path) -> dict[str, Path]:
    """Name -> file of the parts that have theirs in a folder. Raises InputError for a link out of `root`."""
    files = {name: folder / find_part(place).file for name, place in places.items()}
    for path in files.values():
        if path.is_file() and not path.resolve().is_relative_to(root.resolve()):
            raise InputError(f"{path} is a link that leads out of {root}; put the file itself there")
    return {name: path for name, path in files.items() if path.is_file()}


@cache
def _attribute(place: str):
    module, _, name = place.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"there is no part {place} ({error}); give package.module:NAME") from None


def find_part(place: str, settings: Mapping[str, str] | None = None) -> Part:
    """The part at a place, or what a function there makes of `settings`. Raises InputError for none."""
    from minbert.check.stage import Part

    found = _attribute(place)
    part = found if settings is None else found(**settings)
    if not isinstance(part, Part):
        raise InputError(f"{place} is a {type(part).__name__}; it must be a minbert.check.stage.Part")
    return part
