"""Computes one cell in a worker: takes its lock, trains or resumes, records the result."""

import json
import shutil
import time
import traceback
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minbert import (
    AMOUNT,
    NUMBER,
    TEXT,
    Rule,
    atomic_write,
    by_key,
    by_name,
    check_value,
    hide_secrets,
    or_null,
    read_json_object,
    whole,
)
from multitask.config.run_folder import ENVIRONMENT
from multitask.experiments.executor.shared_folder import check_shared_folder
from multitask.runtime.locks import take_lock, this_place

RESULTS, RUNS, LOGS = "cells", "runs", "logs"  # in the table's folder

RECORD = {
    "row": TEXT,
    "seed": whole(0),
    "state": Rule(lambda value: value in ("finished", "failed"), "finished or failed"),
    "error": or_null(TEXT),
    "tasks": by_name(
        by_key({"metric": TEXT, "value": or_null(NUMBER), "kind": or_null(TEXT), "examples": or_null(TEXT)})
    ),
}
FINISHED = by_key(
    {
        "scores": by_name(by_name(or_null(NUMBER))),
        "step": whole(0),
        "seconds": AMOUNT,
        "costs": by_name(or_null(AMOUNT)),
        "environment": by_key(ENVIRONMENT),
    }
)


@dataclass(frozen=True)
class CellJob:
    """A cell for a worker, and its files in the table's folder `out`, which has this `folder_id`."""

    out: str
    folder_id: str
    key: str
    row: str
    seed: int
    name: str
    config: dict[str, Any]
    keep_weights: bool
    needs_lock: bool  # False: computed without one where the file system has no locks
    task_file_hash: str | None = None  # of the content that the worker is to run

    @property
    def run(self) -> Path:
        return Path(self.out, RUNS, self.name)

    @property
    def log(self) -> Path:
        return Path(self.out, LOGS, f"{self.name}.txt")

    def file(self, kind: str) -> Path:
        """Returns the path of the cell's "json" (its result), "lock", or "place" (where it is computed)."""
        return Path(self.out, RESULTS, f"{self.key}.{kind}")

    def result(self) -> dict[str, Any] | None:
        """Returns the record of the cell, once it is done."""
        path = self.file("json")
        if not path.is_file():
            return None
        remedy = "remove the file, and the cell is computed again"
        found = read_json_object(path, RECORD, remedy)
        if found["state"] == "finished":
            check_value("", found, FINISHED, f"{path}: ", f"; {remedy}")
        return found

    def record(self, result: dict[str, Any]) -> None:
        with atomic_write(self.file("json")) as file:
            file.write(json.dumps(result, allow_nan=False))

    def lock(self) -> AbstractContextManager | None:
        """Takes the cell's lock, as a context; None where another process has it."""
        return take_lock(self.file("lock"), self.needs_lock)


def compute_cell(argument: dict[str, Any]) -> None:
    """Computes a cell that has no result, unless another process is at it."""
    job = CellJob(**argument)
    check_shared_folder(Path(job.out, RESULTS), job.folder_id)
    lock = job.lock()
    if lock is None:
        return
    with lock:
        if job.result() is not None:
            return
        job.file("place").write_text(this_place(), encoding="utf-8")
        print(f"{this_place()} computes {job.row}, seed {job.seed}", flush=True)
        try:
            result = measure(job, train_or_resume(job))
        except Exception as error:
            traceback.print_exc()
            result = failure(job.row, job.seed, f"{type(error).__name__}: {error}")
        job.record(result)
        if result["state"] == "finished" and not job.keep_weights:
            for path in (job.run / "best", job.run / "last", *job.run.glob("best-*")):
                shutil.rmtree(path, ignore_errors=True)


def train_or_resume(job: CellJob) -> Any:
    """Trains the cell's run, from where a dead worker left it."""
    from multitask.config.run_config import RunConfig
    from multitask.config.task_file import load_task_file
    from multitask.runtime.messages import show_messages
    from multitask.training.trainer import resume, train

    load_task_file(job.config.get("task_file"), job.task_file_hash)
    with show_messages(print):
        if (job.run / "config.json").is_file():
            return resume(job.run)
        shutil.rmtree(job.run, ignore_errors=True)
        return train(replace(RunConfig.from_dict(job.config), out=str(job.run)))


def measure(job: CellJob, run: Any) -> dict[str, Any]:
    """Returns the record of a finished cell: scores on dev, those of single examples, costs."""
    from multitask.experiments.ablation.per_example_scores import per_example_scores
    from multitask.runtime.tracking import strict
    from multitask.tasks.splits import load_split

    found: dict[str, Any] = {}
    with run.data_folder(None) as folder:
        for name in run.trained:
            task = run.model.tasks[name]
            if not task.scored:
                continue
            examples, _ = load_split(task, folder, "dev", run.config.limit)
            if examples is not None and examples.rows and examples.labelled:
                predictions = run.predict_rows(name, examples.rows)
                found[name] = per_example_scores(task, predictions, examples.rows)
    environment = read_json_object(run.folder / "environment.json", ENVIRONMENT, "train anew")
    record = {"row": job.row, "seed": job.seed, "state": "finished", "error": None, "tasks": found}
    record |= {key: run.scores[key] for key in ("scores", "step", "seconds", "costs")}
    return strict(record | {"environment": environment, "finished": time.time()})


def failure(row: str, seed: int, error: str) -> dict[str, Any]:
    """Returns the record of a cell that could not be computed."""
    return {
        "row": row,
        "seed": seed,
        "state": "failed",
        "error": hide_secrets(" ".join(error.split())),
        "tasks": {},
    }
