"""The plan of a run: which batches of which task make up each step. Depends on (seed, step) alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from multitask.data.collate import shuffled_batches
from multitask.training.sampling import task_order


class Piece(NamedTuple):
    """One batch of one task, and its share of the step's loss."""

    task: str
    batch: Any
    weight: float


class Step(NamedTuple):
    """What one optimizer step learns from; the weights of its pieces sum to 1. Counts from 1."""

    number: int
    epoch: int
    ends_epoch: bool
    pieces: Iterator[Piece]


@dataclass(frozen=True)
class TaskData:
    """What the plan knows of a task's training data: lengths in tokens, and how batches are cut and made."""

    lengths: Sequence[int]
    collate: Callable[[Sequence[int]], Any]
    batch_size: int = 32
    token_budget: int | None = None


TaskStep = tuple[str, list[list[int]]]  # a task and its batches of indices


class Plan:
    """All steps of a run, each with the batches of one task.

    Accumulation takes `accumulation` batches of one task a step, each weighted by its share of the examples,
    so that the gradient is that of the one large batch, in a ragged last step too.
    """

    def __init__(
        self,
        data: Mapping[str, TaskData],
        sampling: str,
        epochs: int,
        seed: int,
        accumulation: int = 1,
        max_steps: int | None = None,
    ):
        self.data = data
        self.sampling = sampling
        self.epochs = epochs
        self.seed = seed
        self.accumulation = accumulation
        self.max_steps = max_steps
        self.step = 0
        self._stopped = False
        self._made: tuple[int, list[TaskStep]] = (0, [])  # the epoch in hand
        self._counts: list[dict[str, int]] = []  # steps of each task in the epochs that the run reaches

    def __iter__(self) -> Iterator[Step]:
        """The steps after the last one taken; `state_dict` then counts the one in hand as taken."""
        for epoch, steps in self._from_here():
            for position, (task, batches) in steps:
                if self._stopped or self.step >= self.total_steps:
                    return
                self.step += 1
                ends = position + 1 == len(self._epoch(epoch)) or self.step == self.total_steps
                yield Step(self.step, epoch, ends, self._pieces(task, batches))

    def _from_here(self):
        done = self.step
        for epoch, count in enumerate(self._steps_an_epoch(), start=1):
            if done < count:
                yield epoch, list(enumerate(self._epoch(epoch)))[done:]
            done = max(0, done - count)

    def position(self) -> tuple[int, bool]:
        """The epoch of the last step taken, and whether that step was the epoch's last (or the run's)."""
        done = self.step
        for epoch, count in enumerate(self._steps_an_epoch(), start=1):
            if done <= count:
                return epoch, done > 0 and (done == count or self.step >= self.total_steps)
            done -= count
        return self.epochs, True

    def _pieces(self, task: str, batches: list[list[int]]) -> Iterator[Piece]:
        examples = sum(len(batch) for batch in batches)
        for batch in batches:
            yield Piece(task, self.data[task].collate(batch), len(batch) / examples)

    def _epoch(self, epoch: int) -> list[TaskStep]:
        """The epoch's steps: a function of (seed, epoch)."""
        if self._made[0] != epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            steps: dict[str, list[list[list[int]]]] = {}
            for name, data in self.data.items():
                size = self.accumulation
                batches = shuffled_batches(data.lengths, data.batch_size, generator, data.token_budget)
                steps[name] = [batches[i : i + size] for i in range(0, len(batches), size)]
            counts = {name: len(entries) for name, entries in steps.items()}
            queues = {name: iter(entries) for name, entries in steps.items()}
            order = task_order(self.sampling, counts, generator)
            self._made = epoch, [(name, next(queues[name])) for name in order]
        return self._made[1]

    def _steps_an_epoch(self) -> list[int]:
        return [sum(counts.values()) for counts in self._epoch_counts()]

    def _epoch_counts(self) -> list[dict[str, int]]:
        planned = sum(sum(counts.values()) for counts in self._counts)
        while len(self._counts) < self.epochs and (self.max_steps is None or planned < self.max_steps):
            tasks = [task for task, _ in self._epoch(len(self._counts) + 1)]
            self._counts.append({name: tasks.count(name) for name in self.data})
            planned += len(tasks)
        return self._counts

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        planned = sum(self._steps_an_epoch())
        return planned if self.max_steps is None else min(planned, self.max_steps)

    def steps_by_task(self) -> dict[str, list[int]]:
        """Steps of each task in each epoch that the run reaches, the last epoch whole."""
        return {name: [counts[name] for counts in self._epoch_counts()] for name in self.data}

    def stop(self) -> None:
        """Makes the step in hand the last one."""
        self._stopped = True

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "stopped": self._stopped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self._stopped = state["stopped"]
