"""A user's file checked in a process of its own, within limits. These are limits, not a security sandbox.

The process appends the outputs of each stage to a file (worker.py); we watch its time, its memory and what
it prints, start it again after a crash, and judge the outputs here. That file and the one of what is printed
have no names, and its temporary folder is only removed: nothing that it leaves there is read.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

from minbert.check.isolation.outcome_file import OutcomeReader, UnreadableOutcome
from minbert.check.isolation.process_tree import family, kill_family, living_processes
from minbert.check.isolation.worker import read_start
from minbert.check.judge import InPlace, excuse_consequences, judge_all
from minbert.check.parts import find_part
from minbert.check.stage import NOT_RUN, Finding, Outcome, Part
from minbert.errors import InputError

START, LOAD, FIRST_STAGE = 0, 1, 2  # the numbers of the steps; the stages follow
PAUSE = 0.02  # seconds between two looks at the process
MARK = "MINBERT_CHECK_RUN"
OVERHEAD = 1_000_000  # bytes of an outcome beside its arrays
# Variables that Python, torch and the programs that a file may start need; no keys, no tokens.
ENVIRONMENT = frozenset(
    "PATH HOME LANG LANGUAGE TZ LD_LIBRARY_PATH DYLD_LIBRARY_PATH DYLD_FALLBACK_LIBRARY_PATH "
    "KMP_DUPLICATE_LIB_OK CUDA_VISIBLE_DEVICES".split()
)
LOCALE = "LC_"


@dataclass(frozen=True)
class Limits:
    """Limits of a checked file. `stage_seconds` holds for loading the file, too."""

    stage_seconds: float = 20
    total_seconds: float = 200  # of the file and all of its stages, without the start of Python and torch
    memory_bytes: int = 4 << 30  # resident, with the processes that it starts
    start_seconds: float = 180
    output_bytes: int = 64 << 20  # of a stage's arrays
    printed_bytes: int = 1 << 20  # what is printed beyond this is dropped
    file_bytes: int = 1 << 30  # of any file that it writes
    processes: int = 256  # at once, with its own
    restarts: int = 5  # after that the remaining stages are not run


def check_file(
    part_place: str, path: str | Path, limits: Limits | None = None, settings: Mapping[str, str] | None = None
) -> list[Finding]:
    """The findings of a part for a user's file, run by a fresh interpreter.

    `part_place` is "package.module:NAME" of a Part, or of a function that makes one of `settings`.
    Raises InputError where there is no such part or file, and where the process does not start.
    """
    part = find_part(part_place, settings)
    path = Path(path).absolute()
    if not path.is_file():
        raise InputError(f"there is no file {path}; give the Python file to check")
    order = {"part": part_place, "settings": settings and dict(settings), "file": str(path), "in_place": {}}
    limits = limits or Limits()
    findings = judge_all(part, _Supervisor(part, order, limits, [stage.name for stage in part.stages]).run())

    def run(in_place: InPlace) -> dict[str, Outcome]:
        return _Supervisor(part, order | {"in_place": in_place}, limits, list(in_place)).run()

    return excuse_consequences(part, findings, run)


class _Supervisor:
    def __init__(self, part: Part, order: dict, limits: Limits, stages: list[str]):
        self.part = part
        self.stages = stages
        self.limits = limits
        self.order = order | {"output_bytes": limits.output_bytes, "file_bytes": limits.file_bytes}
        self.mark = uuid.uuid4().hex
        self.used = 0.0  # seconds of all steps after the start
        self.seen: set[tuple[int, str]] = set()  # its processes on Linux: pid and start
        self.outcomes: dict[str, Outcome] = {}  # by stage, in order

    def run(self) -> dict[str, Outcome]:
        starts = 0
        while len(self.outcomes) < len(self.stages):
            if starts > self.limits.restarts:
                self._give_up("crashed", f"not run: its process was ended {starts} times before")
            elif self.used >= self.limits.total_seconds:
                total = self.limits.total_seconds
                self._give_up("time", f"not run: the {total:g} s for the whole file were used up")
            else:
                self._run_process()
                starts += 1
        return self.outcomes

    def _give_up(self, problem: str, detail: str, printed: str = "") -> None:
        """The same problem for all stages that have no outcome."""
        for stage in self.stages:
            self.outcomes.setdefault(stage, Outcome(problem=problem, detail=detail, printed=printed))

    def _run_process(self) -> None:
        """Runs the stages that have no outcome, up to the end of the process."""
        with _shared_file() as results, _shared_file() as printed, _temporary_folder() as temporary:
            reader = OutcomeReader(results, self.limits.output_bytes + OVERHEAD)
            process = self._start(results, printed, temporary)
            try:
                for step in (START, LOAD, *range(FIRST_STAGE + len(self.outcomes), self._end)):
                    outcome, goes_on = self._watch(process, step, reader, printed)
                    self._note(step, outcome)
                    if not goes_on or (step < FIRST_STAGE and outcome.problem):
                        return
            finally:
                kill_family(process.pid, f"{MARK}={self.mark}", self.seen)
                process.wait()

    @property
    def _end(self) -> int:
        return FIRST_STAGE + len(self.stages)

    def _note(self, step: int, outcome: Outcome) -> None:
        """Keeps a stage's outcome; what kept the file from being loaded is that of all stages."""
        if step >= FIRST_STAGE:
            self.outcomes[self.stages[step - FIRST_STAGE]] = outcome
        elif outcome.problem and step == START:
            last = outcome.printed.strip().rpartition("\n")[2]
            raise InputError(f"the process that checks did not start: {outcome.detail}; {last}")
        elif outcome.problem in ("absent", "missing"):
            self._give_up(outcome.problem, outcome.detail)
        elif outcome.problem:
            detail = f"the file cannot be loaded: {outcome.detail}"
            first = self.stages[0]  # what is said of it is said once
            self.outcomes.setdefault(first, replace(outcome, outputs=None, detail=detail))
            self._give_up("missing", NOT_RUN)

    def _start(self, results: int, printed: int, temporary: Path) -> subprocess.Popen:
        numbers = {stage.name: number for number, stage in enumerate(self.part.stages)}
        stages = [numbers[stage] for stage in self.stages[len(self.outcomes) :]]
        order = self.order | {"stages": stages, "results": results}
        kept = {k: v for k, v in os.environ.items() if k in ENVIRONMENT or k.startswith(LOCALE)}
        environment = kept | {
            MARK: self.mark,
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            "PYTHONDONTWRITEBYTECODE": "1",  # the user's folder stays as it is
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(temporary),
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-u", "-m", "minbert.check.isolation.worker", json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            pass_fds=[results],
            env=environment,
            start_new_session=True,
        )

    def _watch(
        self, process: subprocess.Popen, step: int, reader: OutcomeReader, printed: int
    ) -> tuple[Outcome, bool]:
        """Waits for a step's outcome, or for the limit that it goes over; and whether the process goes on."""
        began, used = time.monotonic(), self.used
        while True:
            ended = process.poll() is not None  # before the look: what it wrote before its end is seen
            try:
                outcome = reader.read()
            except UnreadableOutcome as reason:
                return Outcome(problem="crashed", detail=f"its outputs cannot be read: {reason}"), False
            if outcome is not None:
                return outcome, True
            seconds = time.monotonic() - began
            if step != START:
                self.used = used + seconds
            stopped = _end_of(process.returncode) if ended else self._over_limit(process, step, seconds)
            if stopped is not None:
                return replace(stopped, printed=read_start(printed)), False
            if os.fstat(printed).st_size > self.limits.printed_bytes:
                os.truncate(printed, self.limits.printed_bytes)
            time.sleep(PAUSE)

    def _over_limit(self, process: subprocess.Popen, step: int, seconds: float) -> Outcome | None:
        limits = self.limits
        allowed = limits.start_seconds if step == START else limits.stage_seconds
        if seconds > allowed:
            return Outcome(problem="time", detail=f"it did not end within {allowed:g} s")
        if step != START and self.used > limits.total_seconds:
            return Outcome(problem="time", detail=f"all stages took more than {limits.total_seconds:g} s")
        members = family(process.pid, living_processes())
        self.seen |= {(member.pid, member.started) for member in members if member.started}
        if len(members) > limits.processes:
            detail = f"it started {len(members):,} processes; the limit is {limits.processes}"
            return Outcome(problem="memory", detail=detail)
        resident = sum(member.resident for member in members)
        if resident > limits.memory_bytes:
            others = f" in {len(members)} processes" if len(members) > 1 else ""
            detail = f"it held {resident >> 20:,} MB of memory{others}; the limit is"
            return Outcome(problem="memory", detail=f"{detail} {limits.memory_bytes >> 20:,} MB")
        return None


@contextmanager
def _shared_file() -> Iterator[int]:
    """The descriptor of a file without a name, which both processes append to."""
    with TemporaryFile(buffering=0) as file:
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
        yield file.fileno()


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that is removed with all that is in it, of any depth and whatever its permissions."""
    folder = Path(mkdtemp(prefix="minbert-check-"))
    try:
        yield folder
    finally:
        for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            subprocess.run([*command, folder], stderr=subprocess.DEVNULL)


def _end_of(status: int) -> Outcome:
    """The outcome of a step in which the process ended."""
    if status >= 0:
        return Outcome(problem="exit", detail=f"it ended the interpreter with exit status {status}")
    number = -status
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    killed = ": killed from outside, often for want of memory" if status == -signal.SIGKILL else ""
    return Outcome(problem="crashed", detail=f"the interpreter crashed ({name}{killed})")
