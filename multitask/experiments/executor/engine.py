"""Engines: which executor a command uses, as its options say. No torch here."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from minbert import InputError
from multitask.config.option_types import one_of, within
from multitask.experiments.executor.job import Executor
from multitask.experiments.executor.processes import ProcessExecutor, visible_cards
from multitask.experiments.executor.ray_cluster import RayExecutor, import_ray

ENGINES = ("processes", "ray")


@dataclass(frozen=True)
class Engine:
    """`jobs` processes side by side on this machine, or Ray: on this machine, or at an address."""

    name: str = "processes"
    jobs: int = 1
    address: str | None = None

    def __post_init__(self):
        one_of("--engine", self.name, ENGINES)
        within("--jobs", self.jobs, 1, float("inf"), "at least 1")
        if self.name == "ray":
            import_ray()
        elif self.address is not None:
            raise InputError("--ray-address is for Ray; give --engine ray too")

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """Yields the executor; stops it at the block's end, with Ctrl-C for the jobs that are left."""
        ray = self.name == "ray"
        executor = (
            RayExecutor(self.jobs, self.address) if ray else ProcessExecutor(self.jobs, visible_cards())
        )
        try:
            yield executor
        finally:
            executor.stop()
