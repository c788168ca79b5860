"""A worker of a search: takes turns until none is left, trains a trial in each, prunes the hopeless.

It is started with `python -m` and this module's name, and ends with the process that started it: a search
that is killed takes its workers with it.
"""

import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from minbert import InputError, run_command
from multitask.config.run_config import RunConfig
from multitask.experiments.claims.claims import Claim
from multitask.experiments.processes import read_job
from multitask.experiments.searches.settings import Settings, Turn, read_settings
from multitask.experiments.searches.storage import (
    Kept,
    ask,
    from_point,
    import_optuna,
    open_kept,
    quiet_optuna,
    to_point,
)
from multitask.runtime.callbacks import Callback

KEPT_RUNS = 3  # trials whose weights stay on the disk
INTERRUPTED = 130  # exit status
POLL_SECONDS = 0.5  # between looks at the turns that others have


class TakenOver(Exception):
    """Another process has the turn, since this one was silent for too long."""


@dataclass
class Worker:
    """Trains trials of a search into `folder`/trials; `look` is called when something has happened."""

    settings: Settings
    folder: Path
    kept: Kept
    threads: int | None = None
    timeout: float | None = None  # seconds after which no trial begins
    look: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Takes turns until all are done, waiting for those of others: their processes may die."""
        started = time.monotonic()
        turns = list(self.settings.turns())
        while left := self._left(turns):
            if self.timeout is not None and time.monotonic() - started >= self.timeout:
                return
            if not any(self._take(turn) for turn in left):
                time.sleep(POLL_SECONDS)
        self._bury(trial for trial in self._trials() if "turn" not in trial.user_attrs)

    def _left(self, turns: list[Turn]) -> list[Turn]:
        finished = self.kept.claims.results(turn.key for turn in turns)
        return [turn for turn in turns if turn.key not in finished]

    def _take(self, turn: Turn) -> bool:
        """Does a turn; False where another process has it."""
        claim = self.kept.claims.claim(turn.key)
        if claim is None:
            return False
        with claim:
            before = [trial for trial in self._trials() if trial.user_attrs.get("turn") == turn.key]
            self._bury(before)  # the turn is ours, so whoever had begun these is gone
            decided = [trial.number for trial in before if is_decided(trial)]
            if not decided:
                dead = next((trial for trial in before if trial.params), None)
                fixed = from_point(turn.point) if turn.point else dead and dead.params
                decided = self._run_trial(turn, claim, fixed)
            for number in decided[:1]:
                claim.finish({"trial": number})
        self.look()
        return True

    def _run_trial(self, turn: Turn, claim: Claim, fixed: dict[str, Any] | None) -> list[int]:
        """Runs one trial to its end; -> its number, unless the turn was lost meanwhile."""
        optuna = import_optuna()
        states = optuna.trial.TrialState
        trial = ask(self.kept, self.settings, turn, fixed)
        try:
            return self._end(trial, states.COMPLETE, self._train(trial, claim))
        except optuna.TrialPruned:
            return self._end(trial, states.PRUNED)
        except (TakenOver, optuna.exceptions.UpdateFinishedTrialError):
            return []
        except BaseException as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else _one_line(error)
            final = isinstance(error, InputError) or _out_of_memory(error)
            trial.set_user_attr("error" if final else "stopped", reason)
            decided = self._end(trial, states.FAIL)
            if not final:
                raise
            return decided

    def _end(self, trial: Any, state: Any, value: float | None = None) -> list[int]:
        with quiet_optuna():
            told = self.kept.study.tell(trial, value, state, skip_if_finished=True)
        trim(self.folder, self._trials())
        return [trial.number] if told.state == state else []

    def _train(self, trial: Any, claim: Claim) -> float:
        """The mean over the seeds of what the best checkpoint of a run has."""
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
            listener = Listener(trial, claim, select, self.look, prunes=not (values or config.stages))
            run = train(config, callbacks=[listener])
            value = select(run.scores["scores"])
            if value is None or not math.isfinite(value):
                raise InputError(f"the trial's value is {value}: a score of the best checkpoint is undefined")
            values.append(value)
            scores.append(
                {f"{t}.{metric}": v for t, s in run.scores["scores"].items() for metric, v in s.items()}
            )
            trial.set_user_attr("data", json.loads((out / "environment.json").read_text())["data"])
        means = {name: fmean(each[name] for each in scores) for name in scores[0]}
        trial.set_user_attr("scores", {name: v if math.isfinite(v) else None for name, v in means.items()})
        return fmean(values)

    def _trials(self) -> list[Any]:
        return self.kept.study.get_trials(deepcopy=False)

    def _bury(self, trials: Any) -> None:
        """Marks trials as failed whose process is gone."""
        state = import_optuna().trial.TrialState
        for trial in trials:
            if trial.state == state.RUNNING:
                self.kept.study.tell(trial.number, state=state.FAIL, skip_if_finished=True)


class Listener(Callback):
    """Hears a run's records: keeps its evaluations in the study, and stops a run that is hopeless.

    Runs are compared after the same number of evaluations, since a step is not the same for all batch sizes.
    """

    def __init__(self, trial: Any, claim: Claim, select: Callable, look: Callable[[], None], prunes: bool):
        self.trial = trial
        self.claim = claim
        self.select = select
        self.look = look
        self.prunes = prunes
        self.steps: list[list[float | None]] = []

    def on_record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if self.claim.lost.is_set():
            raise TakenOver
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
    """Scores -> the number that is searched for, which is the one that chooses a run's best checkpoint."""
    from multitask.config.stages import stage_configs
    from multitask.tasks.registry import make_task
    from multitask.training.selection import selector

    last = stage_configs(config)[-1]
    return selector(last, {name: make_task(name, task) for name, task in last.tasks.items()})


def is_decided(trial: Any) -> bool:
    """Whether a trial ended by itself, with a value or an error; not by its process's end."""
    state = import_optuna().trial.TrialState
    return trial.state in (state.COMPLETE, state.PRUNED) or "error" in trial.user_attrs


def trial_folder(folder: Path, number: int) -> Path:
    return folder / "trials" / str(number)


def trim(folder: Path, trials: list[Any]) -> None:
    """Removes the weights of all finished trials but the best few; what was measured stays."""
    state = import_optuna().trial.TrialState
    complete = [trial for trial in trials if trial.state == state.COMPLETE]
    best = {trial.number for trial in sorted(complete, key=lambda t: (-t.value, t.number))[:KEPT_RUNS]}
    for trial in trials:
        top = trial_folder(folder, trial.number)
        if not trial.state.is_finished() or not top.is_dir():
            continue
        for run in (top, *top.glob("seed-*"), *top.glob("stages/*"), *top.glob("seed-*/stages/*")):
            for name in ("last", "cache", ".*.partial", ".*.previous", "best-*"):
                _remove(run.glob(name))
            if trial.number not in best:
                _remove([run / "best", run / "sample"])


def _remove(paths: Any) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def main(arguments: Sequence[str]) -> int:
    job = read_job(lambda: os.kill(os.getpid(), signal.SIGINT))
    import torch

    torch.set_num_threads(job["threads"])
    folder = Path(job["folder"])
    settings = read_settings(folder)
    try:
        kept = open_kept(settings, folder, job["storage"])
        Worker(settings, folder, kept, job["threads"], job["timeout"]).run()
    except KeyboardInterrupt:  # the search itself says that it was interrupted
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    run_command(main)
