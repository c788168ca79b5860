"""The processes of a session and what descends from it: how much memory they hold, and their end.

Linux tells by /proc, other systems by the command `ps`. Nothing outside the standard library is needed.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
ROUNDS_OF_KILLING = 200  # a process may start another while we look, and takes a while to end
PAUSE = 0.01  # seconds between two rounds


class Process(NamedTuple):
    pid: int
    parent: int
    group: int  # the session on Linux, the process group elsewhere
    resident: int  # bytes
    started: str = ""  # when, on Linux: another process of the same pid has another time


def living_processes() -> list[Process]:
    """All processes of this machine that have not ended."""
    return list(_from_proc() if (PROC / "self/stat").exists() else _from_ps())


def _from_proc() -> Iterable[Process]:
    page = os.sysconf("SC_PAGE_SIZE")
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):  # it ended while we looked
            # After the name, which stands in parentheses and may hold anything: state, parent, group,
            # session.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            resident = int((folder / "statm").read_text().split()[1]) * page
            if fields[0] != "Z":
                yield Process(int(folder.name), int(fields[1]), int(fields[3]), resident, fields[19])


def _from_ps() -> Iterable[Process]:
    columns = ["-o", "pid=", "-o", "ppid=", "-o", "pgid=", "-o", "rss=", "-o", "stat="]
    table = subprocess.run(["ps", "-ax", *columns], capture_output=True, text=True, check=True).stdout
    for line in table.splitlines():
        pid, parent, group, kilobytes, state = line.split()
        if not state.startswith("Z"):
            yield Process(int(pid), int(parent), int(group), int(kilobytes) * 1024)


def family(leader: int, processes: Iterable[Process]) -> list[Process]:
    """The leader of a session, all of its session, and the descendants of these."""
    processes = list(processes)
    found = {process.pid for process in processes if leader in (process.pid, process.group)}
    while True:
        more = {process.pid for process in processes if process.parent in found} - found
        if not more:
            return [process for process in processes if process.pid in found]
        found |= more


def kill_family(leader: int, mark: str, seen: Set[tuple[int, str]] = frozenset()) -> None:
    """Kills a session, its descendants, and on Linux every process that has `mark` in its environment.

    The mark (NAME=value), and `seen` (pid and start of former members), find those that left the session and
    whose parent has ended. Waits until all are gone: one that is ending has no environment any more, and is
    still there.
    """
    killed: set[int] = set()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for _ in range(ROUNDS_OF_KILLING):
        processes = living_processes()
        pids = {process.pid for process in family(leader, processes)}
        for process in processes:
            if (process.pid, process.started) in seen or _is_marked(process.pid, mark):
                pids.add(process.pid)
        pids.discard(os.getpid())
        if not pids and killed.isdisjoint(process.pid for process in processes):
            return
        killed |= pids
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(PAUSE)


def _is_marked(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
