"""What a lease is: a numbered claim on a piece of work, who holds it, and where leases and records are kept.

No torch here.
"""

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol


@dataclass(frozen=True)
class Holder:
    """A process: `machine` names host, boot and process namespace, `started` tells reused numbers apart."""

    host: str
    machine: str
    process: int
    started: str

    @classmethod
    def this_process(cls) -> "Holder":
        return cls(platform.node(), _machine(), os.getpid(), _started(os.getpid()) or "")

    @property
    def has_died(self) -> bool:
        """Whether it is known that the process runs no longer; of another machine's nothing is."""
        if self.machine != _machine():
            return False
        return _started(self.process) != self.started

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


class Lease(NamedTuple):
    """Claim number `number` on a piece of work; `beat` changes with each heartbeat."""

    number: int
    holder: Holder
    beat: int


class Store(Protocol):
    """Where leases and records are kept; all methods may be called by many processes at once."""

    def newest(self, key: str) -> Lease | None:
        """The lease with the highest number."""

    def add(self, key: str, number: int, holder: Holder) -> bool:
        """Adds a lease; False where one of that number is there."""

    def beat(self, key: str, number: int) -> bool:
        """Changes the lease's beat; False where a lease with a higher number is there, or none."""

    def remove(self, key: str, number: int) -> None:
        """Removes a lease whose holder gives it back."""

    def record(self, key: str, text: str) -> bool:
        """Keeps the record of finished work; False where there is one, which stays."""

    def forget(self, key: str) -> None:
        """Removes a record."""

    def records(self, keys: Iterable[str]) -> dict[str, str]:
        """The records that there are."""


def _machine() -> str:
    """What two processes share exactly if one can tell whether the other lives."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _started(process: int) -> str | None:
    """When a process of this machine started, in the kernel's ticks; None where it does not run."""
    try:
        # "PID (NAME) STATE ...": the name may hold spaces and brackets; Z is a zombie, X is dead.
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    try:  # a system without /proc
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""
