"""The process that computes one cell: claims it, trains or resumes, records the result.

It is started with `python -m` and this module's name, and ends with the process that started it: a
scheduler that is killed takes its processes with it.
"""

import json
import os
import shutil
import sys
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from multitask.experiments.claims import FolderClaims
from multitask.experiments.processes import read_job

TAKEN = 3  # exit status where another process has the cell, or has done it
INTERRUPTED = 130
ATTEMPTS = 3  # processes that may die on a cell before it counts as failed
WAIT = 2.0  # seconds; a scheduler that looks whether a cell is claimed holds its lock for a moment


@dataclass(frozen=True)
class Job:
    """One cell: the folder of its claim and its key, the run's folder and configuration."""

    claims: str
    key: str
    row: str
    seed: int
    run: str
    config: dict[str, Any]
    keep_weights: bool


def main() -> int:
    job = Job(**read_job(ended=lambda: os._exit(1)))
    claim = FolderClaims(job.claims).claim(job.key, WAIT)
    if claim is None:
        return TAKEN
    with claim:
        print(f"process {os.getpid()} computes {job.row}, seed {job.seed}", flush=True)
        try:
            result = compute(job)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            traceback.print_exc()
            result = failure(job.row, job.seed, f"{type(error).__name__}: {error}")
        claim.finish(result)
        if result["state"] == "finished" and not job.keep_weights:
            folder = Path(job.run)
            for path in (folder / "best", folder / "last", *folder.glob("best-*")):
                shutil.rmtree(path, ignore_errors=True)
    return 0


def compute(job: Job) -> dict[str, Any]:
    """Trains the cell, from where a dead process left it, and scores it on the dev split; -> its record."""
    from multitask.config.run_config import RunConfig
    from multitask.config.task_kinds import load_task_file
    from multitask.runtime.messages import show_messages
    from multitask.training.trainer import resume, train

    if job.config.get("task_file"):
        load_task_file(job.config["task_file"])
    folder = Path(job.run)
    with show_messages(print):
        if (folder / "config.json").is_file():
            return measure(job, resume(folder))
        shutil.rmtree(folder, ignore_errors=True)
        return measure(job, train(replace(RunConfig.from_dict(job.config), out=job.run)))


def measure(job: Job, run: Any) -> dict[str, Any]:
    """The record of a finished cell: primary metrics on dev with per-example scores, all scores, costs."""
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
    environment = json.loads((run.folder / "environment.json").read_text(encoding="utf-8"))
    record = {"row": job.row, "seed": job.seed, "state": "finished", "error": None, "tasks": found}
    record |= {key: run.scores[key] for key in ("scores", "step", "seconds", "costs")}
    return strict(record | {"environment": environment, "finished": time.time()})


def failure(row: str, seed: int, error: str) -> dict[str, Any]:
    """The record of a cell that could not be computed."""
    return {"row": row, "seed": seed, "state": "failed", "error": " ".join(error.split()), "tasks": {}}


if __name__ == "__main__":
    sys.exit(main())
