"""Locks of files and folders, which end with the process that holds them: one writer at a time."""

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from minbert import InputError, atomic_write, make_folder
from multitask.runtime.messages import logger


def take_lock(path: Path, required: bool = True, timeout: float = 0) -> AbstractContextManager | None:
    """Locks a file until the end of the context that it returns; None where another process has the lock.

    `timeout` is how many seconds it waits for that process, -1 for as long as it takes. The process's end,
    however it ends, gives the lock back too.

    Raises InputError on a file system without locks, or does without one that is not required.
    """
    try:
        return FileLock(path, fallback_to_soft=False).acquire(timeout=timeout)
    except Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        if not required:
            return nullcontext()
        raise InputError(
            f"{path} cannot be locked ({error}); give --out a folder of this machine, or --engine ray"
        ) from None


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Keeps other commands from writing to a folder, or file, in the block; of several processes rank 0 does.

    `.NAME.lock` beside it is locked, `.NAME.holder` says by whom. Where locks cannot be had, there is a
    warning and no lock. Raises InputError that names the holder where another process has it.
    """
    if int(os.environ.get("RANK", 0)):
        yield
        return
    folder = folder.resolve()
    path, holder = (folder.with_name(f".{folder.name}.{kind}") for kind in ("lock", "holder"))
    make_folder(folder.parent)
    try:
        lock = take_lock(path)
    except InputError:
        logger.warning(f"{path} cannot be locked; let no other command write to {folder} meanwhile")
        yield
        return
    if lock is None:
        name = "another process"
        with suppress(OSError, UnicodeDecodeError):
            name = holder.read_text(encoding="utf-8").strip()
        raise InputError(f"{folder} is in use by {name}; wait for its end, or choose another folder")
    with lock:
        with suppress(OSError), atomic_write(holder) as file:
            file.write(f"{this_place()} since {datetime.now().isoformat(' ', 'seconds')}\n")
        try:
            yield
        finally:
            with suppress(OSError):
                holder.unlink()


def this_place() -> str:
    """Returns the number of this process and the name of its machine."""
    return f"process {os.getpid()} on {socket.gethostname()}"
