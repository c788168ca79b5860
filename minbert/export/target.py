"""From where to where: the folder that is exported, the folder that is written, and what is said of it."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from minbert.cli.shown_text import shown_line
from minbert.errors import InputError
from minbert.files import atomic_folder
from minbert.weights.hub import find_folder

FORMATS = ("hf", "sentence-transformers", "onnx")


@dataclass(frozen=True)
class ExportReport:
    """Result of an export; `largest_difference` from our own outputs where these were compared."""

    format: str
    out: str
    files: tuple[str, ...]
    largest_difference: float | None = None
    notes: tuple[str, ...] = ()

    def show(self, as_json: bool) -> None:
        """Prints one JSON object on standard output, or lines, notes among the errors."""
        if as_json:
            print(json.dumps(asdict(self)))
            return
        print(f"wrote {self.out}: {', '.join(self.files)}")
        if self.largest_difference is not None:
            print(f"largest difference from our own outputs: {self.largest_difference:.1e}")
        for note in self.notes:
            print(shown_line(f"note: {note}"), file=sys.stderr)


def weights_folder(source: str | Path) -> Path:
    """The folder of `source` that holds an encoder: itself, or best/ where it is a run's folder."""
    best = Path(source) / "best"
    is_run = (Path(source) / "environment.json").is_file() and best.is_dir()
    return best if is_run else find_folder(source)


@contextmanager
def new_folder(out: str | Path, source: Path, force: bool = False) -> Iterator[Path]:
    """An empty folder that becomes `out`, as a whole, when the block ends well; see `atomic_folder`.

    Raises InputError for a folder that holds something, unless `force`, and for one that holds `source`,
    which would be lost.
    """
    out = Path(os.path.abspath(out))
    if source.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{out} holds {source}, which is to be exported; choose another folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise InputError(f"{out} is not empty; choose another folder, or replace it with --force")
    with atomic_folder(out) as folder:
        yield folder


def files_of(folder: Path) -> tuple[str, ...]:
    """The files in a folder and below it, by their names in it."""
    return tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))
