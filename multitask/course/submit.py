"""The command `multitask submit`: code and predictions as one zip, once the predictions are valid.

The same files always give the same bytes: names are sorted, and all entries have one date.
"""

import os
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from minbert import CommandParser, InputError, atomic_write
from multitask.config.option_types import comma_list

PREDICTIONS = "predictions"
INVALID = 1  # exit status where a prediction file has errors
LARGE = 10_000_000  # bytes of one file
SKIPPED = ("__pycache__", "node_modules")
DATA_TO_CHECK_BY = "folder with the data files; default: that of the run that FOLDER is in, else ./data"
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold


@dataclass
class Submission:
    """Content of the zip, name in it -> file, and warnings for the user."""

    files: dict[str, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def add_submit_options(parser: CommandParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="your folder with predictions/ in it, or a run's")
    parser.add_argument("out", metavar="OUT.zip", help="the zip to write")
    parser.add_argument("--data", help=DATA_TO_CHECK_BY)
    tasks = "comma-separated; whose predictions to check, as in `validate`"
    parser.add_argument("--tasks", type=comma_list, help=tasks)
    parser.add_argument("--code", metavar="DIR", help="folder of the Python files; default FOLDER")


def submit_command(options: Namespace) -> int | None:
    """Validates, then writes the zip; status 1, and no zip, where a prediction file has errors."""
    from multitask.tasks.validation import validate_predictions

    folder, out = Path(options.folder), Path(options.out)
    if out.suffix != ".zip":
        raise InputError(f"OUT.zip is {out}, which is not named as a zip; give a name such as submission.zip")
    if not (folder / PREDICTIONS).is_dir():
        hint = f"give the folder above it, {folder.parent}"
        write = f"`multitask predict RUN --out {folder / PREDICTIONS}` writes one"
        raise InputError(
            f"{folder} has no folder {PREDICTIONS}/; {hint if folder.name == PREDICTIONS else write}"
        )
    found = validate_predictions(folder / PREDICTIONS, options.data, options.tasks)
    print("\n".join(found.lines()))
    if found.errors:
        print(f"{out} was not written: mend the errors first")
        return INVALID
    submission = collect(folder, Path(options.code or folder), out)
    write_zip(out, submission)
    for name, path in submission.files.items():
        print(f"{path.stat().st_size:>12,}  {name}")
    print("\n".join([*(f"warning: {text}" for text in submission.warnings), f"wrote {out}"]))
    return None


def collect(folder: Path, code: Path, out: Path) -> Submission:
    """Collects the Python files under `code` and all files under `folder`/predictions.

    Hidden files and folders, caches, virtual environments and `out` itself are left out. A link to a file
    stands for the file, a link to a folder is left out; both are warned of.
    """
    if not code.is_dir():
        raise InputError(f"there is no folder {code}; give --code the folder with your Python files")
    found = Submission()
    for path in _files(code, found.warnings, without=PREDICTIONS):
        if path.suffix == ".py":
            _add(found, str(PurePosixPath(path.relative_to(code))), path)
    if not found.files:
        found.warnings.append(f"{code} has no .py file; give --code the folder with your code")
    for path in _files(folder / PREDICTIONS, found.warnings):
        if path.resolve() != out.resolve():
            _add(found, str(PurePosixPath(path.relative_to(folder))), path)
    found.files = dict(sorted(found.files.items()))
    return found


def write_zip(out: Path, submission: Submission) -> None:
    """Writes the zip, whole or not at all."""
    with atomic_write(out, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, path in submission.files.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())


def _add(found: Submission, name: str, path: Path) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name!r} is a name that no zip can hold; rename the file") from None
    if path.is_symlink():
        found.warnings.append(f"{name} is a link; the zip holds the content of {path.resolve()}")
    size = path.stat().st_size
    if size > LARGE:
        found.warnings.append(f"{name} is large, {size / 1e6:.0f} MB")
    found.files[name] = path


def _files(folder: Path, warnings: list[str], without: str = "") -> Iterator[Path]:
    """Yields the files below a folder that are not hidden, without its entry of that name.

    Warns of links to folders, and of what is not a file.
    """
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name in (*SKIPPED, without):
            continue
        if entry.is_dir():
            if entry.is_symlink():
                warnings.append(f"{path} is a link to a folder; what is in it was left out")
            elif not (path / "pyvenv.cfg").exists():  # a virtual environment, whatever its name
                yield from _files(path, warnings)
        elif entry.is_file():
            yield path
        else:
            warnings.append(f"{path} is a broken link or a device, and was left out")
