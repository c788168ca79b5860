"""Runs trials of a search until none are left, and prunes weak ones.

Started with `python -m` and this module's name, it ends with the process that started it: a search that is
killed takes its workers with it.
"""

import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from minbert import InputError, run_command
from multitask.config.run_config import RunConfig
from multitask.experiments.processes import read_job
from multitask.experiments.search.settings import Settings, TrialSlot, read_settings
from multitask.experiments.search.storage import (
    StudyHandle,
    ask,
    from_point,
    import_optuna,
    open_study,
    quiet_optuna,
    to_point,
)
from multitask.runtime.callbacks import Callback

KEPT_RUNS = 3  # trials whose weights stay on the disk
INTERRUPTED = 130  # exit status
POLL_SECONDS = 0.5  # between looks at the slots that others have


@dataclass
class Worker:
    """Trains trials of a search into `folder`/trials; `look` is called when something has happened."""

    settings: Settings
    folder: Path
    handle: StudyHandle
    threads: int | None = None
    timeout: float | None = None  # seconds after which no trial begins
    look: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Takes slots until all are done, waiting for those of others: their processes may die."""
        started = time.monotonic()
        slots = {slot.key: slot for slot in self.settings.slots()}
        while left := slots.keys() - self.handle.claims.results(slots).keys():
            if self.timeout is not None and time.monotonic() - started >= self.timeout:
                return
            if not any(self._take(slot) for key, slot in slots.items() if key in left):
                time.sleep(POLL_SECONDS)
        self._fail_stale_trials(trial for trial in self.handle.trials() if "turn" not in trial.user_attrs)

    def _take(self, slot: TrialSlot) -> bool:
        """Runs the trial of a slot; False where another process has it."""
        claim = self.handle.claims.claim(slot.key)
        if claim is None:
            return False
        with claim:
            before = [trial for trial in self.handle.trials() if trial.user_attrs.get("turn") == slot.key]
            self._fail_stale_trials(before)  # the slot is ours, so whoever had begun these is gone
            decided = next((trial.number for trial in before if is_decided(trial)), None)
            if decided is None:
                dead = next((trial for trial in before if trial.params), None)
                fixed = from_point(slot.point) if slot.point else dead and dead.params
                decided = self._run_trial(slot, fixed)
            if decided is not None:
                claim.finish({"trial": decided})
        self.look()
        return True

    def _fail_stale_trials(self, trials: Iterable[Any]) -> None:
        """Marks running trials as failed whose process is gone."""
        state = import_optuna().trial.TrialState
        for trial in trials:
            if trial.state == state.RUNNING:
                self.handle.study.tell(trial.number, state=state.FAIL, skip_if_finished=True)

    def _run_trial(self, slot: TrialSlot, fixed: dict[str, Any] | None) -> int | None:
        """Runs one trial to its end; -> its number, unless the slot was lost meanwhile."""
        optuna = import_optuna()
        states = optuna.trial.TrialState
        trial = ask(self.handle, self.settings, slot, fixed)
        try:
            return self._end(trial, states.COMPLETE, self._train(trial))
        except optuna.TrialPruned:
            return self._end(trial, states.PRUNED)
        except optuna.exceptions.UpdateFinishedTrialError:  # another process took the slot over
            return None
        except BaseException as error:
            final = isinstance(error, InputError) or _out_of_memory(error)
            trial.set_user_attr("error" if final else "stopped", _one_line(error))
            decided = self._end(trial, states.FAIL)
            if not final:
                raise
            return decided

    def _end(self, trial: Any, state: Any, value: float | None = None) -> int | None:
        with quiet_optuna():
            told = self.handle.study.tell(trial, value, state, skip_if_finished=True)
        remove_weights(self.folder, self.handle.trials())
        return trial.number if told.state == state else None

    def _train(self, trial: Any) -> float:
        """Returns the mean over the seeds of the value of each run's best checkpoint."""
        from multitask.training.trainer import train

        point = to_point(self.settings, trial.params)
        values, scores = [], []
        for seed in self.settings.seeds or (None,):
            out = trial_folder(self.folder, trial.number)
            if self.settings.seeds[1:]:
                out /= f"seed-{seed}"
            shutil.rmtree(out, ignore_errors=True)
            config = self.settings.config(point, out=str(out), seed=seed)
            config = replace(config, threads=config.threads or self.threads)
            select = value_of(config)
            listener = Listener(trial, select, self.look, prunes=not (values or config.stages))
            found = train(config, callbacks=[listener]).scores["scores"]
            value = select(found)
            if value is None or not math.isfinite(value):
                raise InputError(f"the trial's value is {value}: a score of the best checkpoint is undefined")
            values.append(value)
            scores.append({f"{task}.{name}": v for task, group in found.items() for name, v in group.items()})
            trial.set_user_attr("data", json.loads((out / "environment.json").read_text())["data"])
        means = {name: fmean(each[name] for each in scores) for name in scores[0]}
        trial.set_user_attr("scores", {name: v if math.isfinite(v) else None for name, v in means.items()})
        return fmean(values)


@dataclass
class Listener(Callback):
    """Reports a run's evaluations to the study, and stops the run where the pruner says so.

    Runs are compared after the same number of evaluations, since a step is not the same for all batch sizes.
    """

    trial: Any
    select: Callable[[Mapping], float | None]
    look: Callable[[], None]
    prunes: bool

    def __post_init__(self):
        self.steps: list[list[float | None]] = []

    def on_record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if kind != "evaluation" or not self.prunes:
            return
        value = self.select(values["scores"])
        self.steps.append([step, value if math.isfinite(value) else None])
        self.trial.set_user_attr("steps", self.steps)
        self.trial.report(value, len(self.steps))
        self.look()
        if self.trial.should_prune():
            raise import_optuna().TrialPruned


def value_of(config: RunConfig) -> Callable[[Mapping], float | None]:
    """Returns the function from scores to the searched number, which also chooses a run's best checkpoint."""
    from multitask.config.stages import stage_configs
    from multitask.config.task_kinds import make_task
    from multitask.training.selection import selector

    last = stage_configs(config)[-1]
    return selector(last, {name: make_task(name, task) for name, task in last.tasks.items()})


def is_decided(trial: Any) -> bool:
    """Tells whether a trial ended by itself, with a value or an error; not by its process's end."""
    return trial.state.name in ("COMPLETE", "PRUNED") or "error" in trial.user_attrs


def trial_folder(folder: Path, number: int) -> Path:
    return folder / "trials" / str(number)


def remove_weights(folder: Path, trials: list[Any]) -> None:
    """Removes the weights of all finished trials but the best few; logs and scores stay."""
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    best = {trial.number for trial in sorted(complete, key=lambda t: (-t.value, t.number))[:KEPT_RUNS]}
    for trial in trials:
        top = trial_folder(folder, trial.number)
        if not trial.state.is_finished() or not top.is_dir():
            continue
        names = ["last", "cache", ".*.partial", ".*.previous", "best-*"]
        names += [] if trial.number in best else ["best", "sample"]
        for run in (top, *top.glob("seed-*"), *top.glob("stages/*"), *top.glob("seed-*/stages/*")):
            for path in [path for name in names for path in run.glob(name)]:
                shutil.rmtree(path, ignore_errors=True)


def _out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def main(arguments: Sequence[str]) -> int:
    job = read_job(lambda: os.kill(os.getpid(), signal.SIGINT))
    import torch

    torch.set_num_threads(job["threads"])
    folder = Path(job["folder"])
    settings = read_settings(folder)
    try:
        handle = open_study(settings, folder, job["storage"])
        Worker(settings, folder, handle, job["threads"], job["timeout"]).run()
    except KeyboardInterrupt:  # the search itself says that it was interrupted
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    run_command(main)
