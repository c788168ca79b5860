"""What happens between steps: the bar, the log, evaluations, checkpoints, early stopping, interruption."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from tqdm import tqdm

from minbert import InputError
from multitask.training.plan import Piece, Plan, Step

BEST = "best"  # the checkpoint that is the run's result
LOG_EVERY = 10  # steps between looks at the losses, each of which waits for the device

Scores = dict[str, dict[str, float]]


class Progress:
    """`report` and `after_step` for the loop.

    evaluate() -> scores by task; select[checkpoint](scores) -> what decides whether that checkpoint, as
    "best", is the best, or None without such a score; save("best" or "last"); log(kind, step, **values);
    skipped() -> steps skipped so far.
    """

    def __init__(
        self,
        plan: Plan,
        evaluate: Callable[[], Scores],
        select: Mapping[str, Callable[[Scores], float | None]],
        save: Callable[[str], None],
        log: Callable[..., None],
        rate: Callable[[], float],
        evaluate_every: int | None = None,
        save_every: int | None = None,
        patience: int | None = None,
        quiet: bool = False,
        skipped: Callable[[], int] = lambda: 0,
    ):
        self.plan = plan
        self.evaluate = evaluate
        self.select = dict(select)
        self.save = save
        self.log = log
        self.rate = rate
        self.evaluate_every = evaluate_every
        self.save_every = save_every
        self.patience = patience
        self.skipped = skipped
        self.best: dict[str, float | None] = {}  # by checkpoint
        self.best_steps: dict[str, int] = {}
        self.evaluations_without_better = 0
        self.evaluated_step = 0
        self.seconds = 0.0
        self.other_seconds = 0.0  # of these, what went into evaluations and checkpoints
        self.tokens = 0  # that training has read, of this process
        self._losses: list[tuple[str, int, Tensor | float]] = []  # task, step, loss: not looked at yet
        self._started = time.perf_counter()
        self._between_steps = True
        self._evaluating = False
        self._interrupted = False
        self._bar = tqdm(
            total=plan.total_steps, initial=plan.step, unit=" steps", disable=True if quiet else None
        )

    def report(self, step: Step, piece: Piece, loss: Tensor) -> None:
        """Keeps a loss; it is read with the others every LOG_EVERY steps."""
        self._losses.append((piece.task, step.number, loss * piece.weight))
        self.tokens += piece.batch.tokens

    def after_step(self, step: Step) -> None:
        self._between_steps = True
        self._bar.update()
        due = step.ends_epoch or (self.evaluate_every and step.number % self.evaluate_every == 0)
        saves = step.ends_epoch or (self.save_every and step.number % self.save_every == 0)
        if step.number % LOG_EVERY == 0 or due or saves:
            self._read_losses(step)
        self._stop_if_asked()
        self._evaluate_and_save(step.number, step.epoch, due, saves)
        self._stop_if_asked()
        self._between_steps = False

    def catch_up(self) -> None:
        """Makes the evaluation that an interruption kept from being made; for the start of a resumed run."""
        step, every = self.plan.step, self.evaluate_every
        epoch, ends_epoch = self.plan.position()
        if self.evaluated_step < step and (ends_epoch or (every and step % every == 0)):
            self._evaluate_and_save(step, epoch)
        self._stop_if_asked()
        self._between_steps = False

    def _evaluate_and_save(self, step: int, epoch: int, due: bool = True, saves: bool = True) -> None:
        started = time.perf_counter()
        if due:
            self._evaluate(step, epoch)
        self.other_seconds += time.perf_counter() - started  # before last/ is written, which keeps the sum
        started = time.perf_counter()
        if saves:
            self.save("last")
        self.other_seconds += time.perf_counter() - started

    def _stop_if_asked(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt

    def _read_losses(self, step: Step) -> None:
        by_task: dict[str, dict[int, float]] = {}
        for task, number, loss in self._losses:
            value = float(loss)
            if not math.isfinite(value):
                raise InputError(
                    f"the loss of {task} is {value} at step {number}; lower --optim.lr, or use --precision "
                    f"bf16 or fp32; the last checkpoint stays as it was"
                )
            steps = by_task.setdefault(task, {})
            steps[number] = steps.get(number, 0.0) + value
        self._losses.clear()
        means = {task: sum(steps.values()) / len(steps) for task, steps in by_task.items()}
        values = dict(epoch=step.epoch, loss=means, rate=self.rate(), seconds=self.elapsed())
        if self.skipped():
            values["skipped"] = self.skipped()
        self.log("train", step.number, **values)
        if means:
            task, loss = next(reversed(means.items()))
            self._bar.set_postfix_str(f"epoch {step.epoch}, {task} loss {loss:.3f}")

    def _evaluate(self, step: int, epoch: int) -> None:
        """Scores the model, keeps it if it is the best, and only then counts the evaluation as made."""
        self._evaluating = True
        try:
            scores = self.evaluate()
        finally:
            self._evaluating = False
        for name, select in self.select.items():
            self._keep_if_better(name, select(scores), step)
        waited = self.evaluations_without_better + 1
        self.evaluations_without_better = 0 if self.best_steps[BEST] == step else waited
        if self.patience and self.evaluations_without_better >= self.patience:
            self.plan.stop()
        self.log("evaluation", step, epoch=epoch, scores=scores, seconds=self.elapsed())
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
        """Seconds of this run, those before an interruption included."""
        return self.seconds + time.perf_counter() - self._started

    def costs(self) -> dict[str, float]:
        """Epochs, seconds without evaluations and checkpoints, and tokens that training has read."""
        return {
            "epochs": self.plan.epochs_done,
            "training_seconds": self.elapsed() - self.other_seconds,
            "tokens": self.tokens,
        }

    @contextmanager
    def interruption(self) -> Iterator[None]:
        """Ctrl-C waits for the step in hand, so that last/ is a state between steps, but for no evaluation.

        A second one waits for nothing; in the middle of a step it leaves last/ as it was.
        """

        def interrupt(number, frame):
            stop_now = self._evaluating or self._interrupted
            self._interrupted = True
            if stop_now:
                raise KeyboardInterrupt

        try:
            before = signal.signal(signal.SIGINT, interrupt)
        except ValueError:  # not in the main thread, where signals cannot be handled
            yield
            return
        try:
            yield
        except KeyboardInterrupt:
            if self._between_steps:
                self.save("last")
            raise
        finally:
            signal.signal(signal.SIGINT, before)
            self._bar.close()

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": {
                name: value if value is None or math.isfinite(value) else None
                for name, value in self.best.items()
            },
            "best_steps": self.best_steps,
            "evaluations_without_better": self.evaluations_without_better,
            "evaluated_step": self.evaluated_step,
            "seconds": self.elapsed(),
            "other_seconds": self.other_seconds,
            "tokens": self.tokens,
            "losses": [(task, number, float(loss)) for task, number, loss in self._losses],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_steps = dict(state["best_steps"])
        self.best = {name: -math.inf if value is None else value for name, value in state["best"].items()}
        self.evaluations_without_better = state["evaluations_without_better"]
        self.evaluated_step = state["evaluated_step"]
        self.seconds = state["seconds"]
        self.other_seconds = state["other_seconds"]
        self.tokens = state["tokens"]
        self._losses = [tuple(entry) for entry in state["losses"]]
        self._bar.n = self.plan.step
