"""Jobs, the three calls of an executor, and what a worker does with a job. No torch here."""

import os
import signal
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from minbert import ShownText, hide_secrets

ATTEMPTS = 3  # workers that may die on a job before it is given up


@dataclass(frozen=True)
class Job:
    """A function by its name, `package.module:function`, and its argument, which JSON can hold.

    The function runs in a worker process of its own. A worker that dies is replaced, ATTEMPTS in all, and the
    function is called again with the same argument.
    """

    key: str
    function: str
    argument: dict[str, Any]
    threads: int  # of the CPU
    gpu: bool  # True: it takes a card, where there is one
    log: str  # the file to which a worker's output is appended


class Executor(Protocol):
    """Runs jobs until it is stopped. `threads` is the share of the cores that a job has by default."""

    threads: int

    def submit(self, job: Job) -> bool:
        """Takes a job; returns False, and does nothing, where as many run as may run side by side."""

    def poll(self) -> dict[str, str | None]:
        """Returns the jobs that have ended since the last call: key -> None, or how the last worker died.

        Raises InputError where a job's function has raised an error.
        """

    def stop(self) -> None:
        """Sends Ctrl-C to the workers that are left, waits until they have ended, and frees all resources."""


def run_job(job: Job) -> str | None:
    """Calls the job's function in a worker; returns the error in one line, whose traceback it prints."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(job.threads))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
    shown = [ShownText(stream, hide_secrets) for stream in (sys.stdout, sys.stderr)]
    with redirect_stdout(shown[0]), redirect_stderr(shown[1]):
        try:
            module, _, name = job.function.partition(":")
            getattr(import_module(module), name)(job.argument)
        except Exception as error:
            traceback.print_exc()
            return hide_secrets(f"{type(error).__name__}: {' '.join(str(error).split())}")
    return None
