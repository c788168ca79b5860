"""Runs jobs as tasks of a Ray cluster: one that is started for them on this machine, or one at an address.

Ray places tasks by the CPUs and GPUs that they ask for, shows each its own cards, and tries a task again
whose worker or node is lost. No torch here.
"""

import logging
import os
import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from minbert import InputError, make_folder
from multitask.experiments.executor.job import ATTEMPTS, Job, run_job
from multitask.experiments.executor.processes import available_cores

CONNECT_SECONDS = 10
OBJECT_STORE = 100 * 2**20  # bytes; only jobs' arguments are stored


class RayExecutor:
    """Runs up to `jobs` tasks side by side on this machine; on a cluster as many as find CPUs and GPUs.

    Raises InputError where Ray is not installed, and where no cluster answers at `address` ("HOST:PORT").
    """

    def __init__(self, jobs: int, address: str | None = None):
        self.ray = import_ray()
        if address is not None:
            check_address(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        logging.getLogger("ray").setLevel(logging.ERROR)
        options = {"log_to_driver": False, "configure_logging": False}
        if address is None:
            options |= {"num_cpus": jobs, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
        self._output = redirect_stdout(sys.stderr)  # Ray prints what happens to workers
        self._output.__enter__()
        try:
            self.ray.init(address or "local", **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            self._output.__exit__(None, None, None)
            raise InputError(
                f"Ray cannot be used at {address or 'this machine'}: {_one_line(error)}"
            ) from None
        self.tasks: dict[str, tuple[Job, Any]] = {}
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cards = sum(node.get("GPU", 0) for node in nodes)
        if address is None:
            self.cores: list[float] = []
            self.threads = max(1, available_cores() // jobs)
            self.gpus = 1 / -(-jobs // int(cards)) if cards else 0  # jobs share cards where there are more
        else:
            self.cores = [node["CPU"] for node in nodes if node.get("CPU")]
            self.threads = max(1, int(min(self.cores, default=1)) // -(-jobs // max(1, len(self.cores))))
            self.gpus = 1 if cards else 0

    def submit(self, job: Job) -> bool:
        if self.cores and job.threads > max(self.cores):
            raise InputError(
                f"{job.threads} threads were asked for, and the largest node of the cluster has "
                f"{max(self.cores):g} CPUs; give fewer --threads"
            )
        task = self.ray.remote(
            num_cpus=job.threads if self.cores else 1,
            num_gpus=self.gpus if job.gpu else 0,
            max_retries=ATTEMPTS - 1,
            max_calls=1,  # a process for each job
        )(run_task)
        self.tasks[job.key] = job, task.remote(job)
        return True

    def poll(self) -> dict[str, str | None]:
        keys = {task: key for key, (_, task) in self.tasks.items()}
        done, _ = self.ray.wait([*keys], num_returns=len(keys), timeout=0) if keys else ([], [])
        ended = {}
        for task in done:
            job, _ = self.tasks.pop(keys[task])
            try:
                error = self.ray.get(task)
            except self.ray.exceptions.RayTaskError as failed:
                error = _one_line(failed)
            except self.ray.exceptions.RayError as lost:  # of its worker, its node, its memory
                kind = type(lost).__name__
                ended[job.key] = f"its worker was lost {ATTEMPTS} times, at last by {kind}; see {job.log}"
                continue
            if error:
                raise InputError(error)
            ended[job.key] = None
        return ended

    def stop(self) -> None:
        tasks = [task for _, task in self.tasks.values()]
        try:
            for task in tasks:
                self.ray.cancel(task)  # as Ctrl-C does
            if tasks:
                self.ray.wait(tasks, num_returns=len(tasks))
        finally:
            self.ray.shutdown()
            self._output.__exit__(None, None, None)


def run_task(job: Job) -> str | None:
    """Runs a job in a worker of Ray, with its output in the job's log; returns the error."""
    make_folder(Path(job.log).parent)
    with open(job.log, "a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
    return run_job(job)


def import_ray() -> Any:
    """Returns the package. Raises InputError where it is not installed."""
    try:
        import ray
    except ImportError:
        raise InputError('--engine ray needs Ray; pip install "minbert[ray]"') from None
    return ray


def check_address(address: str) -> None:
    """Raises InputError where nothing answers; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"--ray-address {address} does not answer ({error}); give HOST:PORT of the head node, as "
            f"`ray start --head` prints it"
        ) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
