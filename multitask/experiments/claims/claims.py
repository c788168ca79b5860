"""Work that several processes and machines share: each piece is claimed by a lease, done, and recorded once.

A lease has a number. Who wants a piece of work whose last lease is N, and whose holder is gone, makes lease
N + 1; the store lets only one succeed. A holder is gone where its process has died, which is known at once
on the same machine, or where its heartbeat has stood still for as long as `expiry` while this process
watched: no two machines' clocks are ever compared. No torch here.
"""

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from multitask.experiments.claims.database import DatabaseStore
from multitask.experiments.claims.folder import FolderStore
from multitask.experiments.claims.leases import Holder, Lease, Store

EXPIRY = 90.0  # seconds; attributes of network file systems may be seen late by a minute
BEATS = 6  # within the time of expiry


def open_store(location: str | Path) -> Store:
    """A folder that all workers see, or a database by its URL, such as sqlite:///FILE or postgresql://..."""
    return DatabaseStore(str(location)) if "://" in str(location) else FolderStore(Path(location))


class Claims:
    """What one process may do, has seen done, and sees others do."""

    def __init__(self, store: Store, expiry: float = EXPIRY):
        self.store = store
        self.expiry = expiry
        self._seen: dict[str, tuple[Lease, float]] = {}  # the lease, and since when it looks like that

    def claim(self, key: str, silent: tuple[int, int] | None = None) -> "Claim | None":
        """The right to do a piece of work; None where it is done, or another does it.

        `silent` is what `silent_lease` of another process gave, which has watched for longer than this one.
        """
        if self.store.records([key]):
            return None
        lease = self.store.newest(key)
        watched = lease is not None and silent is not None and (lease.number, lease.beat) == tuple(silent)
        if lease is not None and not watched and not self._has_expired(key, lease):
            return None
        number = 1 if lease is None else lease.number + 1
        if not self.store.add(key, number, Holder.this_process()):
            return None
        claim = Claim(self.store, key, number, lease.holder if lease else None, self.expiry)
        if self.store.records([key]):  # the last holder finished while we looked at its lease
            claim.release()
            return None
        return claim

    def holder(self, key: str) -> Holder | None:
        """Who does a piece of work at present."""
        lease = self.store.newest(key)
        return None if lease is None or self._has_expired(key, lease) else lease.holder

    def silent_lease(self, key: str) -> tuple[int, int] | None:
        """Number and beat of a lease whose holder has been silent for too long; None for no such lease."""
        lease = self.store.newest(key)
        return None if lease is None or not self._has_expired(key, lease) else (lease.number, lease.beat)

    def results(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What finished work gave, by key."""
        return {key: json.loads(text) for key, text in self.store.records(keys).items()}

    def forget(self, key: str) -> None:
        """Drops a result, so that the work can be claimed anew."""
        self.store.forget(key)

    def _has_expired(self, key: str, lease: Lease) -> bool:
        if lease.holder.has_died:
            return True
        seen, since = self._seen.get(key, (None, 0.0))
        now = time.monotonic()
        if seen != lease:
            self._seen[key] = lease, now
            return False
        return now - since > self.expiry


class Claim:
    """A piece of work in this process's hands: `with claim: ... claim.finish(result)`.

    The heartbeat runs while the block does. `lost` is set where another process took the work over, because
    this one was silent for too long. A block that ends without `finish` gives the work back. `before` is
    the holder of the lease before, who did not finish; None for the first.
    """

    def __init__(self, store: Store, key: str, number: int, before: Holder | None, expiry: float = EXPIRY):
        self.store = store
        self.key = key
        self.number = number
        self.before = before
        self.lost = threading.Event()
        self._interval = expiry / BEATS
        self._ended = threading.Event()
        self._finished = False
        self._thread: threading.Thread | None = None

    def finish(self, result: dict[str, Any]) -> bool:
        """Records the result; False where another process was first, whose result stays."""
        self._finished = True
        return self.store.record(self.key, json.dumps(result, allow_nan=False))

    def release(self) -> None:
        """Gives the work back undone."""
        self.store.remove(self.key, self.number)

    def __enter__(self) -> "Claim":
        self._thread = threading.Thread(target=self._keep_beating, name=f"lease {self.key}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._ended.set()
        self._thread.join()
        if not self._finished:
            self.release()

    def _keep_beating(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                if not self.store.beat(self.key, self.number):
                    self.lost.set()
                    return
            except Exception:  # a network that is away for a moment; expiry decides what too long is
                continue
