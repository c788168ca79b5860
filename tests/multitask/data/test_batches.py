"""Batches from arrays against the lists of before, written out here; blocks; cuts; counts without drawing."""

import random

import numpy as np
import pytest
import torch

from multitask.data import batches as module
from multitask.data.batches import Batches, BlockBatches, cut_points, plain_batches, shuffled_batches
from multitask.training.plan import BatchPlan, TaskData
from multitask.training.sampling import Sampling


def some_lengths(count, seed=0):
    draw = random.Random(seed)
    return [draw.randint(3, 60) for _ in range(count)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the algorithm of before, on lists: do not change it ----------------------------------------------------


def old_cut(indices, lengths, token_budget):
    batches, tokens = [], 0
    for index in indices:
        if not batches or tokens + lengths[index] > token_budget:
            batches.append([])
            tokens = 0
        batches[-1].append(index)
        tokens += lengths[index]
    return batches


def old_shuffled(lengths, size, generator, token_budget):
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches = []
    for start in range(0, len(order), size * 50):
        bucket = sorted(order[start : start + size * 50], key=lengths.__getitem__)
        if token_budget is None:
            batches += [bucket[i : i + size] for i in range(0, len(bucket), size)]
        else:
            batches += old_cut(bucket, lengths, token_budget)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def old_plain(lengths, size, generator, token_budget):
    order = torch.randperm(len(lengths), generator=generator).tolist()
    if token_budget is not None:
        return old_cut(order, lengths, token_budget)
    return [order[i : i + size] for i in range(0, len(order), size)]


def old_merged(batches, fewest):
    merged = []
    for batch in batches:
        if merged and len(merged[-1]) < fewest:
            merged[-1] = merged[-1] + batch
        else:
            merged.append(batch)
    if len(merged) > 1 and len(merged[-1]) < fewest:
        last = merged.pop()
        merged[-1] = merged[-1] + last
    return merged


class OldPlan:
    """The steps of an epoch as they were planned: lists of all batches, drawn in this order."""

    def __init__(self, plan):
        self.plan = plan

    def draw(self, data, generator):
        old = old_plain if data.uniform else old_shuffled
        batches = old(data.lengths, data.batch_size, generator, data.token_budget)
        batches = old_merged(batches, self.plan._fewest(data))
        return [batches[i : i + data.accumulation] for i in range(0, len(batches), data.accumulation)]

    def repeated(self, data, groups, generator):
        while True:
            yield from groups
            groups = self.draw(data, generator)

    def epoch(self, number):
        plan = self.plan
        drawn = torch.Generator().manual_seed((plan.seed * 1_000_003 + number) % 2**63)
        started = {name: data for name, data in plan.data.items() if data.start_epoch <= number}
        groups = {name: self.draw(data, drawn) for name, data in started.items()}
        counts = {name: len(entries) for name, entries in groups.items()}
        order = plan.sampling.order(counts, number, plan.epochs, drawn)
        queues = {name: self.repeated(started[name], entries, drawn) for name, entries in groups.items()}
        return [{name: next(queues[name]) for name in names} for names in order]


@pytest.mark.parametrize("budget", [None, 1, 130, 10**9])
@pytest.mark.parametrize("count", [1, 7, 64, 500, 4001])
@pytest.mark.parametrize("size", [1, 8, 32])
def test_passes_are_those_of_before(count, size, budget):
    lengths = some_lengths(count)
    for new, old in ((shuffled_batches, old_shuffled), (plain_batches, old_plain)):
        ours, theirs = generator(count), generator(count)
        drawn, wanted = new(np.array(lengths), size, ours, budget), old(lengths, size, theirs, budget)
        assert [*drawn] == wanted and torch.equal(ours.get_state(), theirs.get_state())
        for fewest in (1, 2, 3, 50):
            merged = drawn.merged(fewest)
            assert merged == old_merged(wanted, fewest) and len(merged) == len([*merged])


@pytest.mark.parametrize("unequal", ["exhaust", "smallest", "cycle"])
@pytest.mark.parametrize(
    "sampling", ["sequential:b,a,c", "round-robin", "together", "proportional", "uniform", "annealed"]
)
def test_plans_are_those_of_before_and_steps_are_counted_without_drawing(sampling, unequal, monkeypatch):
    for budget in (None, 150):
        data = {
            "a": TaskData(some_lengths(203), list, 8, budget, accumulation=3),
            "b": TaskData(some_lengths(41, 1), list, 8, budget, uniform=True),
            "c": TaskData(some_lengths(65, 2), list, 8, budget, start_epoch=2, gathered=True),
        }
        plan = BatchPlan(data, Sampling(sampling, unequal), epochs=3, seed=7, share=(0, 2))
        counted = [plan._count_steps(epoch) for epoch in (1, 2, 3)]
        for epoch in (1, 2, 3):
            wanted = OldPlan(plan).epoch(epoch)
            made = plan._epoch(epoch)
            assert [*made] == wanted == [*made] and len(made) == len(wanted) == counted[epoch - 1]
        names = [(epoch, tuple(step)) for epoch in (1, 2, 3) for step in OldPlan(plan).epoch(epoch)]
        assert plan.task_order() == names
    drawn = []
    monkeypatch.setattr(BatchPlan, "_cut", lambda *arguments: drawn.append(1))
    lengths = {"a": TaskData(some_lengths(203), list, 8), "b": TaskData(some_lengths(41), list, 8)}
    if unequal != "smallest":
        BatchPlan(lengths, Sampling(sampling.partition(":")[0], unequal), 50, 1).steps_per_epoch()
        assert not drawn


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("budget", [None, 90])
def test_blocks_have_every_example_once_and_count_the_same(uniform, budget, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 100)
    monkeypatch.setattr("multitask.training.plan.BLOCK", 100)
    lengths = np.array(some_lengths(431))
    drawn = BlockBatches(lengths, 8, generator(), budget, uniform, fewest=2 if uniform else 1)
    passes = [[*drawn], [*drawn], [*BlockBatches(lengths, 8, generator(1), budget, uniform)]]
    assert passes[0] == passes[1] != passes[2] and len(drawn) == len(passes[0])
    for batches in passes:
        assert sorted(index for batch in batches for index in batch) == list(range(431))
        if budget is not None and not uniform:  # where batches are not merged
            assert all(lengths[batch].sum() <= budget or len(batch) == 1 for batch in batches)
    first = {index % 5 for index in passes[0][0]}
    assert len(first) == 1 and {*range(5)} == {batch[0] % 5 for batch in passes[0]}
    data = {"a": TaskData(lengths, list, 8, budget, uniform=uniform)}
    plan = BatchPlan(data, "proportional", epochs=2, seed=3)
    steps = [step._replace(micro_batches=[m.batch for m in step.micro_batches]) for step in plan]
    assert plan.steps_per_epoch() == [sum(step.epoch == epoch for step in steps) for epoch in (1, 2)]
    for epoch in (1, 2):
        found = [i for step in steps if step.epoch == epoch for batch in step.micro_batches for i in batch]
        assert sorted(found) == list(range(431))


def test_cuts_are_greedy():
    assert cut_points(np.array([4, 6, 1, 30, 2]), 10) == [0, 2, 3, 4] and cut_points(np.zeros(0), 5) == []
    batches = Batches(np.array([5, 3, 1, 0]), np.array([0, 1, 3]))
    assert batches[1] == [3, 1] and batches[-1] == [0] and batches[1:] == [[3, 1], [0]] and len(batches) == 3
