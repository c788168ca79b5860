"""Runs jobs as tasks of a Ray cluster: one that is started for them on this machine, or one at an address.

Ray places tasks by the CPUs and GPUs that they ask for, shows each its own cards, and tries a task again
whose worker or node is lost. No torch here.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from minbert import InputError, make_folder, ray_cluster
from multitask.experiments.executor.job import ATTEMPTS, Job, run_job
from multitask.experiments.executor.processes import available_cores

OBJECT_STORE = 100 * 2**20  # bytes; only jobs' arguments are stored


class RayExecutor:
    """Runs up to `jobs` tasks side by side on this machine; on a cluster as many as find CPUs and GPUs.

    Raises InputError where Ray is not installed, and where no cluster answers at `address` ("HOST:PORT").
    """

    def __init__(self, jobs: int, address: str | None = None):
        self._connection = ExitStack()
        local = {"num_cpus": jobs, "object_store_memory": OBJECT_STORE}
        self.ray = self._connection.enter_context(ray_cluster(address, **local))
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
            self._connection.close()


def run_task(job: Job) -> str | None:
    """Runs a job in a worker of Ray, with its output in the job's log; returns the error."""
    make_folder(Path(job.log).parent)
    with open(job.log, "a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
    return run_job(job)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
