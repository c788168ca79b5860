"""ablate: computes the cells of a table by an executor, beside other commands of this machine."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minbert import InputError
from multitask.config.run_config import RunConfig
from multitask.config.task_file import task_file_hash
from multitask.experiments.ablation.cells import Cell, make_cell
from multitask.experiments.ablation.compute_cell import RESULTS, CellJob, compute_cell, failure
from multitask.experiments.ablation.definition import Ablation
from multitask.experiments.ablation.formats import write_formats
from multitask.experiments.ablation.summary import summarize_table
from multitask.experiments.executor.engine import Engine
from multitask.experiments.executor.job import Executor, Job
from multitask.experiments.executor.shared_folder import make_shared_folder, warn_of_network
from multitask.runtime.tracking import write_json
from multitask.tasks.splits import SAMPLE, open_data
from multitask.training.trainer import check_sources

POLL = 0.2  # seconds between looks at the cells


@dataclass(frozen=True)
class State:
    """State of the table: records by key; where the cells run that this command or another one computes."""

    records: Mapping[str, dict[str, Any]]
    ours: Mapping[str, str]
    others: Mapping[str, str]


def ablate(
    ablation: Ablation,
    out: str | Path,
    engine: Engine | None = None,
    keep_weights: bool = False,
    retry_failed: bool = False,
    command: str = "",
    watch: Callable[[State], None] = lambda state: None,
) -> dict[str, Any]:
    """Computes what is missing of a table, then writes it into the folder `out`; -> table.json's content.

    Cells with a result are not computed again: commands of one machine that are given the same folder share
    the work. `engine` says what runs the cells, and how many side by side. `watch` is called after each
    change. Raises InputError before anything starts for missing data or weights.
    """
    out, engine = Path(out).absolute(), engine or Engine()
    if (out / "config.json").exists():
        raise InputError(f"{out} is the folder of a run; give --out another one")
    cells = make_cells(ablation)
    jobs: dict[str, CellJob] = {}
    try:
        with engine.executor() as executor:
            jobs |= make_jobs(cells, out, engine, executor.threads, keep_weights)
            compute(jobs, find_results(jobs, retry_failed), executor, watch)
    finally:
        if jobs:
            summary = summarize_table(ablation, cells, find_results(jobs), command)
            write_json(out / "table.json", summary)
            write_formats(summary, out)
    return summary


def find_results(jobs: Mapping[str, CellJob], drop_failed: bool = False) -> dict[str, dict[str, Any]]:
    """Returns the records of the cells that are done, by key."""
    records = {key: result for key, job in jobs.items() if (result := job.result())}
    failed = [key for key, record in records.items() if record["state"] == "failed" and drop_failed]
    for key in failed:
        jobs[key].file("json").unlink()
        del records[key]
    return records


def compute(
    jobs: Mapping[str, CellJob],
    records: dict[str, dict[str, Any]],
    executor: Executor,
    watch: Callable[[State], None],
) -> None:
    """Submits the cells that no other command computes, and adds to `records` until all cells have one."""
    ours: set[str] = set()
    while True:
        for key, error in executor.poll().items():
            ours.remove(key)
            if error:
                jobs[key].record(failure(jobs[key].row, jobs[key].seed, error))
        missing = [key for key in jobs if key not in records]
        records |= {key: result for key in missing if (result := jobs[key].result())}
        others, full = set(), False
        for key in [key for key in missing if key not in records and key not in ours]:
            lock = jobs[key].lock()
            if lock is None:
                others.add(key)
                continue
            with lock:  # given back at once: the worker takes it, if no other command's is faster
                jobs[key].file("place").unlink(missing_ok=True)
            full = full or not executor.submit(executor_job(jobs[key]))
            ours |= set() if full else {key}
        watch(State(records, places(jobs, ours - records.keys()), places(jobs, others)))
        if records.keys() >= jobs.keys() and not ours:
            return
        time.sleep(POLL)


def make_jobs(
    cells: Sequence[Cell], out: Path, engine: Engine, threads: int, keep_weights: bool
) -> dict[str, CellJob]:
    """Makes the folder; returns the cells as jobs by key, with `threads` where a row does not say."""
    folder_id = make_shared_folder(out / RESULTS)
    local = engine.name == "processes"
    if local:
        warn_of_network(out)
    jobs = {}
    for cell in cells:
        # A worker may have another working folder.
        config = cell.config.absolute().to_dict() | {"threads": cell.config.threads or threads}
        name = cell.folder_name
        jobs[cell.key] = CellJob(
            str(out),
            folder_id,
            cell.key,
            cell.row,
            cell.seed,
            name,
            config,
            keep_weights,
            needs_lock=local,
            task_file_hash=task_file_hash(config["task_file"]),
        )
    return jobs


def executor_job(job: CellJob) -> Job:
    gpu = job.config["device"] in ("auto", "cuda")  # no card by its number
    function = f"{compute_cell.__module__}:{compute_cell.__name__}"
    return Job(job.key, function, asdict(job), job.config["threads"], gpu, str(job.log))


def places(jobs: Mapping[str, CellJob], keys: set[str]) -> dict[str, str]:
    """Returns where cells run; an empty text for one whose worker has not said it yet."""
    paths = {key: jobs[key].file("place") for key in keys}
    return {key: path.read_text(encoding="utf-8") if path.is_file() else "" for key, path in paths.items()}


def make_cells(ablation: Ablation) -> list[Cell]:
    """Returns all cells, seed after seed, so that the first whole column is finished early.

    Raises InputError where weights, data or a training file are missing, or two rows are the same.
    """
    for row in ablation.rows:
        check_files(row.name, row.config)
    cells = [make_cell(row.name, seed, row.config) for seed in ablation.seeds for row in ablation.rows]
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
