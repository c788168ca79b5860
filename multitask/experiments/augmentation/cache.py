"""The journal of requests to a language model: what was asked, what came back, what it cost.

One JSON object a line, on the disk before the next step is taken. A request is written down before it is
sent, so that after a kill it is known which ones may have been paid without a reply: they count with the
most that they can have cost. No torch here.
"""

import fcntl
import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from minbert import InputError, make_folder
from multitask.data.readers import read_text

_START = '{"request": '  # of every line


@dataclass(frozen=True)
class Reply:
    """What the model wrote, and the tokens and the money that it took; None where that is not known."""

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float


def request_key(body: dict[str, Any], attempt: str) -> str:
    """What a reply is found by: model, prompt, sampling settings, and which attempt at which row it is."""
    text = json.dumps([body, attempt], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Journal:
    """Replies by key, and the accounts of all runs that used this file. Methods may be called by threads.

    Holds a lock on the file until `close`. Raises InputError where another process holds it, and for a file
    that is no journal. `cost` is in the currency of the prices, `requests` counts every attempt.
    """

    def __init__(self, path: Path):
        self.path = path
        self.replies: dict[str, Reply] = {}
        self.cost = 0.0
        self.requests = 0
        self.notes: list[str] = []
        self._mutex = threading.Lock()
        make_folder(path.parent)
        self._file = open(path, "a", encoding="utf-8")
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise

    def begin(self, key: str, bound: float) -> int:
        """Writes down that a request is about to be sent that costs at most `bound`; -> its number."""
        with self._mutex:
            self.requests += 1
            self._write({"request": self.requests, "key": key, "bound": bound})
            return self.requests

    def fail(self, request: int, error: str, cost: float) -> None:
        """Writes down that a request gave no reply, and what it may have cost."""
        with self._mutex:
            self.cost += cost
            self._write({"request": request, "error": error, "cost": cost})

    def finish(self, request: int, key: str, reply: Reply) -> None:
        """Keeps a reply."""
        with self._mutex:
            self.cost += reply.cost
            self.replies[key] = reply
            self._write({"request": request, "key": key, "reply": asdict(reply)})

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{self.path} is in use by another augment; wait until it ends, or give another --cache"
            ) from None

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> None:
        """Takes in what is there; what a kill cut off in the middle of a line goes."""
        *lines, rest = read_text(self.path).split("\n")
        open_bounds: dict[int, float] = {}
        for number, line in enumerate(lines, start=1):
            try:
                self._take(json.loads(line), open_bounds)
            except (ValueError, TypeError, KeyError):
                self._refuse(number)
        if rest[: len(_START)] != _START[: len(rest)]:
            self._refuse(len(lines) + 1)
        if rest:
            self._file.truncate(sum(len(line.encode("utf-8")) + 1 for line in lines))
        if open_bounds:
            self.cost += sum(open_bounds.values())
            self.notes.append(
                f"{len(open_bounds)} requests were under way when an earlier run was killed; they count as "
                f"paid, and may be asked again"
            )

    def _refuse(self, number: int) -> NoReturn:
        raise InputError(
            f"{self.path}:{number} is no line of a journal of augment; give another --cache, or "
            f"remove that line"
        )

    def _take(self, record: dict[str, Any], open_bounds: dict[int, float]) -> None:
        request = int(record["request"])
        if "bound" in record:
            open_bounds[request] = float(record["bound"])
            self.requests = max(self.requests, request)
            return
        if "reply" in record:
            reply = Reply(**record["reply"])
            self.replies[record["key"]] = reply
            self.cost += reply.cost
        else:
            self.cost += float(record["cost"])
        del open_bounds[request]
