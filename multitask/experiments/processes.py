"""Processes that work for this one: each gets its job and its share of the cores, and ends with this one.

The job, which may hold a password, goes over standard input, which then stays open: a process whose standard
input ends knows that the one that started it is gone. No torch here.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

PACKAGES = Path(__file__).parents[2]  # where `multitask` is found, installed or not


def start_process(
    module: str, job: dict[str, Any], threads: int, output: IO[str] | int, errors: IO[str] | int | None = None
) -> subprocess.Popen:
    """Runs `python -m MODULE` with the job; Ctrl-C in the terminal does not reach it."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    path = os.pathsep.join([str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        text=True,
        env=os.environ | limits | {"PYTHONPATH": path},
        start_new_session=True,
    )
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    return process


def read_job(ended: Callable[[], None]) -> dict[str, Any]:
    """The job that this process was started with; `ended` is called when the one that started it is gone."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    return job


def available_cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _wait_for_end(ended: Callable[[], None]) -> None:
    while os.read(0, 1):  # not by sys.stdin, whose lock would be held while the interpreter ends
        pass
    ended()
