"""Callbacks: objects that a run calls while it trains: logs, trackers, progress bars, a user's own."""

from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

NEWEST = 0.3  # weight of the newest loss in a moving average
Scores = dict[str, dict[str, float]]  # task -> metric -> value


class Callback:
    """Base class of callbacks. Each method does nothing; override those that are needed.

    `train(config, callbacks=[...])` takes instances, which only rank 0 of several processes calls. An
    exception of theirs ends the run as an interruption does.
    """

    def on_start(self, step: int, total_steps: int) -> None:
        """Called before the first step; `step` steps of a resumed run are done."""

    def on_record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Called with each record of metrics.jsonl: of kind "train", "evaluation" or "conflict"."""

    def on_step_end(self, step: int) -> bool | None:
        """Called after each step, with its evaluation and checkpoint where they are due.

        Returns True to end the run there: it is evaluated and saved, and its best checkpoint is the result.
        """

    def on_end(self, scores: Scores | None) -> None:
        """Called at the end with the scores of the best checkpoint; None for a run that was interrupted."""


class Callbacks(Callback):
    """Calls callbacks one after the other."""

    def __init__(self, called: Sequence[Callback]):
        self.called = called

    def on_start(self, step: int, total_steps: int) -> None:
        for callback in self.called:
            callback.on_start(step, total_steps)

    def on_record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        for callback in self.called:
            callback.on_record(kind, step, values)

    def on_step_end(self, step: int) -> bool:
        """Returns True if any callback stops the run."""
        return any([callback.on_step_end(step) for callback in self.called])

    def on_end(self, scores: Scores | None) -> None:
        for callback in self.called:
            callback.on_end(scores)


class ProgressBar(Callback):
    """Shows a bar of the steps on a terminal, with each task's loss: a moving average of those logged."""

    def on_start(self, step: int, total_steps: int) -> None:
        self.losses: dict[str, float] = {}
        self.bar = tqdm(total=total_steps, initial=step, unit=" steps", disable=None)

    def on_record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if kind != "train":
            return
        for task, loss in values["loss"].items():
            self.losses[task] = NEWEST * loss + (1 - NEWEST) * self.losses.get(task, loss)
        losses = ", ".join(f"{task} {loss:.3f}" for task, loss in self.losses.items())
        self.bar.set_postfix_str(f"epoch {values['epoch']}, loss {losses}")

    def on_step_end(self, step: int) -> None:
        self.bar.update()

    def on_end(self, scores: Scores | None) -> None:
        self.bar.close()
