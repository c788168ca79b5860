"""Runs jobs in processes of this machine, which end with the process that started them. No torch here.

A job, which may hold a password, goes to its process over standard input, which then stays open: a process
whose standard input ends knows that the one that started it is gone.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from minbert import InputError, make_folder
from multitask.experiments.executor.job import ATTEMPTS, Job, run_job

PACKAGES = Path(__file__).parents[3]  # where `multitask` is found, installed or not
FAILED, INTERRUPTED = 3, 130  # exit status of a worker whose function raised an error, or had a Ctrl-C


@dataclass(frozen=True)
class Worker:
    """A process, the job that it runs, and which of the `jobs` places side by side it has."""

    process: subprocess.Popen
    job: Job
    place: int
    attempt: int


class ProcessExecutor:
    """Runs up to `jobs` processes side by side; those whose jobs take a card get `cards` in turn."""

    def __init__(self, jobs: int, cards: Sequence[str] = ()):
        self.threads = max(1, available_cores() // jobs)
        self.cards = cards
        self.places = set(range(jobs))  # that are free
        self.workers: list[Worker] = []

    def submit(self, job: Job) -> bool:
        if self.places:
            self._start(job, min(self.places))
            return True
        return False

    def poll(self) -> dict[str, str | None]:
        ended = {}
        for worker in [worker for worker in self.workers if worker.process.poll() is not None]:
            self.workers.remove(worker)
            worker.process.stdin.close()
            self.places.add(worker.place)
            status, job = worker.process.returncode, worker.job
            if status == FAILED:
                raise InputError(Path(job.log).read_text(encoding="utf-8").splitlines()[-1])
            if status == 0:
                ended[job.key] = None
            elif worker.attempt < ATTEMPTS:
                self._start(job, worker.place, worker.attempt + 1)
            else:
                how = f"signal {-status}" if status < 0 else f"status {status}"
                ended[job.key] = (
                    f"its process ended {ATTEMPTS} times, the last time with {how}; see {job.log}"
                )
        return ended

    def stop(self) -> None:
        for worker in self.workers:
            worker.process.send_signal(signal.SIGINT)
        for worker in self.workers:
            worker.process.wait()
            worker.process.stdin.close()
        self.workers.clear()

    def _start(self, job: Job, place: int, attempt: int = 1) -> None:
        # Where this process finds its modules; by -P not in the working folder, which may be anyone's.
        path = filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH"), *sys.path])
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
        if job.gpu and self.cards:
            environment["CUDA_VISIBLE_DEVICES"] = self.cards[place % len(self.cards)]
        make_folder(Path(job.log).parent)
        with open(job.log, "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal does not reach it
            )
        self.places.discard(place)
        self.workers.append(Worker(process, job, place, attempt))
        with suppress(BrokenPipeError):  # it is dead already
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def visible_cards() -> list[str]:
    """Returns the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [card for card in given.split(",") if card.strip()]
    import torch

    return [str(card) for card in range(torch.cuda.device_count())]


def main() -> int:
    job = Job(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        error = run_job(job)
    except KeyboardInterrupt:
        return INTERRUPTED
    if error:
        print(error, flush=True)
    return FAILED if error else 0


def _end_with_parent() -> None:
    while os.read(0, 1):  # not by sys.stdin, whose lock would be held while the interpreter ends
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
