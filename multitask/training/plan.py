"""The plan of a run: which batches of which tasks make up each step. Depends on (seed, step) alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, NamedTuple

import torch

from minbert import InputError, cut_by_tokens
from multitask.data.collate import shuffled_batches
from multitask.training.sampling import Sampling

SHOWN_STEPS = 40  # of the dry run's order
SHOWN_EPOCHS = 6  # of the dry run's table; of more, the first and the last three


class Piece(NamedTuple):
    """One batch of one task, or a process's share of it, and its weight in the step's loss of that task."""

    task: str
    batch: Any
    weight: float


class Step(NamedTuple):
    """What one optimizer step learns from. Counts from 1.

    For each of `tasks` the weights of the pieces, over all processes, sum to 1: with several tasks the step's
    loss is the sum of theirs. A process may have no piece of a task, or none at all.
    """

    number: int
    epoch: int
    ends_epoch: bool
    pieces: Iterator[Piece]
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskData:
    """What the plan knows of a task's training data, and how batches are cut and made.

    lengths        tokens of each example
    collate        indices of examples -> a batch
    batch_size     examples a batch, or
    token_budget   tokens a batch
    accumulation   batches a step
    start_epoch    the first epoch that trains the task (delayed start)
    uniform        batches are a plain shuffle cut into pieces; else they are of like lengths
    gathered       the loss compares the examples of a batch, gathered from all processes, see Plan
    units          how many terms of the loss's mean come from each example, the words of a tagged sentence
                   for instance; one each by default

    A loss that compares examples has nothing to do with one, and each process needs one to gather: where
    `uniform` or `gathered`, a batch that is too small takes in the next, the last one goes to the one before,
    and every example is still used. Any other ragged last batch stays as it is.
    """

    lengths: Sequence[int]
    collate: Callable[[Sequence[int]], Any]
    batch_size: int = 32
    token_budget: int | None = None
    accumulation: int = 1
    start_epoch: int = 1
    uniform: bool = False
    gathered: bool = False
    units: Sequence[float] | None = None


Batches = list[list[int]]  # indices of examples
TaskBatches = dict[str, Batches]  # what a step takes of each of its tasks


class Plan:
    """All steps of a run. `sampling` decides which tasks each one trains.

    A step takes `accumulation` batches of a task, each weighted by its share of the step's examples of that
    task, so that the gradient is that of the one large batch, in a ragged last step too.

    `share` is (rank, ranks): of each batch this process takes every ranks-th example, from its rank on, and
    the weight is that share's part of the examples of all processes. The SUM of the processes' gradients is
    then that of the whole batch. A `gathered` loss is computed from the whole batch in every process and
    counts in each with 1 / ranks: the gather's backward sums the gradients of all of them. The steps, their
    tasks and batches are the same in every process.

    Raises InputError where no task starts in the first epoch, for a share that is none, and where a task
    whose loss compares examples has too few.
    """

    def __init__(
        self,
        data: Mapping[str, TaskData],
        sampling: Sampling | str,
        epochs: int,
        seed: int,
        max_steps: int | None = None,
        share: tuple[int, int] = (0, 1),
    ):
        self.data = data
        self.sampling = Sampling(sampling) if isinstance(sampling, str) else sampling
        self.epochs = epochs
        self.seed = seed
        self.max_steps = max_steps
        self.rank, self.ranks = share
        self.step = 0
        self._stopped = False
        self._made: tuple[int, list[TaskBatches]] = (0, [])  # the epoch in hand
        self._counts: list[dict[str, int]] = []  # steps of each task in the epochs that the run reaches
        self._lengths: list[int] = []  # steps of these epochs
        self._check()

    def _check(self) -> None:
        if not 0 <= self.rank < self.ranks:
            raise InputError(
                f"share is ({self.rank}, {self.ranks}); give (rank, ranks), rank from 0 to ranks - 1"
            )
        if self.data and all(data.start_epoch > 1 for data in self.data.values()):
            raise InputError("every task has a start-epoch after 1; let one start in the first epoch")
        for name, data in self.data.items():
            if len(data.lengths) < self._fewest(data):
                raise InputError(
                    f"{name} has {len(data.lengths)} training examples; a loss that compares examples needs "
                    f"{self._fewest(data)}: two, and one for each process; give it more"
                )

    def _fewest(self, data: TaskData) -> int:
        """Examples that a batch must have."""
        return max(2, self.ranks) if data.uniform or data.gathered else 1

    def __iter__(self) -> Iterator[Step]:
        """The steps after the last one taken; `state_dict` then counts the one in hand as taken."""
        for epoch, steps in self._from_here():
            for position, batches in steps:
                if self._stopped or self.step >= self.total_steps:
                    return
                self.step += 1
                ends = position + 1 == self._lengths[epoch - 1] or self.step == self.total_steps
                yield Step(self.step, epoch, ends, self._pieces(batches), tuple(batches))

    def _from_here(self) -> Iterator[tuple[int, list[tuple[int, TaskBatches]]]]:
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

    @property
    def epochs_done(self) -> float:
        """Epochs that the steps so far make up, the last one in part."""
        done = self.step
        for epoch, count in enumerate(self._steps_an_epoch(), start=1):
            if done <= count:
                return epoch - 1 + done / count
            done -= count
        return float(self.epochs)

    def _pieces(self, step: TaskBatches) -> Iterator[Piece]:
        """This process's pieces of a step."""
        for name, batches in step.items():
            data = self.data[name]
            whole = sum(_units(data, batch) for batch in batches)
            for batch in batches:
                share = batch[self.rank :: self.ranks]
                counted = _units(data, batch) / self.ranks if data.gathered else _units(data, share)
                if share and counted:
                    yield Piece(name, data.collate(share), counted / whole)

    def _epoch(self, epoch: int) -> list[TaskBatches]:
        """The epoch's steps: a function of (seed, epoch)."""
        if self._made[0] != epoch:
            generator = self._generator(epoch)
            passes = self._first_passes(epoch, generator)
            groups = {name: _grouped(batches, self.data[name]) for name, batches in passes.items()}
            counts = {name: len(entries) for name, entries in groups.items()}
            order = self.sampling.order(counts, epoch, self.epochs, generator)
            queues = {name: self._repeated(name, entries, generator) for name, entries in groups.items()}
            self._made = epoch, [{name: next(queues[name]) for name in names} for names in order]
        return self._made[1]

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)

    def _first_passes(self, epoch: int, generator: torch.Generator) -> dict[str, Batches]:
        """One pass over each task that has started."""
        started = [name for name, data in self.data.items() if data.start_epoch <= epoch]
        return {name: self._cut(self.data[name], generator) for name in started}

    def _repeated(self, name: str, groups: list[Batches], generator: torch.Generator) -> Iterator[Batches]:
        """The groups of batches of a pass, then those of further passes, each freshly shuffled."""
        while True:
            yield from groups
            groups = _grouped(self._cut(self.data[name], generator), self.data[name])

    def _cut(self, data: TaskData, generator: torch.Generator) -> Batches:
        """One pass over a task's examples, in batches."""
        if not data.uniform:
            batches = shuffled_batches(data.lengths, data.batch_size, generator, data.token_budget)
        else:
            order = torch.randperm(len(data.lengths), generator=generator).tolist()
            if data.token_budget is None:
                batches = [order[i : i + data.batch_size] for i in range(0, len(order), data.batch_size)]
            else:
                batches = cut_by_tokens(order, data.lengths, data.token_budget)
        return _merged(batches, self._fewest(data))

    def _steps_an_epoch(self) -> list[int]:
        self._epoch_counts()
        return self._lengths

    def _epoch_counts(self) -> list[dict[str, int]]:
        planned = sum(self._lengths)
        while len(self._counts) < self.epochs and (self.max_steps is None or planned < self.max_steps):
            steps = self._epoch(len(self._counts) + 1)
            self._counts.append(self._counted(steps))
            self._lengths.append(len(steps))
            planned += len(steps)
        return self._counts

    def _counted(self, steps: Sequence[TaskBatches]) -> dict[str, int]:
        return {name: sum(name in step for step in steps) for name in self.data}

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        planned = sum(self._steps_an_epoch())
        return planned if self.max_steps is None else min(planned, self.max_steps)

    def steps_by_task(self) -> dict[str, list[int]]:
        """Steps with a piece of each task in each epoch that the run reaches, the last epoch whole."""
        return {name: [counts[name] for counts in self._epoch_counts()] for name in self.data}

    def table(self) -> list[str]:
        """The dry run: a table of the steps planned, and the order of the first ones. Collates nothing.

        Rows are the tasks, columns their examples, the batches of one pass, the steps with a piece of the
        task in each epoch (the middle ones of many left out) and in the whole run, and the share of them.
        """
        total = self.total_steps
        counts = list(self._epoch_counts())
        cut = sum(self._lengths) - total
        if cut:
            counts[-1] = self._counted(self._epoch(len(counts))[:-cut])
        lengths = [*self._lengths[:-1], self._lengths[-1] - cut] if counts else []
        batches = self._batches_of_a_pass()
        shown = [f"epoch {epoch}" for epoch in range(1, len(counts) + 1)]
        rows = [["task", "examples", "batches", *_ends(shown), "steps", "share"]]
        for name, data in self.data.items():
            steps = [epoch[name] for epoch in counts]
            share = f"{sum(steps) / total:.1%}" if total else "-"
            each = f"{batches[name]:,}" + (f", {data.accumulation} a step" if data.accumulation > 1 else "")
            cells = _ends([f"{count:,}" for count in steps])
            rows.append([name, f"{len(data.lengths):,}", each, *cells, f"{sum(steps):,}", share])
        rows.append(["all", "", "", *_ends([f"{count:,}" for count in lengths]), f"{total:,}", ""])
        first = [tuple(step) for step in islice(self._all_steps(), min(SHOWN_STEPS, total))]
        runs = [("+".join(names), len(list(run))) for names, run in groupby(first)]
        order = ", ".join(f"{names} x{count}" if count > 1 else names for names, count in runs)
        policy = f"sampling {self.sampling}"
        if cut:
            policy += f"; max-steps ends the run in epoch {len(counts)}, {cut:,} steps before its end"
        return [policy, *_aligned(rows), f"first {len(first)} steps: {order}"]

    def _all_steps(self) -> Iterator[TaskBatches]:
        for epoch in range(1, len(self._epoch_counts()) + 1):
            yield from self._epoch(epoch)

    def _batches_of_a_pass(self) -> dict[str, int]:
        """Of each task's first pass; with a token budget the shuffle decides, others may have a few more."""
        first = {data.start_epoch for data in self.data.values()}
        passes = {epoch: self._first_passes(epoch, self._generator(epoch)) for epoch in first}
        return {name: len(passes[data.start_epoch][name]) for name, data in self.data.items()}

    def stop(self) -> None:
        """Makes the step in hand the last one."""
        self._stopped = True

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "stopped": self._stopped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self._stopped = state["stopped"]


def _units(data: TaskData, batch: Sequence[int]) -> float:
    """What a batch counts for: its examples, or the terms that they give to the loss's mean."""
    return len(batch) if data.units is None else sum(data.units[i] for i in batch)


def _grouped(batches: Batches, data: TaskData) -> list[Batches]:
    """The batches of each step."""
    return [batches[i : i + data.accumulation] for i in range(0, len(batches), data.accumulation)]


def _merged(batches: Batches, fewest: int) -> Batches:
    """The batches, each with at least so many examples, where there are as many in all."""
    merged: Batches = []
    for batch in batches:
        if merged and len(merged[-1]) < fewest:
            merged[-1] = merged[-1] + batch
        else:
            merged.append(batch)
    if len(merged) > 1 and len(merged[-1]) < fewest:
        last = merged.pop()
        merged[-1] = merged[-1] + last
    return merged


def _ends(cells: list[str]) -> list[str]:
    """All cells, or the first and last ones of many."""
    half = SHOWN_EPOCHS // 2
    return cells if len(cells) <= SHOWN_EPOCHS else [*cells[:half], "...", *cells[-half:]]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns of equal width, the first one flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines
