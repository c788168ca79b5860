"""The checked process: loads a user's file, runs the stages, writes what each gives. Started by process.py.

Run: python -m minbert.check.isolation.worker ORDER, which is JSON
"""

import ctypes
import faulthandler
import json
import os
import reprlib
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from minbert.check.isolation.imports import UserImports
from minbert.check.isolation.network import NetworkRefusal
from minbert.check.isolation.outcome_file import write_outcome
from minbert.check.judge import load_candidate, outcome_of, run_in_place, run_stage
from minbert.check.parts import find_part
from minbert.check.stage import Outcome, Part, Stage

PR_SET_CHILD_SUBREAPER = 36
PRINTED = 2000  # characters kept of what a step printed


class Worker:
    """Runs steps one after the other; each appends its outcome to a file, and the next begins.

    `order` has: part, settings, file, stages (their numbers in the part), in_place (functions by stage, see
    Part), results (the file's descriptor), output_bytes, file_bytes.
    """

    def __init__(self, order: dict[str, Any]):
        self.order = order
        self.file = Path(order["file"])
        self.process = os.getpid()
        self.printed = os.dup(1)  # the user's code may put something else there
        self.network = NetworkRefusal()
        self.root = self.file.parent  # of the user's project
        self.notes: list[str] = []
        self.candidate = None

    def run(self) -> None:
        import torch  # noqa: F401  its time is not the user's

        part = find_part(self.order["part"], self.order["settings"])
        limit_files(self.order["file_bytes"])
        adopt_orphans()
        Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
        sys.addaudithook(self.network)
        self.step(lambda: Outcome({}))  # the start
        if self.step(partial(self._load, part)):
            for number in self.order["stages"]:
                self.step(partial(self._run, part, part.stages[number]))

    def _load(self, part) -> Outcome:
        imports = UserImports(self.file, self.notes)
        self.root = imports.root
        self.candidate = load_candidate(part, imports.load())
        return Outcome({})

    def _run(self, part: Part, stage: Stage) -> Outcome:
        functions = self.order["in_place"].get(stage.name)
        if functions:
            return run_in_place(part, stage, self.candidate, functions, self.root)
        return run_stage(stage, self.candidate, self.root)

    def step(self, action: Callable[[], Outcome]) -> bool:
        """Writes what `action` gives or raises; says whether it went without a problem."""
        with suppress(OSError):
            os.chdir(self.file.parent)  # the user's code may have gone elsewhere
        with suppress(OSError):
            os.truncate(self.printed, 0)
        self.network.tried.clear()
        try:
            outcome = self._explain(action())
        except SystemExit as exit:
            outcome = Outcome(problem="exit", detail=f"it called sys.exit({reprlib.repr(exit.code)})")
        except BaseException as error:
            outcome = self._explain(outcome_of(error, self.root))
        if os.getpid() != self.process:  # a fork made by the user's code came here too
            os._exit(0)
        outcome = replace(outcome, printed=self._printed() + outcome.printed)
        write_outcome(self.order["results"], outcome)
        return not outcome.problem

    def _explain(self, outcome: Outcome) -> Outcome:
        if self.network.tried:
            note = f"it tried to reach {self.network.tried[0]}; a checked file has no network"
            if outcome.problem:
                return replace(outcome, problem="network", detail=note)
            return replace(outcome, printed=f"[{note}]")
        if outcome.problem and self.candidate is None and self.notes:
            outcome = replace(outcome, detail="\n".join((outcome.detail, *self.notes)))
        if outcome.problem and "EOFError" in outcome.detail:
            return replace(outcome, detail=f"{outcome.detail}\n(standard input is empty here)")
        size = sum(value.nbytes for value in (outcome.outputs or {}).values())
        if size > self.order["output_bytes"]:
            shapes = ", ".join(f"{name} {value.shape}" for name, value in outcome.outputs.items())
            return Outcome(problem="memory", detail=f"its outputs are too large: {shapes}"[:500])
        return outcome

    def _printed(self) -> str:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the user's code may have put anything there
                stream.flush()
        with suppress(OSError):  # ... closed every file
            return read_start(self.printed)
        return ""


def read_start(descriptor: int) -> str:
    """The first characters of a file."""
    text = os.pread(descriptor, PRINTED, 0).decode("utf-8", "replace")
    rest = os.fstat(descriptor).st_size - PRINTED
    return f"{text}\n[and {rest:,} more bytes]" if rest > 0 else text


def limit_files(size: int) -> None:
    """No file that is written grows beyond `size` bytes, and a crash leaves no core file."""
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    size = size if allowed == resource.RLIM_INFINITY else min(size, allowed)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own has ended, on Linux, so that they are seen."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with(parent: int) -> None:
    """Ends this session when the process that started it has ended without a word."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    faulthandler.enable()  # a crash of the interpreter shows where
    Worker(json.loads(sys.argv.pop())).run()


if __name__ == "__main__":
    main()
