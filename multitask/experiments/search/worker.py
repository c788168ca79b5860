"""Runs trials of a search until none are left, and prunes weak ones."""

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from minbert import InputError, hide_secrets, read_json_object
from multitask.config.run_config import RunConfig
from multitask.config.run_folder import ENVIRONMENT
from multitask.config.task_file import load_task_file
from multitask.experiments.executor.shared_folder import check_shared_folder
from multitask.experiments.search.settings import Settings, read_settings
from multitask.experiments.search.space import Point
from multitask.experiments.search.storage import (
    JOURNAL,
    Attempts,
    import_optuna,
    open_study,
    quiet_optuna,
    retry_lost,
    suggest,
)
from multitask.runtime.callbacks import Callback

KEPT_RUNS = 3  # trials whose weights stay on the disk
POLL_SECONDS = 0.5  # between looks at the trials that others have


class Superseded(Exception):
    """The trial is one too many, or has been given to another worker."""


@dataclass
class Worker:
    """Trains trials of a search into `folder`/trials; `look` is called when something has happened.

    `name` is unique among the workers of all machines, and that of the dead worker that this one replaces.
    """

    settings: Settings
    folder: Path
    study: Any
    name: str
    threads: int | None = None
    until: float = math.inf  # the time after which no trial begins
    look: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Takes trials until all are done, waiting for those of other machines, which may be lost."""
        count = self.settings.trials
        retry_lost(self.study, count, self.name)
        while (attempts := Attempts(self.study, count)).left() and time.time() < self.until:
            if attempts.begun < count or attempts.waiting():
                self._take()
            elif attempts.lost():
                retry_lost(self.study, count)
            elif (self.settings.storage or "").startswith(JOURNAL):
                return  # a journal does not tell lost trials from others
            else:
                with quiet_optuna():
                    import_optuna().storages.fail_stale_trials(self.study)
                time.sleep(POLL_SECONDS)

    def _take(self) -> None:
        """Runs one trial to its end. Raises what ended it, but for errors of the trial's own."""
        self.superseded = False
        try:
            with quiet_optuna():
                self.study.optimize(self._objective, n_trials=1, catch=(Superseded, *trial_errors()))
        except (RuntimeError, ValueError):
            if not self.superseded:  # else Optuna found the trial to be finished
                raise
        remove_weights(self.folder, Attempts(self.study, self.settings.trials))
        self.look()

    def _objective(self, trial: Any) -> float:
        optuna = import_optuna()
        try:
            trial.set_user_attr("worker", self.name)
            attempts = Attempts(self.study, self.settings.trials)
            if attempts.is_superseded(trial):
                raise Superseded
            number = attempts.numbers[trial.number]
            try:
                return self._train(trial, number, suggest(self.study, self.settings, number, trial))
            except (optuna.TrialPruned, optuna.exceptions.UpdateFinishedTrialError):
                raise
            except BaseException as error:
                final = isinstance(error, trial_errors())
                trial.set_user_attr("error" if final else "stopped", _one_line(error))
                raise
            finally:
                self.look()
        except optuna.exceptions.UpdateFinishedTrialError:
            self.superseded = True
            raise Superseded from None

    def _train(self, trial: Any, number: int, point: Point) -> float:
        """Returns the mean over the seeds of the value of each run's best checkpoint."""
        values, scores = [], []
        for seed in self.settings.seeds or (None,):
            out = trial_folder(self.folder, number)
            if self.settings.seeds[1:]:
                out /= f"seed-{seed}"
            config = self.settings.config(point, out=str(out), seed=seed)
            config = replace(config, threads=config.threads or self.threads)
            select = value_of(config)
            listener = Listener(self.study, trial, select, self.look, prunes=not (values or config.stages))
            found = train_or_resume(config, listener).scores["scores"]
            value = select(found)
            if value is None or not math.isfinite(value):
                raise InputError(f"the trial's value is {value}: a score of the best checkpoint is undefined")
            values.append(value)
            scores.append({f"{task}.{name}": v for task, group in found.items() for name, v in group.items()})
            environment = read_json_object(out / "environment.json", ENVIRONMENT, "train anew")
            trial.set_user_attr("data", environment["data"])
        means = {name: fmean(each[name] for each in scores) for name in scores[0]}
        trial.set_user_attr("scores", {name: v if math.isfinite(v) else None for name, v in means.items()})
        return fmean(values)


@dataclass
class Listener(Callback):
    """Reports a run's evaluations to the study, and stops the run where the pruner says so.

    Runs are compared after the same number of evaluations, since a step is not the same for all batch sizes.
    """

    study: Any
    trial: Any
    select: Callable[[Mapping], float | None]
    look: Callable[[], None]
    prunes: bool

    def __post_init__(self):
        self.steps: list[list[float | None]] = self.trial.user_attrs.get("steps", [])
        self.reported = len(self.study.get_trials(deepcopy=False)[self.trial.number].intermediate_values)

    def on_record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if kind != "evaluation" or not self.prunes:
            return
        value = self.select(values["scores"])
        kept = [entry for entry in self.steps if entry[0] < step]  # a resumed run may evaluate again
        self.steps = [*kept, [step, value if math.isfinite(value) else None]]
        self.trial.set_user_attr("steps", self.steps)
        if len(self.steps) > self.reported:
            self.reported = len(self.steps)
            self.trial.report(value, self.reported)
        self.look()
        if self.trial.should_prune():
            raise import_optuna().TrialPruned


def train_or_resume(config: RunConfig, listener: Callback) -> Any:
    """Trains a run into `config.out`, from where a dead worker left the same one."""
    from multitask.inference.run import read_run_config
    from multitask.training.trainer import resume, train

    out = Path(config.out)
    if (out / "config.json").is_file():
        before = read_run_config(out)
        if replace(before, out=config.out, threads=config.threads) == config.absolute():
            return resume(out, callbacks=[listener])
    shutil.rmtree(out, ignore_errors=True)
    return train(config, callbacks=[listener])


def value_of(config: RunConfig) -> Callable[[Mapping], float | None]:
    """Returns the function from scores to the searched number, which also chooses a run's best checkpoint."""
    from multitask.config.stages import stage_configs
    from multitask.config.task_kinds import make_task
    from multitask.training.selection import selector

    last = stage_configs(config)[-1]
    return selector(last, {name: make_task(name, task) for name, task in last.tasks.items()})


def trial_folder(folder: Path, number: int) -> Path:
    return folder / "trials" / str(number)


def remove_weights(folder: Path, attempts: Attempts) -> None:
    """Removes the weights of all trials that have ended but the best few; logs and scores stay."""
    ended = {number: trial for number in range(attempts.count) if (trial := attempts.decided(number))}
    complete = [number for number, trial in ended.items() if trial.state.name == "COMPLETE"]
    best = sorted(complete, key=lambda number: (-ended[number].value, number))[:KEPT_RUNS]
    for number in ended:
        top = trial_folder(folder, number)
        names = ["last", "last.previous", "cache", ".*.partial", ".*.previous", "best-*"]
        names += [] if number in best else ["best", "sample"]
        for run in (top, *top.glob("seed-*"), *top.glob("stages/*"), *top.glob("seed-*/stages/*")):
            for path in [path for name in names for path in run.glob(name)]:
                shutil.rmtree(path, ignore_errors=True)


def trial_errors() -> tuple[type[Exception], ...]:
    """Returns the errors that a trial would have again, so that it is not tried again."""
    import torch

    return InputError, MemoryError, torch.cuda.OutOfMemoryError


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = hide_secrets(" ".join(str(error).split()))
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def work(argument: dict[str, Any]) -> None:
    """Runs a worker in a process of an executor."""
    import torch

    folder, threads = Path(argument["folder"]), argument["threads"]
    check_shared_folder(folder, argument["folder_id"])
    torch.set_num_threads(threads)
    load_task_file(argument["task_file"], argument["task_file_hash"])
    settings = read_settings(folder)
    study = open_study(settings, folder, argument["storage"])
    Worker(settings, folder, study, argument["name"], threads, argument["until"]).run()
