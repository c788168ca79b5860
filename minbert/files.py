"""Files and folders that are whole or not there (write beside the target, fsync, rename); JSON files."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from minbert.errors import InputError


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside `path` that becomes `path` when the block ends without an error.

    Text is UTF-8 with line ends as written. On an error (a full disk, Ctrl-C) the old file stays and
    the temporary one is removed.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a folder or a device; give the name of a file")
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(temporary, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(FileNotFoundError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk says which file it had no room for
        raise
    sync_folder(path.parent)


@contextmanager
def atomic_folder(path: str | Path, keep: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `path` that takes the place of `path` when the block ends well.

    A kill between the two renames leaves the old content under `.NAME.previous`;
    `restore_folder` puts it back. `keep` leaves it there in any case, under `NAME.previous`.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the name of a folder")
    partial, previous = path.with_name(f".{path.name}.partial"), _previous(path, keep)
    restore_folder(path, keep)
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    try:
        yield partial
        for file in (partial, *partial.rglob("*")):
            sync_folder(file)
        if path.exists():
            shutil.rmtree(previous, ignore_errors=True)
            os.replace(path, previous)
        os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        restore_folder(path, keep)
        raise
    sync_folder(path.parent)
    if not keep:
        shutil.rmtree(previous, ignore_errors=True)


def restore_folder(path: str | Path, keep: bool = False) -> None:
    """Undoes what a kill in the middle of `atomic_folder(path, keep)` left behind."""
    path = Path(path)
    previous = _previous(path, keep)
    if not path.exists() and previous.exists():
        os.replace(previous, path)
    if not keep:
        shutil.rmtree(previous, ignore_errors=True)


def _previous(path: Path, keep: bool) -> Path:
    return path.with_name(f"{'' if keep else '.'}{path.name}.previous")


def make_folder(path: Path) -> None:
    """Makes a folder and those above it. Raises InputError where a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{path} cannot be made, a file is in the way; choose another place") from None


def sync_folder(path: Path) -> None:
    """Asks the disk to keep what was written to a file or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, value: Any, sort_keys: bool = False) -> None:
    """Writes a value as JSON, whole or not at all. Raises ValueError for NaN and the infinities."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n")


def git_blob_id(path: str | Path) -> str:
    """Returns the id that git gives to a file's content: the SHA-1 of `blob SIZE`, a NUL and the content."""
    with open(path, "rb") as file:
        header = b"blob %d\0" % os.fstat(file.fileno()).st_size
        digest = hashlib.file_digest(file, lambda: hashlib.sha1(header, usedforsecurity=False))
    return digest.hexdigest()


def damaged(path: Path, problem: str) -> InputError:
    """Returns the error for a file with a `problem`; Git LFS pointers and HTML pages are recognised."""
    start = b""
    with suppress(OSError), open(path, "rb") as file:
        start = file.read(100).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return InputError(f"{path} is a Git LFS pointer, not the file; run `git lfs pull` in its repository")
    if start.startswith((b"<!doctype html", b"<html")):
        return InputError(f"{path} is an HTML page, not the file; download the file itself")
    return InputError(f"{path} {problem}; fetch it again")


def refuse_pipe(path: Path) -> None:
    """Raises InputError for a pipe, a socket or a device, which would be waited for."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a pipe or a device; put a file in its place")


def read_json(path: Path) -> Any:
    """Returns the value in a JSON file. Raises InputError for a file that is missing or is not JSON."""
    refuse_pipe(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); fetch it again") from None
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"is not JSON ({error})") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file. Raises InputError as `read_json` does, and for other values."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}; it must hold one JSON object")
    return values


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends. Raises InputError that names a line in another code."""
    if not Path(path).exists():
        raise InputError(f"there is no file {path}; give a text file with one sentence a line")
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; give a text file with one sentence a line")
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number} is not UTF-8 ({error.reason}); save the file as UTF-8"
                ) from None
