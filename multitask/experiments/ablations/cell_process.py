"""The process that computes one cell: claims it, trains or resumes, records what came out.

It is started with `python -m` and this module's name, and ends with the process that started it: a
scheduler that is killed takes its processes with it.
"""

import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from multitask.experiments.claims.claims import Claim, Claims, open_store
from multitask.experiments.processes import read_job

TAKEN = 3  # exit status where another process has the cell, or has done it
INTERRUPTED = 130
ATTEMPTS = 3  # lives of a process that a cell may cost before it counts as failed


@dataclass(frozen=True)
class Job:
    """What a cell's process is told. `store` and `expiry` are the claims', `runs` holds the runs' folders."""

    store: str
    expiry: float
    runs: str
    row: str
    seed: int
    key: str
    folder_name: str
    config: dict[str, Any]
    keep_weights: bool
    silent_lease: tuple[int, int] | None  # see Claims.claim


def main() -> int:
    job = Job(**read_job(ended=lambda: os._exit(1)))
    claim = Claims(open_store(job.store), job.expiry).claim(job.key, job.silent_lease)
    if claim is None:
        return TAKEN
    with claim:
        threading.Thread(target=_end_when_lost, args=(claim,), daemon=True).start()
        print(f"lease {claim.number} of {job.row}, seed {job.seed}: process {os.getpid()}", flush=True)
        try:
            result = compute(job, claim)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            traceback.print_exc()
            result = failure(job, f"{type(error).__name__}: {error}")
        claim.finish(result)
        if result["state"] == "finished" and not job.keep_weights:
            _remove_weights(run_folder(job, claim))
    return 0


def compute(job: Job, claim: Claim) -> dict[str, Any]:
    """Trains the cell, from where a dead process left it, and measures it on the dev split."""
    from multitask.config.run_config import RunConfig
    from multitask.runtime.messages import show_messages
    from multitask.tasks.registry import load_task_file
    from multitask.training.trainer import resume, train

    if job.config.get("task_file"):
        load_task_file(job.config["task_file"])
    folder = run_folder(job, claim)
    config = replace(RunConfig.from_dict(job.config), out=str(folder))
    with show_messages(print):
        if (folder / "config.json").is_file():
            run = resume(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            run = train(config)
    return measure(job, run)


def run_folder(job: Job, claim: Claim) -> Path:
    """The folder of the cell's run; a new one where the last holder may still be writing into the old one."""
    runs = Path(job.runs)
    if claim.before is not None and not claim.before.has_died:
        return runs / f"{job.folder_name}-lease-{claim.number}"
    begun = sorted(runs.glob(f"{job.folder_name}*"), key=lambda path: (len(path.name), path.name))
    return begun[-1] if begun else runs / job.folder_name


def measure(job: Job, run: Any) -> dict[str, Any]:
    """The cell's record: each task's primary metric with its evidence on dev, other scores, costs."""
    from multitask.experiments.ablations.evidence import evidence
    from multitask.runtime.tracking import strict
    from multitask.tasks.base import ScoredTask
    from multitask.tasks.splits import load_split

    found: dict[str, Any] = {}
    with run.data_folder(None) as folder:
        for name in run.trained:
            task = run.model.tasks[name]
            if not isinstance(task, ScoredTask):
                continue
            examples, _ = load_split(task, folder, "dev", run.config.limit)
            if examples is not None and examples.rows and examples.labelled:
                found[name] = evidence(task, run.predict_rows(name, examples.rows), examples.rows)
    environment = json.loads((run.folder / "environment.json").read_text(encoding="utf-8"))
    facts = {
        "row": job.row,
        "seed": job.seed,
        "state": "finished",
        "error": None,
        "tasks": found,
        "scores": run.scores["scores"],
        "step": run.scores["step"],
        "seconds": run.scores["seconds"],
        "costs": run.scores["costs"],
        "environment": environment,
        "finished": time.time(),
    }
    return strict(facts)


def failure(job: Job | Mapping[str, Any], error: str) -> dict[str, Any]:
    """The record of a cell that could not be computed."""
    row, seed = (job.row, job.seed) if isinstance(job, Job) else (job["row"], job["seed"])
    return {"row": row, "seed": seed, "state": "failed", "error": " ".join(error.split()), "tasks": {}}


def _remove_weights(folder: Path) -> None:
    for path in (folder / "best", folder / "last", *folder.glob("best-*")):
        shutil.rmtree(path, ignore_errors=True)


def _end_when_lost(claim: Claim) -> None:
    claim.lost.wait()
    print("another process took the cell over, since this one was silent for too long", flush=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
