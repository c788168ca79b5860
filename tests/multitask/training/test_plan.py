"""The plan: a function of (seed, step); every example once an epoch; resuming at any step changes nothing."""

from collections import Counter

import pytest
import torch

from minbert import InputError
from multitask.training.plan import Plan, TaskData
from multitask.training.sampling import task_order

SIZES = {"big": 83, "small": 9, "middle": 40}
ORDERS = ("proportional", "round-robin", "sequential", "sequential:middle,small,big")


def make_plan(sampling="proportional", **options):
    budget = options.pop("budget", None)
    data = {}
    for name, size in SIZES.items():
        lengths = [3 + (7 * i) % 19 for i in range(size)]
        data[name] = TaskData(lengths, lambda indices, name=name: (name, *indices), 8, budget)
    return Plan(data, sampling, **{"epochs": 3, "seed": 5, **options})


def taken(plan, count=None):
    """The steps as plain values, pieces read as the loop reads them."""
    steps = []
    for step in plan:
        steps.append((step.number, step.epoch, step.ends_epoch, list(step.pieces)))
        if len(steps) == count:
            break
    return steps


def examples_by_epoch(steps):
    found = {}
    for _, epoch, _, pieces in steps:
        found.setdefault(epoch, []).extend((piece.task, i) for piece in pieces for i in piece.batch[1:])
    return found


every_order = pytest.mark.parametrize("sampling", ORDERS)


@every_order
@pytest.mark.parametrize("options", [{}, {"accumulation": 3}, {"budget": 60}], ids=str)
def test_every_example_of_every_task_comes_once_an_epoch(sampling, options):
    wanted = sorted((name, i) for name, size in SIZES.items() for i in range(size))
    found = examples_by_epoch(taken(make_plan(sampling, **options)))
    assert list(found) == [1, 2, 3]
    for examples in found.values():
        assert sorted(examples) == wanted


@every_order
def test_two_plans_of_one_seed_agree_and_another_seed_differs(sampling):
    assert taken(make_plan(sampling)) == taken(make_plan(sampling)) != taken(make_plan(sampling, seed=6))


@every_order
def test_epochs_differ(sampling):
    first, second, third = examples_by_epoch(taken(make_plan(sampling))).values()
    assert first != second != third != first


@every_order
@pytest.mark.parametrize("accumulation", [1, 4])
def test_resuming_after_any_step_gives_the_steps_that_remain(sampling, accumulation):
    whole = taken(make_plan(sampling, accumulation=accumulation))
    for done in range(len(whole) + 1):
        first = make_plan(sampling, accumulation=accumulation)
        assert taken(first, done) == whole[:done] if done else True
        second = make_plan(sampling, accumulation=accumulation)
        second.load_state_dict(first.state_dict())
        assert taken(second) == whole[done:]


@every_order
def test_weights_are_shares_of_examples_and_sum_to_one(sampling):
    steps = taken(make_plan(sampling, accumulation=4))
    ragged = 0
    for _, _, _, pieces in steps:
        assert len({piece.task for piece in pieces}) == 1
        count = sum(len(piece.batch) - 1 for piece in pieces)
        assert [piece.weight for piece in pieces] == [(len(piece.batch) - 1) / count for piece in pieces]
        assert sum(piece.weight for piece in pieces) == pytest.approx(1, abs=1e-12)
        ragged += len({len(piece.batch) for piece in pieces}) > 1
    assert ragged > 0  # the case that a plain mean over pieces gets wrong


def test_orders():
    counts = {"a": 3, "b": 1, "c": 2}
    generator = torch.Generator().manual_seed(0)
    assert task_order("sequential", counts, generator) == ["a", "a", "a", "b", "c", "c"]
    assert task_order("sequential:c,b,a", counts, generator) == ["c", "c", "b", "a", "a", "a"]
    assert task_order("round-robin", counts, generator) == ["a", "b", "c", "a", "c", "a"]
    mixed = [tuple(task_order("proportional", counts, generator)) for _ in range(200)]
    assert all(Counter(order) == counts for order in mixed)
    assert len(set(mixed)) > 40  # of 60
    first = Counter(order[0] for order in mixed)
    assert 70 < first["a"] < 130 and 15 < first["b"] < 55  # half and a sixth of 200


def test_an_unknown_order_names_the_nearest():
    with pytest.raises(InputError, match="choose from .*did you mean 'proportional'"):
        task_order("proportionate", {"a": 1}, torch.Generator())


def test_step_numbers_and_ends_of_epochs():
    plan = make_plan()
    steps = taken(plan)
    assert [number for number, *_ in steps] == list(range(1, plan.total_steps + 1))
    an_epoch = plan.total_steps // 3
    assert [number for number, _, ends, _ in steps if ends] == [an_epoch, 2 * an_epoch, 3 * an_epoch]
    assert plan.steps_by_task() == {"big": [11] * 3, "small": [2] * 3, "middle": [5] * 3}


@pytest.mark.parametrize("max_steps", [1, 17, 18, 19, 30])
def test_max_steps_ends_the_run_and_its_last_epoch(max_steps):
    plan, whole = make_plan(max_steps=max_steps), taken(make_plan())
    steps = taken(plan)
    assert plan.total_steps == max_steps == len(steps)
    assert [step[3] for step in steps] == [step[3] for step in whole[:max_steps]]
    assert steps[-1][2]
    assert plan.position() == (steps[-1][1], True)


def test_more_max_steps_than_steps_change_nothing():
    assert taken(make_plan(max_steps=1000)) == taken(make_plan())


def test_a_million_epochs_cut_by_max_steps_are_planned_at_once():
    plan = make_plan(epochs=10**6, max_steps=20)
    assert len(taken(plan)) == 20
    assert plan.steps_by_task()["big"] == [11, 11]


def test_the_largest_seed_that_is_accepted():
    assert taken(make_plan(seed=2**63 - 1), 2)


def test_position_is_that_of_the_last_step_taken():
    plan = make_plan()
    assert plan.position() == (1, False)
    for step in plan:
        assert plan.position() == (step.epoch, step.ends_epoch)
        restored = make_plan()
        restored.load_state_dict(plan.state_dict())
        assert restored.position() == (step.epoch, step.ends_epoch)


def test_stop_makes_the_step_in_hand_the_last_and_a_resumed_plan_knows():
    plan = make_plan()
    for step in plan:
        if step.number == 4:
            plan.stop()
    assert plan.step == 4
    restored = make_plan()
    restored.load_state_dict(plan.state_dict())
    assert taken(restored) == []


def test_batches_are_collated_only_when_their_step_is_taken():
    made = []
    plan = Plan({"a": TaskData([1] * 32, lambda indices: made.append(indices), 8)}, "sequential", 1, 0)
    for step in plan:
        list(step.pieces)
        assert len(made) == step.number


def test_token_budgets_are_kept():
    plan = make_plan(budget=60)
    for _, _, _, pieces in taken(plan):
        for piece in pieces:
            lengths = plan.data[piece.task].lengths
            assert sum(lengths[i] for i in piece.batch[1:]) <= 60
