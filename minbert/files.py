"""Files and folders that are whole or not there (write beside the target, fsync, rename); JSON and TOML."""

import errno
import fcntl
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from minbert.errors import ANYTHING, InputError, Rule, check, check_value

DEPTH = 100  # of lists and objects within each other, in JSON and TOML
DIGITS = 40  # of a whole number in JSON; transformers writes 10**30 for a length without limit
JSON_SIZE, TOML_SIZE = 2**25, 2**18  # bytes that are read
FULL = {errno.ENOSPC: "its disk is full", errno.EDQUOT: "the quota of its disk is used up"}
CLOSED = {
    errno.EROFS: "its file system is read-only; choose another place, or mount it for writing",
    errno.EACCES: "its folder does not allow it; choose another place, or change its permissions",
    errno.EPERM: "its folder does not allow it; choose another place, or change its permissions",
    errno.EFBIG: "it is larger than its file system or `ulimit -f` allows; choose another place",
}
IN_THE_WAY = (errno.EXDEV, errno.EBUSY)  # of a rename: another mount, a layer of a container, a mount point


class WriteError(OSError):
    """A file cannot be written; the message says why, how many bytes are missing, and how to go on."""

    def __str__(self) -> str:
        return self.strerror


def write_error(error: OSError, path: Path, missing: int = 0) -> OSError:
    """Returns the WriteError for what went wrong with `path`, or the error itself where it says enough."""
    if isinstance(error, WriteError):
        return error
    code = error.errno
    place = next(folder for folder in path.absolute().parents if folder.exists())
    free = shutil.disk_usage(place).free
    if code is None and "requested and" in str(error):  # numpy's, for an array that was cut off
        code = errno.ENOSPC
    if code in FULL:
        lacks = f", {max(missing - free, 1):,} more needed" if missing else ""
        reason = f"{FULL[code]} ({free:,} bytes free{lacks}); make room there or choose another place"
    elif code in CLOSED:
        reason = CLOSED[code]
    else:
        return error
    return WriteError(code, f"{path} cannot be written: {reason}", str(path))


def check_room(path: str | Path, size: int) -> None:
    """Raises a WriteError where the disk of `path` has less than `size` bytes left."""
    path = follow_link(path).absolute()
    place = next(folder for folder in path.parents if folder.exists())
    if shutil.disk_usage(place).free < size:
        raise write_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path, size)


@contextmanager
def writing(path: str | Path, *own: Path) -> Iterator[None]:
    """Raises a WriteError for a full disk, a quota or a missing right at `path` or its `own` other names."""
    try:
        yield
    except shutil.Error as error:  # of copytree, with a list of what went wrong
        reason = str(error.args[0][0][-1])
        numbers = [number for number in (*FULL, *CLOSED) if os.strerror(number) in reason]
        raise write_error(OSError(*numbers[:1], reason), Path(path)) from error
    except OSError as error:
        names = [name for name in (error.filename, error.filename2) if isinstance(name, str)]
        its_own = any(Path(name).is_relative_to(place) for name in names for place in (path, *own))
        of_library = error.errno is None and type(error) is not OSError  # numpy's has no number either
        if not its_own and (names or error.errno in CLOSED or of_library):
            raise  # of another file, or of a connection
        raise write_error(error, Path(path)) from error


class _Output(io.FileIO):
    """A new file that turns a write for which there is no room into a WriteError for `path`."""

    def __init__(self, name: Path, path: Path):
        super().__init__(name, "x")
        self.path = path

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise write_error(error, self.path, memoryview(data).nbytes) from error


def follow_link(path: str | Path) -> Path:
    """Returns what a link leads to, which may not exist yet, and other paths as they are."""
    path = Path(path)
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise InputError(f"{path} is a link that leads to itself; remove it")
    return target


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside `path` that becomes `path` when the block ends without an error.

    Text is UTF-8 with line ends as written. A link is followed, and the mode of an old file kept. On an
    error (a full disk, Ctrl-C) the old file stays and the temporary one is removed. Where a rename cannot
    reach the place, as that of a mounted file, the content is copied into it. Raises WriteError.
    """
    path = follow_link(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a folder or a device; give the name of a file")
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing(path, temporary):
        temporary.unlink(missing_ok=True)
        try:
            file: IO = io.BufferedWriter(_Output(temporary, path))
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            with file if "b" in mode else io.TextIOWrapper(file, encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _replace_file(temporary, path)
        except BaseException:
            with suppress(FileNotFoundError):
                temporary.unlink()
            raise
    sync_folder(path.parent)


def _replace_file(temporary: Path, path: Path) -> None:
    try:
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in IN_THE_WAY:
            raise
        with open(temporary, "rb") as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path, keep: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `path` that takes the place of `path` when the block ends well.

    A link is followed, and the modes of the old folder and of files with the same names are kept. A kill
    between the two renames leaves the old content under `.NAME.previous`; where `path` cannot be renamed, as
    a mount point, its content is replaced, and until that is done a copy is `.NAME.kept`. `restore_folder`
    puts either back. `keep` leaves the old content under `NAME.previous` in any case. Raises InputError while
    another process writes the folder.
    """
    path = follow_link(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the name of a folder")
    partial, previous = path.with_name(f".{path.name}.partial"), _previous(path, keep)
    with _only_writer(partial, path):
        restore_folder(path, keep)
        try:
            with writing(path, partial, previous):
                yield partial
                for file in (partial, *partial.rglob("*")):
                    old = path / file.relative_to(partial)
                    if old.is_dir() == file.is_dir() and old.exists():
                        file.chmod(stat.S_IMODE(old.stat().st_mode))
                    sync_folder(file)
                try:
                    if path.exists():
                        shutil.rmtree(previous, ignore_errors=True)
                        os.replace(path, previous)
                    os.replace(partial, path)
                except OSError as error:
                    if error.errno not in IN_THE_WAY or not path.exists():
                        raise
                    _replace_content(path, partial, previous if keep else None)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            restore_folder(path, keep)
            raise
        sync_folder(path.parent)
        if not keep:
            shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def _only_writer(partial: Path, path: Path) -> Iterator[None]:
    """Makes an empty folder that no other process writes to in the block."""
    make_folder(partial)
    folder = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            own = partial.exists() and os.path.samestat(os.fstat(folder), partial.stat())
        except BlockingIOError:
            own = False
        except OSError:  # a file system without locks
            own = True
        if not own:
            raise InputError(f"{path} is being written by another process; wait for its end")
        _empty(partial)
        yield
    finally:
        os.close(folder)  # gives the lock back


def _replace_content(path: Path, partial: Path, previous: Path | None) -> None:
    kept = _kept(path)
    copy = kept.with_name(f"{kept.name}.partial")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy, symlinks=True)
    os.replace(copy, kept)
    _fill(path, partial)
    if previous is not None:
        shutil.rmtree(previous, ignore_errors=True)
        shutil.copytree(kept, previous, symlinks=True)
    shutil.rmtree(kept)
    shutil.rmtree(partial)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _fill(path: Path, source: Path) -> None:
    _empty(path)
    shutil.copytree(source, path, symlinks=True, dirs_exist_ok=True)
    for file in path.rglob("*"):
        sync_folder(file)


def _kept(path: Path) -> Path:
    return path.with_name(f".{path.name}.kept")


def restore_folder(path: str | Path, keep: bool = False) -> None:
    """Undoes what a kill in the middle of `atomic_folder(path, keep)` left behind."""
    path = follow_link(path)
    previous, kept = _previous(path, keep), _kept(path)
    if kept.exists():
        _fill(path, kept)
        shutil.rmtree(kept)
    if not path.exists() and previous.exists():
        os.replace(previous, path)
    if not keep:
        shutil.rmtree(previous, ignore_errors=True)


def _previous(path: Path, keep: bool) -> Path:
    return path.with_name(f"{'' if keep else '.'}{path.name}.previous")


def within(folder: Path, name: str, source: Path) -> Path:
    """Returns the path of what `source` names in a folder.

    Raises InputError for a name, or a link, that leads out of it. In a snapshot of the hub's cache files are
    links to that cache's blobs.
    """
    root = folder.parents[1] if folder.parent.name == "snapshots" else folder
    path = folder / name
    if (
        not name
        or "\0" in name
        or Path(name).is_absolute()
        or ".." in Path(name).parts
        or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    ):
        raise InputError(f"{source} names {name!r}, which leads out of {folder}; name a file within it")
    return path


def make_folder(path: Path) -> None:
    """Makes a folder and those above it. Raises InputError where a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{path} cannot be made, a file is in the way; choose another place") from None
    except OSError as error:
        raise write_error(error, path) from error


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


def damaged(path: Path, problem: str, remedy: str = "fetch it again") -> InputError:
    """Returns the error for a file with a `problem`; Git LFS pointers and HTML pages are recognised."""
    start = b""
    with suppress(OSError), open(path, "rb") as file:
        start = file.read(100).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return InputError(f"{path} is a Git LFS pointer, not the file; run `git lfs pull` in its repository")
    if start.startswith((b"<!doctype html", b"<html")):
        return InputError(f"{path} is an HTML page, not the file; download the file itself")
    return InputError(f"{path} {problem}; {remedy}")


def refuse_pipe(path: Path) -> None:
    """Raises InputError for a pipe, a socket or a device, which would be waited for."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a pipe or a device; put a file in its place")


def parse_json(text: str, strict: bool = True) -> Any:
    """Returns the value that a JSON text stands for, as `json.loads` does.

    Raises ValueError with the reason for what is not JSON, nested deeper than DEPTH, or has a number of more
    than DIGITS digits; `strict` also refuses NaN, the infinities, and halves of surrogate pairs, which cannot
    be written to a file.
    """
    try:
        value = (_STRICT if strict else _LENIENT).decode(text)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEPTH}") from None
    if text.count("[") + text.count("{") > DEPTH and _deeper(value, DEPTH):
        raise ValueError(f"it is nested deeper than {DEPTH}")
    if strict and _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # whose error is a ValueError
    return value


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        if not level:
            return False
        level = [
            part
            for whole in level
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
    return any(isinstance(part, dict | list) for part in level)


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"the number {digits[:10]}... has {len(digits)} digits, at most {DIGITS} are read")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is not a finite number")
    return value


_STRICT = json.JSONDecoder(parse_int=_whole, parse_float=_finite, parse_constant=_finite)
_LENIENT = json.JSONDecoder(parse_int=_whole)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_text_file(path: Path, most: int, remedy: str = "fetch it again") -> str:
    """Returns the text of a UTF-8 file of at most `most` bytes; raises InputError for another."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe may take for ever
            raise InputError(f"{path} cannot be read (it is a folder or a device); {remedy}")
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    if len(content) > most:
        raise InputError(f"{path} has more than {most:,} bytes, which are not read; {remedy}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(
            path, f"cannot be read (byte {error.start} is not UTF-8: {error.reason})", remedy
        ) from None


def read_json(path: Path, rule: Rule = ANYTHING, remedy: str = "fetch it again") -> Any:
    """Returns the value in a JSON file, which `rule` must accept.

    Raises InputError that names the file, the key and the `remedy`; see `parse_json` for what is read.
    """
    try:
        value = parse_json(read_text_file(path, JSON_SIZE, remedy))
    except InputError:
        raise
    except ValueError as error:
        raise damaged(path, f"is not JSON ({error})", remedy) from None
    check_value("", value, rule, f"{path}: ", f"; {remedy}")
    return value


def read_json_object(
    path: Path, rules: Mapping[str, Rule] | None = None, remedy: str = "fetch it again"
) -> dict[str, Any]:
    """Returns the object in a JSON file; `rules` are those of its keys. Raises InputError as `read_json`."""
    values = read_json(path, remedy=remedy)
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}; it must hold one JSON object; {remedy}")
    check(values, rules or {}, f"{path}: ", f"; {remedy}")
    return values


def read_toml(path: Path, remedy: str = "mend the file") -> dict[str, Any]:
    """Returns the table in a TOML file. Raises InputError for what is not TOML, or too deep or too large."""
    try:
        text = read_text_file(path, TOML_SIZE, remedy)
        if any(line.partition("=")[0].count(".") > DEPTH for line in text.splitlines()):
            raise RecursionError  # a dotted key, whose reading takes time that grows with its square
        value = tomllib.loads(text)
    except InputError:
        raise
    except RecursionError:
        raise damaged(path, f"is not read: it is nested deeper than {DEPTH}", remedy) from None
    except ValueError as error:  # TOMLDecodeError, or an integer of too many digits
        raise damaged(path, f"is not TOML ({error})", remedy) from None
    if _deeper(value, DEPTH):
        raise damaged(path, f"is not read: it is nested deeper than {DEPTH}", remedy)
    return value


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
