"""Caches the replies of a language model, and accounts for every request, in a JSON Lines file.

Each line is on the disk before the next step is taken. A request is written down before it is sent, so that
after a kill the requests that may have been paid without a reply are known: they count with the most that
they can have cost. No torch here.
"""

import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from minbert import (
    AMOUNT,
    TEXT,
    InputError,
    Rule,
    by_key,
    check_value,
    make_folder,
    or_null,
    parse_json,
    whole,
)
from multitask.data.records import read_text

_NUMBER = {"request": whole(1)}
_BEGUN = by_key(_NUMBER | {"key": TEXT, "bound": AMOUNT})
_FAILED = by_key(_NUMBER | {"error": TEXT, "cost": AMOUNT})
_REPLIED = by_key(
    _NUMBER
    | {
        "key": TEXT,
        "reply": by_key(
            {
                "text": TEXT,
                "finish_reason": or_null(TEXT),
                "prompt_tokens": or_null(whole(0)),
                "completion_tokens": or_null(whole(0)),
                "cost": AMOUNT,
            }
        ),
    }
)
_START = '{"request": '  # of every line


@dataclass(frozen=True)
class Reply:
    """The model's text, and the tokens and the money that it took; None where that is not known."""

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float


@dataclass(frozen=True)
class Failure:
    """A request without a usable reply, and what it may have cost.

    `again` says that another attempt may help, `ends_run` that every other request would fail the same way,
    `wait` for how many seconds the endpoint asks.
    """

    reason: str
    cost: float = 0.0
    again: bool = True
    ends_run: bool = False
    wait: float | None = None
    advice: str = "check that the endpoint is up, and run the same command again"


def _kind_of(record: Any) -> Rule:
    """Returns the rule for a line: a request that begins, its reply, or why there is none."""
    if isinstance(record, dict) and "bound" in record:
        return _BEGUN
    return _REPLIED if isinstance(record, dict) and "reply" in record else _FAILED


def request_key(body: dict[str, Any], attempt: str) -> str:
    """Returns the key of a reply: a hash of model, prompt, settings, and which attempt at which row it is."""
    text = json.dumps([body, attempt], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class ReplyCache:
    """Replies by key, and the accounts of all runs that used this file.

    Locks the file until `close`. Raises InputError where another process has locked it, and for a file in
    another format. `cost` is in the currency of the prices, `requests` counts every attempt, `under_way` has
    the bounds on the cost of requests that have not ended.
    """

    def __init__(self, path: Path):
        self.path = path
        self.replies: dict[str, Reply] = {}
        self.cost = 0.0
        self.requests = 0
        self.under_way: dict[int, float] = {}
        self.notes: list[str] = []
        make_folder(path.parent)
        self._file = open(path, "a", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            self._file.close()
            raise InputError(
                f"{path} is in use by another augment; wait until it ends, or give another --cache"
            ) from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "ReplyCache":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def most(self) -> float:
        """The most that all requests so far can have cost."""
        return self.cost + sum(self.under_way.values())

    def begin(self, key: str, bound: float) -> int:
        """Writes down that a request is about to be sent that costs at most `bound`; -> its number."""
        self._write({"request": self.requests + 1, "key": key, "bound": bound})
        return self.requests

    def end(self, request: int, key: str, answer: Reply | Failure) -> None:
        """Keeps a reply, or writes down why there is none and what that may have cost."""
        if isinstance(answer, Reply):
            self._write({"request": request, "key": key, "reply": asdict(answer)})
        else:
            self._write({"request": request, "error": answer.reason, "cost": answer.cost})

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        request = int(record["request"])
        if "bound" in record:
            self.under_way[request] = float(record["bound"])
            self.requests = max(self.requests, request)
            return
        if "reply" in record:
            reply = Reply(**{f.name: record["reply"][f.name] for f in fields(Reply)})
            self.replies[record["key"]] = reply
            self.cost += reply.cost
        else:
            self.cost += float(record["cost"])
        del self.under_way[request]

    def _read(self) -> None:
        """Reads the file; what a kill cut off in the middle of a line is removed."""
        remedy = "give another --cache, or remove that line"
        *lines, rest = read_text(self.path).split("\n")
        for number, line in enumerate([*lines, rest], start=1):
            try:
                if number <= len(lines):
                    record = parse_json(line)
                    where = f"{self.path}:{number} is not a line of a cache of augment: "
                    check_value("", record, _kind_of(record), where, f"; {remedy}")
                    self._take(record)
                elif rest[: len(_START)] != _START[: len(rest)]:
                    raise ValueError
            except InputError:
                raise
            except (ValueError, KeyError):  # not JSON, or the end of a request that did not begin
                raise InputError(
                    f"{self.path}:{number} is not a line of a cache of augment; {remedy}"
                ) from None
        if rest:
            self._file.truncate(sum(len(line.encode("utf-8")) + 1 for line in lines))
        if self.under_way:
            self.cost = self.most
            self.notes.append(
                f"{len(self.under_way)} requests were under way when an earlier run was killed; they count "
                f"as paid, and may be asked again"
            )
            self.under_way.clear()
