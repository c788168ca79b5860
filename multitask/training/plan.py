"""BatchPlan: which batches of which tasks make up each step of a run. Depends on (seed, step) alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch

from minbert import InputError
from multitask.data.batches import BLOCK, BlockBatches, plain_batches, shuffled_batches
from multitask.training.sampling import Sampling

Batches = list[list[int]]  # indices of examples
TaskBatches = dict[str, Batches]  # the batches of a step by task


class MicroBatch(NamedTuple):
    """One batch of one task, or a process's share of it, and its weight in the step's loss of that task.

    `tokens` are those of the whole batch; `ends_step` is True for the last one of its step. At weight 0 a
    process has no share, and computes an example of the batch for nothing, since all take part in each
    micro-batch: its loss is to be masked out.
    """

    task: str
    batch: Any
    weight: float
    tokens: int = 0
    ends_step: bool = True


class Step(NamedTuple):
    """One optimizer step. Counts from 1.

    For each of `tasks` the weights of the micro-batches, over all processes, sum to 1; the step's loss is the
    sum over its tasks. Every process has as many micro-batches of each task.
    """

    number: int
    epoch: int
    ends_epoch: bool
    micro_batches: Iterator[MicroBatch]
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskData:
    """A task's training data, and how its batches are cut and made.

    lengths        tokens of each example
    collate        indices of examples -> a batch
    batch_size     examples a batch, or
    token_budget   tokens a batch
    accumulation   batches a step
    start_epoch    the first epoch that trains the task (delayed start)
    uniform        batches are a plain shuffle, cut; else they are of like lengths
    gathered       the loss compares the examples of a batch, gathered from all processes, see BatchPlan
    loss_weights   number of terms of the loss's mean that each example contributes, the words of a tagged
                   sentence for instance; 1 each by default

    Where `uniform` or `gathered` a batch has two examples at least, and one for each process: one that is too
    small takes in the next, and the last one goes to the one before. Other ragged batches stay as they are.
    """

    lengths: Sequence[int]
    collate: Callable[[Sequence[int]], Any]
    batch_size: int = 32
    token_budget: int | None = None
    accumulation: int = 1
    start_epoch: int = 1
    uniform: bool = False
    gathered: bool = False
    loss_weights: Sequence[float] | None = None

    def weight(self, batch: Sequence[int]) -> float:
        """Returns the number of terms that a batch contributes to the loss's mean."""
        return len(batch) if self.loss_weights is None else sum(self.loss_weights[i] for i in batch)

    def grouped(self, batches: Iterable[list[int]]) -> Iterator[Batches]:
        """Yields the batches of each step."""
        left = iter(batches)
        while group := [*islice(left, self.accumulation)]:
            yield group


class BatchPlan:
    """All steps of a run, the same in every process. `sampling` decides which tasks each one trains.

    A step takes `accumulation` batches of a task, each weighted by its share of the step's examples of that
    task, so that the gradient is that of the one large batch, in a ragged last step too.

    `share` is (rank, size) of this process in its group: of each batch it takes every size-th example, from
    its rank on, weighted by their part of the whole, so that the processes' gradients sum to that of the
    whole batch. A `gathered` loss is computed from the whole batch in every process and counts 1 / size: the
    gather's backward sums the gradients of all.

    Raises InputError where no task starts in the first epoch, and where a task whose loss compares examples
    has too few.
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
        self.rank, self.processes = share
        self.step = 0  # the last one taken
        self.stopped = False
        self._made: _Epoch | None = None  # the one that was asked for last
        self._lengths: list[int] = []  # steps of the epochs that the run reaches, the last one whole
        self._groups: dict[str, int | None] = {}  # see `_count_groups`
        if self.data and all(data.start_epoch > 1 for data in self.data.values()):
            raise InputError("every task has a start-epoch after 1; let one start in the first epoch")
        for name, data in self.data.items():
            if len(data.lengths) < (fewest := self._fewest(data)):
                raise InputError(
                    f"{name} has {len(data.lengths)} training examples; a loss that compares examples needs "
                    f"{fewest}: two, and one for each process; give it more"
                )

    def __iter__(self) -> Iterator[Step]:
        """Yields the steps after the last one taken; `state_dict` then counts the current one as taken."""
        for number, epoch, ends_epoch, batches in self._steps(after=self.step):
            if self.stopped:
                return
            self.step = number
            yield Step(self.step, epoch, ends_epoch, self._micro_batches(batches), tuple(batches))

    def _steps(self, after: int = 0) -> Iterator[tuple[int, int, bool, TaskBatches]]:
        """Yields number, epoch, whether it is the epoch's or the run's last, and batches of each step."""
        number, total = 0, self.total_steps
        for epoch, count in enumerate(self.steps_per_epoch(), start=1):
            if number + count <= after:
                number += count
                continue
            for position, batches in enumerate(self._epoch(epoch), start=1):
                number += 1
                if number > total:
                    return
                if number > after:
                    yield number, epoch, position == count or number == total, batches

    def steps_per_epoch(self) -> list[int]:
        """Returns the steps of each epoch that the run reaches; of the last one, all."""
        while len(self._lengths) < self.epochs and (
            self.max_steps is None or sum(self._lengths) < self.max_steps
        ):
            self._lengths.append(self._count_steps(len(self._lengths) + 1))
        return self._lengths

    def _count_steps(self, epoch: int) -> int:
        """Returns the steps of an epoch, drawn only where neither sizes nor lengths alone decide."""
        counts = {name: self._count_groups(name) for name in self._started(epoch)}
        steps = None if None in counts.values() else self.sampling.count_steps(counts)
        return len(self._epoch(epoch)) if steps is None else steps

    def _count_groups(self, name: str) -> int | None:
        """Returns the steps of one pass over a task, the same in each epoch; None where that is drawn."""
        if name not in self._groups:
            data, fewest = self.data[name], self._fewest(self.data[name])
            count, blocks = None, -(-len(data.lengths) // BLOCK)
            if data.token_budget is None and data.batch_size >= fewest:
                sizes = [len(range(block, len(data.lengths), blocks)) for block in range(blocks)]
                count = sum(_count_batches(size, data.batch_size, fewest) for size in sizes)
            elif blocks > 1 and not data.uniform and fewest == 1:
                count = len(self._cut(data, torch.Generator()))
            self._groups[name] = None if count is None else -(-count // data.accumulation)
        return self._groups[name]

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        planned = sum(self.steps_per_epoch())
        return planned if self.max_steps is None else min(planned, self.max_steps)

    def task_order(self) -> list[tuple[int, tuple[str, ...]]]:
        """Returns the epoch and the tasks of each step of the whole run; collates nothing."""
        order: list[tuple[int, tuple[str, ...]]] = []
        for epoch, count in enumerate(self.steps_per_epoch(), start=1):
            started = self._started(epoch)
            names = [(started[0],)] * count if len(started) == 1 else self._epoch(epoch).order
            entries = {entry: (epoch, entry) for entry in set(names)}  # one object for equal steps
            order += map(entries.__getitem__, names)
        return order[: self.total_steps]

    def batches_per_pass(self) -> dict[str, int]:
        """Returns the batches of each task's first pass; with a token budget, others may have a few more."""
        first = {data.start_epoch for data in self.data.values()}
        epochs = {epoch: self._epoch(epoch) for epoch in sorted(first, reverse=True)}
        return {name: epochs[data.start_epoch].batches[name] for name, data in self.data.items()}

    def position(self) -> tuple[int, bool]:
        """Returns the epoch of the last step taken, and whether that was the epoch's last (or the run's)."""
        epoch, done, count = self._place()
        return epoch, done > 0 and (done == count or self.step >= self.total_steps)

    @property
    def epochs_done(self) -> float:
        """Epochs that the steps so far make up, the last one in part."""
        epoch, done, count = self._place()
        return epoch - 1 + done / count

    def _place(self) -> tuple[int, int, int]:
        """Returns the epoch of the last step taken, the steps of it that are done, and all its steps."""
        done, epoch, counts = self.step, 1, self.steps_per_epoch()
        while done > counts[epoch - 1]:
            done -= counts[epoch - 1]
            epoch += 1
        return epoch, done, counts[epoch - 1]

    def stop(self) -> None:
        """Makes the current step the last one."""
        self.stopped = True

    def _micro_batches(self, step: TaskBatches) -> Iterator[MicroBatch]:
        """Yields this process's micro-batches of a step. One without a term of the loss is left out."""
        wholes = {name: sum(map(self.data[name].weight, batches)) for name, batches in step.items()}
        used = [(name, batch) for name in step for batch in step[name] if self.data[name].weight(batch)]
        for number, (name, batch) in enumerate(used, start=1):
            data = self.data[name]
            share = batch[self.rank :: self.processes]
            weight = data.weight(batch) / self.processes if data.gathered else data.weight(share)
            # An example without weight draws none of the run's random numbers.
            with nullcontext() if weight else torch.random.fork_rng(devices=[]):
                collated = data.collate(share or batch[:1])
            tokens = sum(int(data.lengths[i]) for i in batch)
            yield MicroBatch(name, collated, weight / wholes[name], tokens, number == len(used))

    def _epoch(self, epoch: int) -> "_Epoch":
        """Returns the epoch's steps: a function of (seed, epoch)."""
        if self._made is None or self._made.number != epoch:
            self._made = _Epoch(self, epoch)
        return self._made

    def _started(self, epoch: int) -> list[str]:
        return [name for name, data in self.data.items() if data.start_epoch <= epoch]

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)

    def _cut(self, data: TaskData, generator: torch.Generator) -> Sequence[list[int]] | BlockBatches:
        """Draws one pass over a task's examples, in batches."""
        size, budget, fewest = data.batch_size, data.token_budget, self._fewest(data)
        if len(data.lengths) > BLOCK:
            return BlockBatches(data.lengths, size, generator, budget, data.uniform, fewest)
        draw = plain_batches if data.uniform else shuffled_batches
        return draw(data.lengths, size, generator, budget).merged(fewest)

    def _fewest(self, data: TaskData) -> int:
        """Returns the number of examples that a batch must have."""
        return max(2, self.processes) if data.uniform or data.gathered else 1

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "stopped": self.stopped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self.stopped = state["stopped"]


class _Epoch(Iterable[TaskBatches]):
    """The steps of an epoch. `order` has the tasks of each, `batches` the number in a pass over each task.

    Passes over tasks that come again are drawn while the steps are iterated over, in their order.
    """

    def __init__(self, plan: BatchPlan, epoch: int):
        self.plan = plan
        self.number = epoch
        generator = plan._generator(epoch)
        self._passes = {name: plan._cut(plan.data[name], generator) for name in plan._started(epoch)}
        self.batches = {name: self._count(name, drawn) for name, drawn in self._passes.items()}
        groups = {name: -(-count // plan.data[name].accumulation) for name, count in self.batches.items()}
        self.order = plan.sampling.order(groups, epoch, plan.epochs, generator)
        self._state = generator.get_state()

    def _count(self, name: str, drawn: Any) -> int:
        groups, data = self.plan._count_groups(name), self.plan.data[name]
        return len(drawn) if groups is None or data.accumulation > 1 else groups

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[TaskBatches]:
        generator = torch.Generator()
        generator.set_state(self._state)
        queues = {name: self._repeated(name, drawn, generator) for name, drawn in self._passes.items()}
        for names in self.order:
            yield {name: next(queues[name]) for name in names}

    def _repeated(self, name: str, drawn: Any, generator: torch.Generator) -> Iterator[Batches]:
        """Yields the batches of a task's steps in a pass, then those of further passes, freshly shuffled."""
        data = self.plan.data[name]
        while True:
            yield from data.grouped(drawn)
            drawn = self.plan._cut(data, generator)


def _count_batches(examples: int, size: int, fewest: int) -> int:
    """Returns the batches of so many examples, where one that is too small joins another; size >= fewest."""
    count, rest = -(-examples // size), examples % size
    return count - 1 if count > 1 and 0 < rest < fewest else count
