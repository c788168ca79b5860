"""Leases and records as files in a folder that all workers see, a network folder for several machines.

A lease is the file `KEY.NUMBER.lease`; it is made by linking a complete file to that name, which the file
system lets one process do. Its time of change is the heartbeat.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from minbert import make_folder
from multitask.experiments.claims.leases import Holder, Lease


class FolderStore:
    """See multitask.experiments.claims.leases.Store."""

    def __init__(self, folder: Path):
        make_folder(folder)
        self.folder = folder

    def newest(self, key: str) -> Lease | None:
        while numbers := self._numbers(key):
            path = self._lease(key, max(numbers))
            with suppress(FileNotFoundError):  # given back in this moment: look again
                holder = Holder(**json.loads(path.read_text(encoding="utf-8")))
                return Lease(max(numbers), holder, path.stat().st_mtime_ns)
        return None

    def add(self, key: str, number: int, holder: Holder) -> bool:
        return self._link(self._lease(key, number), json.dumps(asdict(holder)))

    def beat(self, key: str, number: int) -> bool:
        if max(self._numbers(key), default=0) != number:
            return False
        with suppress(FileNotFoundError):
            os.utime(self._lease(key, number))
            return True
        return False

    def remove(self, key: str, number: int) -> None:
        self._lease(key, number).unlink(missing_ok=True)

    def record(self, key: str, text: str) -> bool:
        return self._link(self._record(key), text)

    def forget(self, key: str) -> None:
        self._record(key).unlink(missing_ok=True)

    def records(self, keys: Iterable[str]) -> dict[str, str]:
        found = {}
        for key in keys:
            with suppress(FileNotFoundError):
                found[key] = self._record(key).read_text(encoding="utf-8")
        return found

    def _numbers(self, key: str) -> list[int]:
        names = (path.name for path in self.folder.glob(f"{key}.*.lease"))
        return [int(name.removeprefix(f"{key}.").removesuffix(".lease")) for name in names]

    def _lease(self, key: str, number: int) -> Path:
        return self.folder / f"{key}.{number}.lease"

    def _record(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _link(self, path: Path, text: str) -> bool:
        """Makes a file whole; False where there is one of that name."""
        with self._complete(text) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        return True

    @contextmanager
    def _complete(self, text: str) -> Iterator[Path]:
        temporary = self.folder / f".{uuid4().hex}.partial"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
