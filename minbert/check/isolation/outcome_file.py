"""Outcomes in a file between two processes: each a length, and a safetensors file with texts as metadata.

The file has no name, so that nothing can be put in its place; what stands in it is not trusted either.
"""

import json
import os

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from minbert.check.stage import Outcome

TEXT = 4000  # characters of a problem's description
MOST = 8000  # characters of any text that is read
LENGTH = 8  # bytes


def write_outcome(descriptor: int, outcome: Outcome) -> None:
    """Appends an outcome."""
    arrays = {name: np.asarray(value, order="C") for name, value in (outcome.outputs or {}).items()}
    texts = {"problem": outcome.problem, "detail": outcome.detail[-TEXT:], "printed": outcome.printed}
    metadata = {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()}
    content = save(arrays, metadata)
    with open(descriptor, "ab", closefd=False) as file:
        file.write(len(content).to_bytes(LENGTH, "little") + content)


class UnreadableOutcome(Exception):
    """Raised for a file without an outcome that a stage can have; the message says why."""


class OutcomeReader:
    """Reads the outcomes of a file one after the other. `limit`: bytes of one that we are ready to read."""

    def __init__(self, descriptor: int, limit: int):
        self.descriptor = descriptor
        self.limit = limit
        self.place = 0

    def read(self) -> Outcome | None:
        """The next outcome; None where it is not there, or not to its end. Raises UnreadableOutcome."""
        start = self.place + LENGTH
        length = int.from_bytes(os.pread(self.descriptor, LENGTH, self.place), "little")
        written = os.fstat(self.descriptor).st_size
        if written < start:
            return None
        if length > self.limit:
            raise UnreadableOutcome(f"they take {length:,} bytes; the limit is {self.limit:,}")
        if written < start + length:
            return None
        self.place = start + length
        return _parsed(os.pread(self.descriptor, length, start))


def _parsed(content: bytes) -> Outcome:
    try:
        outputs = load(content)
        header = json.loads(content[LENGTH : LENGTH + int.from_bytes(content[:LENGTH], "little")])
        texts = {name: header["__metadata__"][name][:MOST] for name in ("problem", "detail", "printed")}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UnreadableOutcome(repr(error)) from None
    if any(value.dtype != np.float64 for value in outputs.values()):
        raise UnreadableOutcome("they are not of double precision")
    return Outcome(None if texts["problem"] else outputs, **texts)
