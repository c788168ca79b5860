"""A user's Python file that registers kinds of tasks, and the record of those that the user trained with.

The name of such a file in a run's folder, a table or a search is data. Its code runs where the user names the
file or asks for it, or where it is what the user's own training ran before.
"""

import hashlib
import json
import os
import re
import stat
import sys
from pathlib import Path
from types import ModuleType

from minbert import InputError, make_folder

TRUST = "run the task file that the folder or the configuration names, whoever wrote it"
_RAN: dict[Path, str] = {}  # the files that ran in this process -> SHA-256 of their content


def load_task_file(path: str | Path | None, sha256: str | None = None) -> None:
    """Runs a Python file that the user names, which calls `register`; None: no file.

    Raises InputError for a missing or broken file, and for one whose content has not this `sha256`.
    """
    if path is None:
        return
    path, content, found = _read(path)
    if sha256 not in (None, found):
        raise InputError(
            f"{path} has another content here (sha256 {found}) than for the command ({sha256}); keep the "
            f"file as it is, and alike on all nodes, until the command ends"
        )
    _run(path, content, found)


def load_recorded_task_file(path: str | Path | None, source: str | Path, trust: bool = False) -> None:
    """Runs the Python file that `source`, a file or a folder, names; None: no file.

    Raises InputError where the user neither named nor trained with a file of that content, unless `trust`.
    """
    if path is None or trust:
        return load_task_file(path)
    path, content, found = _read(path)
    if found not in (*_RAN.values(), *_recorded()):
        raise InputError(
            f"{source} names code that you have not trained with, {path} (sha256 {found}); it was not run: "
            f"read it, then give --task-file {path} or --trust"
        )
    return _run(path, content, found)


def task_file_hash(path: str | Path | None) -> str | None:
    """Returns the SHA-256 of the content that ran in this process; None for no file.

    One that has not run yet runs, if it may: see `load_recorded_task_file`.
    """
    if path is None:
        return None
    if Path(path).resolve() not in _RAN:
        load_recorded_task_file(path, "the configuration")
    return _RAN[Path(path).resolve()]


def record_task_file(path: str | Path) -> None:
    """Notes for later commands that the user trains with the file that ran in this process.

    The record is the user's, outside of every run's folder. Raises OSError where it cannot be written, and
    InputError for one that others could have written.
    """
    path, record = Path(path).resolve(), _record()
    found = _RAN[path]
    if found in _recorded():
        return
    make_folder(record.parent)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with open(os.open(record, flags, 0o600), "a", encoding="utf-8") as file:
        file.write(f"{found} {json.dumps(str(path))}\n")  # JSON has no line ends in a name


def _run(path: Path, content: bytes, sha256: str) -> None:
    try:
        code = compile(content, str(path), "exec", dont_inherit=True)  # no cached bytecode in its place
    except SyntaxError as error:
        raise InputError(f"{error.filename}:{error.lineno}: {error.msg}; mend the file") from None
    module = ModuleType(f"multitask_user_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for the names of their annotations
    _RAN[path.resolve()] = sha256
    exec(code, module.__dict__)


def _read(path: str | Path) -> tuple[Path, bytes, str]:
    """Returns the path, what is run from there, and its hash."""
    path = Path(path)
    try:
        is_python, is_there = path.is_file() and path.suffix == ".py", path.exists()
    except OSError:  # a name that no file system takes
        is_python = is_there = False
    if not is_python:
        what = f"{path} is no file whose name ends in .py" if is_there else f"there is no Python file {path}"
        raise InputError(f"{what}; give the file that registers your task")
    content = path.read_bytes()
    return path, content, hashlib.sha256(content).hexdigest()


def _record() -> Path:
    """Returns the path of the record: a line for each file, its hash and its name."""
    state = Path(os.environ.get("XDG_STATE_HOME") or "")
    if not state.is_absolute():  # then it is to be ignored, its specification says
        state = Path.home() / ".local" / "state"
    return state / "minbert" / "task-files"


def _recorded() -> set[str]:
    """Reads the hashes in the record. Raises InputError for a record that others could have written."""
    record = _record()
    try:
        with open(os.open(record, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as file:
            facts = os.fstat(file.fileno())
            own = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
            if not own or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise InputError(f"{record} is not yours alone; remove it, it is made anew with mode 600")
            return set(re.findall(r"^([0-9a-f]{64}) ", file.read(), re.MULTILINE))
    except FileNotFoundError:
        return set()
