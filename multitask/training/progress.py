"""Progress: losses, evaluations, checkpoints, early stopping, costs, interruption, between the steps."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, NoReturn

from torch import Tensor

from minbert import InputError
from multitask.config.run_config import RunConfig
from multitask.runtime.callbacks import Callback, Scores
from multitask.runtime.memory import peak_memory
from multitask.runtime.messages import logger
from multitask.runtime.precision import Precision
from multitask.runtime.process_group import ProcessGroup
from multitask.runtime.tracking import read_scores, strict
from multitask.training.plan import BatchPlan, MicroBatch, Step

BEST = "best"  # the checkpoint that is the run's result
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that end a run
SAVE_SIGNAL = signal.SIGUSR1  # that has it saved; what Slurm sends before a job's time is over
LOG_EVERY = 10  # steps between readings of the losses, each of which waits for the device
KEPT = (
    "evaluations_without_better",
    "evaluated_step",
    "other_seconds",
    "tokens",
)  # in the state, as they are


class Progress:
    """`report` and `after_step` for the loop, and the state of a run that is neither weights nor plan.

    `evaluate()` returns the scores; `select[checkpoint](scores)` the number by which that checkpoint is
    chosen, None without such a score; `save(checkpoint)` writes "last" or one of those in `select`.
    `callbacks` get the records, and may end the run after any step. What happens, happens in all processes of
    `group` after the same step, whichever of them a signal or a callback's wish reaches, by rank 0's clock.
    """

    def __init__(
        self,
        config: RunConfig,
        plan: BatchPlan,
        precision: Precision,
        select: Mapping[str, Callable[[Scores], float | None]],
        evaluate: Callable[[], Scores],
        save: Callable[[str], None],
        callbacks: Callback,
        group: ProcessGroup | None = None,
    ):
        self.config = config
        self.plan = plan
        self.precision = precision
        self.select = dict(select)
        self.evaluate = evaluate
        self.save = save
        self.callbacks = callbacks
        self.group = group or ProcessGroup()
        self.best: dict[str, float | None] = {}  # by checkpoint
        self.best_steps: dict[str, int] = {}
        self.best_scores: Scores = {}  # those of the evaluation that BEST is from
        self.evaluations_without_better = 0
        self.evaluated_step = 0
        self.seconds = 0.0  # before an interruption
        self.other_seconds = 0.0  # of all seconds, those of evaluations and checkpoints
        self.tokens = 0  # trained on
        self.peak_memory = 0  # before an interruption
        self.lengths = [[0, plan.total_steps]]  # from which step on the run was to have so many steps
        self._losses: list[tuple[str, int, Tensor | float]] = []  # task, step, loss: not read yet
        self._started = time.perf_counter()
        self._between_steps = True
        self._evaluating = False
        self._signal: signal.Signals | None = None
        self._saved = self._started  # when last/ was written
        self._asked_to_save = False
        self._agreed = False  # that the signal ends the run

    def report(self, step: Step, micro_batch: MicroBatch, loss: Tensor) -> None:
        """Keeps a process's part of a loss; it is read with the others every LOG_EVERY steps."""
        self._losses.append((micro_batch.task, step.number, loss))
        self.tokens += micro_batch.tokens

    def after_step(self, step: Step) -> None:
        """Logs, evaluates and saves where it is due, and ends the run where a callback says so."""
        self._between_steps = True
        due = self._is_due(self.config.eval.every_steps, step.number, step.ends_epoch)
        saves = self._is_due(self.config.checkpoint.every_steps, step.number, step.ends_epoch)
        if step.number % LOG_EVERY == 0 or due or saves:
            self._log_losses(step)
        if due or saves:
            self._agree()
            self._evaluate_and_save(step.number, step.epoch, due, saves)
        stops, saves = self._agree(bool(self.callbacks.on_step_end(step.number)), self._is_time_to_save())
        if stops:
            self.plan.stop()
            if self._losses:
                self._log_losses(step)
            self._evaluate_and_save(step.number, step.epoch, due=self.evaluated_step < step.number)
        elif saves:
            self._evaluate_and_save(step.number, step.epoch, due=False)
        self._between_steps = False

    def catch_up(self) -> None:
        """Makes the evaluation that an interruption prevented; for the start of a resumed run."""
        step = self.plan.step
        epoch, ends_epoch = self.plan.position()
        due = self._is_due(self.config.eval.every_steps, step, ends_epoch) or self.plan.stopped
        if self.evaluated_step < step and due:
            self._evaluate_and_save(step, epoch)
        self._agree()
        self._between_steps = False

    @staticmethod
    def _is_due(every: int | None, step: int, ends_epoch: bool) -> bool:
        return ends_epoch or (bool(every) and step % every == 0)

    def _evaluate_and_save(self, step: int, epoch: int, due: bool = True, saves: bool = True) -> None:
        started = time.perf_counter()
        if due:
            self._evaluate(step, epoch)
        self.other_seconds += time.perf_counter() - started  # before last/ is written, which keeps the sum
        started = time.perf_counter()
        if saves:
            self._asked_to_save = False  # from here on it is another request
            self.save("last")
            self._saved = time.perf_counter()
        self.other_seconds += time.perf_counter() - started

    def _is_time_to_save(self) -> bool:
        """Returns True if this process wants last/ to be written: by a signal or, in rank 0, by the clock."""
        seconds = 60 * self.config.checkpoint.every_minutes
        passed = time.perf_counter() - self._saved
        return self._asked_to_save or (self.group.is_main and 0 < seconds <= passed)

    def _agree(self, stops: bool = False, saves: bool = False) -> tuple[bool, bool]:
        """Returns whether any process `stops`, and whether any `saves`.

        Raises KeyboardInterrupt where a signal that ends the run has come to any process.
        """
        signals = [self._signal == number for number in SIGNALS]
        stops, saves, *signals = self.group.any(stops, saves, *signals)
        self._signal = next((number for number, came in zip(SIGNALS, signals, strict=True) if came), None)
        self._agreed = self._signal is not None
        if self._agreed:
            raise KeyboardInterrupt
        return stops, saves

    def _log_losses(self, step: Step) -> None:
        """Logs each task's mean loss, that of all processes, over its steps since the last record."""
        by_task: dict[str, dict[int, float]] = {}
        for task, number, value in self._read_losses():
            if not math.isfinite(value):
                raise InputError(
                    f"the loss of {task} is {value} at step {number}; lower --optim.lr, or use --precision "
                    f"bf16 or fp32; the last checkpoint stays as it was"
                )
            steps = by_task.setdefault(task, {})
            steps[number] = steps.get(number, 0.0) + value
        self._losses.clear()
        means = {task: sum(steps.values()) / len(steps) for task, steps in by_task.items()}
        values = dict(
            epoch=step.epoch,
            loss=means,
            rate=self.config.optim.lr * self.precision.factor,
            step_skipped=self.precision.was_skipped,
            seconds=self.elapsed(),
        )
        if self.precision.skipped:
            values["skipped"] = self.precision.skipped
        self.callbacks.on_record("train", step.number, values)

    def _read_losses(self) -> list[tuple[str, int, float]]:
        """Returns the losses that are kept, summed over the processes."""
        values = self.group.sum([float(loss) for *_, loss in self._losses])
        return [(task, number, value) for (task, number, _), value in zip(self._losses, values, strict=True)]

    def _evaluate(self, step: int, epoch: int) -> None:
        """Scores the model, keeps it if it is the best, and only then counts the evaluation as made."""
        self._evaluating = True
        try:
            scores = self.evaluate()
        finally:
            self._evaluating = False
        for name, select in self.select.items():
            self._keep_if_better(name, select(scores), step)
        self.evaluations_without_better += 1
        if self.best_steps[BEST] == step:
            self.evaluations_without_better = 0
            self.best_scores = scores
        if self.config.patience and self.evaluations_without_better >= self.config.patience:
            self.plan.stop()
        values = dict(epoch=epoch, scores=scores, seconds=self.elapsed())
        self.callbacks.on_record("evaluation", step, values)
        self.evaluated_step = step

    def _keep_if_better(self, name: str, value: float | None, step: int) -> None:
        """Saves the checkpoint where its value is the best so far, of equal ones the earliest."""
        if value is not None and math.isnan(value):
            value = -math.inf  # a correlation of constant predictions
        if value is None and name != BEST:
            return
        best = self.best.get(name)
        if value is None or best is None or value > best:
            self.save(name)
            self.best[name], self.best_steps[name] = value, step

    @property
    def best_step(self) -> int:
        """The step of the best checkpoint; 0 before the first evaluation."""
        return self.best_steps.get(BEST, 0)

    def elapsed(self) -> float:
        """Returns the seconds of this run, those before an interruption included."""
        return self.seconds + time.perf_counter() - self._started

    def costs(self) -> dict[str, float]:
        """Returns the costs of the whole run, over all its interruptions.

        Seconds are without evaluations and checkpoints; memory is this process's, in bytes.
        """
        return {
            "epochs": self.plan.epochs_done,
            "training_seconds": self.elapsed() - self.other_seconds,
            "tokens": self.tokens,
            "peak_memory": max(self.peak_memory, peak_memory(self.precision.device)),
        }

    def extensions(self) -> list[str]:
        """Returns a sentence on each change of the run's length."""
        return [
            f"after step {step} the run was given {total} steps in place of {before}: from there its rates "
            f"are those of {total} steps, and its result is not that of a run of {total} steps from the start"
            for (_, before), (step, total) in pairwise(self.lengths)
        ]

    @contextmanager
    def interruption(self) -> Iterator[None]:
        """Lets the signals that end a run wait for the current step, so that last/ is a state between steps.

        They interrupt an evaluation at once. A second one waits for nothing; in the middle of a step it
        leaves last/ as it was. Of several processes all end after the same step, or the same evaluation,
        however often it comes: torchrun passes on what the terminal has sent already. Where one of them is
        gone, the others save nothing. SIGTERM leaves the process with status 143, SIGHUP with 129. SIGUSR1
        has last/ written after the step. What was ignored stays so, as SIGHUP under nohup.
        """

        def interrupt(number, frame):
            is_second = self.group.size == 1 and self._signal is not None
            self._signal = signal.Signals(number)
            self._between_steps &= not is_second
            if is_second or (self._evaluating and self.group.size == 1):
                raise KeyboardInterrupt

        def ask_to_save(number, frame):
            self._asked_to_save = True

        before = {}
        try:
            for number, handler in {**dict.fromkeys(SIGNALS, interrupt), SAVE_SIGNAL: ask_to_save}.items():
                if signal.getsignal(number) != signal.SIG_IGN:
                    before[number] = signal.signal(number, handler)
        except ValueError:  # not in the main thread, where signals cannot be handled
            yield
            return
        try:
            yield
        except KeyboardInterrupt:
            if self._between_steps and (self._agreed or self.group.size == 1):
                with suppress(KeyboardInterrupt):  # a second signal: last/ stays as it was
                    self.save("last")
                    logger.info(f"saved after step {self.plan.step} of {self.plan.total_steps}")
            self._leave(before)
        except RuntimeError as error:  # as torch has it where a process is gone
            if self.group.size == 1 or self._signal is None:
                raise
            logger.info(f"another process is gone ({error}); last/ stays as it was")
            self._leave(before)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _leave(self, handlers: dict[signal.Signals, Any]) -> NoReturn:
        """Raises what ends the process after a signal."""
        if self.group.size > 1:  # torchrun sends it once more, which is not to cut the end short
            handlers |= dict.fromkeys(handlers.keys() & {*SIGNALS}, signal.SIG_IGN)
        if self._signal in (signal.SIGTERM, signal.SIGHUP):
            raise SystemExit(128 + self._signal) from None
        raise KeyboardInterrupt from None

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in KEPT} | {
            "best": strict(self.best),  # JSON has no infinity
            "best_steps": dict(self.best_steps),
            "best_scores": strict(self.best_scores),
            "seconds": self.elapsed(),
            "peak_memory": self.costs()["peak_memory"],
            "losses": self._read_losses(),
            "lengths": self.lengths,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the state, after the plan's. A plan that is longer now goes on, though it was stopped."""
        self.lengths, total = [*state["lengths"]], self.plan.total_steps
        if total != self.lengths[-1][1]:
            self.lengths.append([self.plan.step, total])
        for name in (*KEPT, "seconds", "peak_memory"):
            setattr(self, name, state[name])
        self.best_steps = dict(state["best_steps"])
        self.best_scores = read_scores(state["best_scores"])
        self.best = {name: -math.inf if value is None else value for name, value in state["best"].items()}
        if total > state["lengths"][-1][1]:
            self.plan.stopped = False
            self.evaluations_without_better = 0
        # They are those of all processes.
        self._losses = [(*entry, loss if self.group.is_main else 0.0) for *entry, loss in state["losses"]]
