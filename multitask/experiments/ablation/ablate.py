"""ablate: computes the cells of a table, several side by side, beside other processes and machines."""

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from minbert import InputError, make_folder
from multitask.config.run_config import RunConfig
from multitask.experiments.ablation.cell_process import ATTEMPTS, INTERRUPTED, TAKEN, Job, failure
from multitask.experiments.ablation.cells import Cell, make_cell
from multitask.experiments.ablation.definition import Ablation
from multitask.experiments.ablation.formats import write_formats
from multitask.experiments.ablation.summary import summarize_table
from multitask.experiments.claims import FolderClaims
from multitask.experiments.processes import available_cores, start_process
from multitask.runtime.tracking import write_json
from multitask.tasks.splits import SAMPLE, open_data
from multitask.training.trainer import check_sources

POLL = 0.2  # seconds between looks at this process's own cells
POLL_OTHERS = 2.0  # and at those that others compute
RUNS, LOGS, CLAIMS = "runs", "logs", "cells"  # in the table's folder


@dataclass
class Worker:
    """A process of ours and the cell that it computes."""

    cell: Cell
    process: subprocess.Popen
    log: IO[str]


@dataclass(frozen=True)
class State:
    """State of the table: records by key, the keys that our processes and others compute."""

    records: dict[str, dict[str, Any]]
    ours: set[str]
    others: set[str]


def ablate(
    ablation: Ablation,
    out: str | Path,
    jobs: int = 1,
    keep_weights: bool = False,
    retry_failed: bool = False,
    command: str = "",
    watch: Callable[[State], None] = lambda state: None,
) -> dict[str, Any]:
    """Computes what is missing of a table, then writes it into the folder `out`; -> table.json's content.

    Cells with a result are not computed again: processes that are given the same folder, on one machine or
    several, share the work. `jobs` processes run side by side with the cores divided among them. `watch`
    is called after each change. Raises InputError before anything starts for missing data or weights.
    """
    out = Path(out)
    if (out / "config.json").exists():
        raise InputError(f"{out} is the folder of a run; give --out another one")
    cells = make_cells(ablation, jobs)
    keys = [cell.key for cell in cells]
    claims = FolderClaims(out / CLAIMS)
    if retry_failed:
        for key, record in claims.results(keys).items():
            if record["state"] == "failed":
                claims.forget(key)
    try:
        Scheduler(cells, claims, out, jobs, keep_weights).run(watch)
    finally:
        summary = summarize_table(ablation, cells, claims.results(keys), command)
        write_json(out / "table.json", summary)
        write_formats(summary, out)
    return summary


def make_cells(ablation: Ablation, jobs: int = 1) -> list[Cell]:
    """Returns all cells, seed after seed, so that the first whole column is finished early.

    Raises InputError where weights, data or a training file are missing, or two rows are the same.
    """
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be at least 1")
    threads = max(1, available_cores() // jobs)
    cells = []
    for row in ablation.rows:
        check_files(row.name, row.config)
    for seed in ablation.seeds:
        for row in ablation.rows:
            cell = make_cell(row.name, seed, row.config)
            cells.append(replace(cell, config=replace(cell.config, threads=cell.config.threads or threads)))
    twins: dict[str, Cell] = {}
    for cell in cells:
        twin = twins.setdefault(cell.key, cell)
        if twin is not cell:
            raise InputError(f"rows {twin.row!r} and {cell.row!r} are the same configuration; leave one out")
    return cells


def check_files(name: str, config: RunConfig) -> None:
    """Raises InputError for a row without weights or data, and where a training file is missing."""
    check_sources(config)
    if config.data == SAMPLE:
        return
    with open_data(config.data) as folder:
        for task in config.trained_tasks:
            path = folder / config.tasks[task].train
            if not path.is_file():
                raise InputError(f"row {name!r}: {task} has nothing to train on; there is no file {path}")


class Scheduler:
    """Starts a process for each cell that no other process computes, until all cells have a record."""

    def __init__(self, cells: Sequence[Cell], claims: FolderClaims, out: Path, jobs: int, keep_weights: bool):
        self.cells = {cell.key: cell for cell in cells}
        self.claims = claims
        self.out = out
        self.jobs = jobs
        self.keep_weights = keep_weights
        self.workers: list[Worker] = []
        self._deaths: dict[str, int] = {}  # processes of ours that died on a cell
        self._looked = -POLL_OTHERS
        self._others: set[str] = set()

    def run(self, watch: Callable[[State], None]) -> None:
        """Returns when each cell has a record. Ctrl-C is passed on, and waits for the cells to stop."""
        try:
            while self._look(watch):
                time.sleep(POLL)
        except BaseException:
            for worker in self.workers:
                worker.process.send_signal(signal.SIGINT)
            for worker in self.workers:
                worker.process.wait()
            raise
        finally:
            for worker in self.workers:
                worker.log.close()
                worker.process.stdin.close()

    def _look(self, watch: Callable[[State], None]) -> bool:
        """Handles processes that ended and starts others; False when all cells have a record."""
        for worker in [worker for worker in self.workers if worker.process.poll() is not None]:
            self._end(worker)
        records = self.claims.results(self.cells)
        ours = {worker.cell.key for worker in self.workers}
        missing = [key for key in self.cells if key not in records and key not in ours]
        if time.monotonic() - self._looked >= POLL_OTHERS or len(ours) < self.jobs:
            self._looked = time.monotonic()
            self._others = {key for key in missing if self.claims.is_claimed(key)}
        for key in [key for key in missing if key not in self._others][: self.jobs - len(ours)]:
            self._start(self.cells[key])
        watch(State(records, {worker.cell.key for worker in self.workers}, self._others))
        return bool(missing or self.workers)

    def _start(self, cell: Cell) -> None:
        name = cell.folder_name
        run, config = str(self.out / RUNS / name), cell.config.to_dict()
        claims = str(self.claims.folder)
        job = Job(claims, cell.key, cell.row, cell.seed, run, config, self.keep_weights)
        make_folder(self.out / LOGS)
        log = open(self.out / LOGS / f"{name}.txt", "a", encoding="utf-8")
        module = "multitask.experiments.ablation.cell_process"
        process = start_process(module, asdict(job), cell.config.threads, log, subprocess.STDOUT)
        self.workers.append(Worker(cell, process, log))

    def _end(self, worker: Worker) -> None:
        """Removes a process that ended; a cell on which ATTEMPTS of them died without a record has failed."""
        self.workers.remove(worker)
        worker.log.close()
        worker.process.stdin.close()
        status, cell = worker.process.returncode, worker.cell
        if status in (0, TAKEN):
            return
        if status in (INTERRUPTED, -signal.SIGINT):
            raise KeyboardInterrupt
        self._deaths[cell.key] = self._deaths.get(cell.key, 0) + 1
        if self._deaths[cell.key] >= ATTEMPTS and (claim := self.claims.claim(cell.key)):
            how = f"signal {-status}" if status < 0 else f"status {status}"
            reason = f"its process ended {ATTEMPTS} times, the last time with {how}; see {worker.log.name}"
            with claim:
                claim.finish(failure(cell.row, cell.seed, reason))
