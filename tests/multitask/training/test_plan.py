"""The plan: a function of (seed, step); which examples come how often; resuming changes nothing."""

from collections import Counter

import pytest
import torch

from minbert import InputError
from multitask.data.collate import shuffled_batches
from multitask.training.plan import Plan, TaskData
from multitask.training.sampling import Sampling

SIZES = {"big": 83, "small": 9, "middle": 40}
BATCHES = {"big": 11, "small": 2, "middle": 5}
EXHAUSTING = ("proportional", "round-robin", "sequential", "sequential:middle,small,big")
CYCLING = ("uniform", "square-root", "temperature:3", "annealed", "together")
UNEQUAL = ("exhaust", "smallest", "cycle")


def make_data(each=None, **options):
    """TaskData of each task, `options` for all of them, `each` by task; a batch is (task, *indices)."""
    data = {}
    for name, size in SIZES.items():
        lengths = [3 + (7 * i) % 19 for i in range(size)]
        own = {"batch_size": 8} | options | (each or {}).get(name, {})
        data[name] = TaskData(lengths, lambda indices, name=name: (name, *indices), **own)
    return data


def make_plan(sampling="proportional", unequal=None, each=None, task=None, **options):
    if unequal is not None:
        sampling = Sampling(sampling, unequal)
    return Plan(make_data(each, **(task or {})), sampling, **{"epochs": 3, "seed": 5, **options})


def taken(plan, count=None):
    """The steps as plain values, pieces read as the loop reads them."""
    steps = []
    for step in plan:
        steps.append((step.number, step.epoch, step.ends_epoch, list(step.pieces), step.tasks))
        if len(steps) == count:
            break
    return steps


def examples_by_epoch(steps):
    found = {}
    for _, epoch, _, pieces, _ in steps:
        found.setdefault(epoch, []).extend((piece.task, i) for piece in pieces for i in piece.batch[1:])
    return found


every_sampling = pytest.mark.parametrize("sampling", [*EXHAUSTING, *CYCLING])


@every_sampling
@pytest.mark.parametrize(
    "task",
    [{}, {"accumulation": 3}, {"token_budget": 60}, {"uniform": True}, {"uniform": True, "token_budget": 60}],
    ids=str,
)
def test_exhaust_every_example_of_every_task_comes_once_an_epoch(sampling, task):
    wanted = sorted((name, i) for name, size in SIZES.items() for i in range(size))
    found = examples_by_epoch(taken(make_plan(sampling, "exhaust", task=task)))
    assert list(found) == [1, 2, 3]
    for examples in found.values():
        assert sorted(examples) == wanted


@every_sampling
def test_smallest_no_example_comes_twice_and_one_task_comes_whole(sampling):
    plan = make_plan(sampling, "smallest")
    for examples in examples_by_epoch(taken(plan)).values():
        assert len(set(examples)) == len(examples)
        found = Counter(name for name, _ in examples)
        assert any(found[name] == size for name, size in SIZES.items())
    if plan.sampling.kind in ("together", "round-robin", "sequential"):
        assert plan.steps_by_task() == dict.fromkeys(SIZES, [2] * 3)


@every_sampling
def test_cycle_passes_follow_one_another_each_freshly_shuffled(sampling):
    """Batches by length are few where a task is small: the shuffle shows in uniform ones. 11, 1 and 5."""
    plan = make_plan(sampling, "cycle", epochs=2, task={"uniform": True})
    steps = taken(plan)
    steps_an_epoch = {"sequential": 33, "round-robin": 33, "together": 11}.get(plan.sampling.kind, 17)
    assert plan.total_steps == len(steps) == 2 * steps_an_epoch
    if plan.sampling.kind in ("together", "round-robin", "sequential"):
        assert plan.steps_by_task() == dict.fromkeys(SIZES, [11, 11])
    repeats = 0
    for examples in examples_by_epoch(steps).values():
        for task, size in SIZES.items():
            order = [i for name, i in examples if name == task]
            passes = [order[start : start + size] for start in range(0, len(order), size)]
            assert all(sorted(one) == list(range(size)) for one in passes[:-1])
            assert not passes or len(set(passes[-1])) == len(passes[-1])
            assert len({tuple(one) for one in passes}) == len(passes)
            repeats += max(0, len(passes) - 1)
    assert repeats > 0


@pytest.mark.parametrize("sampling", ["proportional", "sequential"])
def test_what_is_drawn_for_an_epoch_and_in_which_order(sampling):
    """By default as it always was: runs of older versions continue, and results stay."""
    data = make_data()
    for epoch in (1, 2, 3):
        generator = torch.Generator().manual_seed(5 * 1_000_003 + epoch)
        queues = {name: shuffled_batches(task.lengths, 8, generator) for name, task in data.items()}
        names = [name for name, batches in queues.items() for _ in batches]
        if sampling == "proportional":
            names = [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]
        wanted = [(name, *queues[name].pop(0)) for name in names]
        steps = [step for step in taken(make_plan(sampling)) if step[1] == epoch]
        assert [piece.batch for _, _, _, pieces, _ in steps for piece in pieces] == wanted


@every_sampling
def test_two_plans_of_one_seed_agree_and_another_seed_differs(sampling):
    assert taken(make_plan(sampling)) == taken(make_plan(sampling)) != taken(make_plan(sampling, seed=6))


@every_sampling
def test_epochs_differ(sampling):
    first, second, third = examples_by_epoch(taken(make_plan(sampling))).values()
    assert first != second != third != first


EACH = {"small": {"start_epoch": 2}, "middle": {"accumulation": 3, "uniform": True}}


@every_sampling
@pytest.mark.parametrize("unequal", UNEQUAL)
@pytest.mark.parametrize("options", [{}, {"each": EACH, "share": (1, 2)}], ids=["plain", "parts"])
def test_resuming_after_any_step_gives_the_steps_that_remain(sampling, unequal, options):
    first, whole, states = make_plan(sampling, unequal, epochs=2, **options), [], []
    for step in first:
        whole.append((step.number, step.epoch, step.ends_epoch, list(step.pieces), step.tasks))
        states.append(first.state_dict())
    for done, state in enumerate(states, start=1):
        second = make_plan(sampling, unequal, epochs=2, **options)
        second.load_state_dict(state)
        assert taken(second) == whole[done:]


def test_a_step_holds_one_task_or_with_together_all():
    for sampling in (*EXHAUSTING, *CYCLING):
        for _, _, _, pieces, tasks in taken(make_plan(sampling, task={"accumulation": 2})):
            assert tuple(dict.fromkeys(piece.task for piece in pieces)) == tasks
            assert tasks == tuple(SIZES) if sampling == "together" else len(tasks) == 1


@every_sampling
def test_weights_of_each_task_are_shares_of_its_examples_and_sum_to_one(sampling):
    ragged = 0
    for _, _, _, pieces, tasks in taken(make_plan(sampling, task={"accumulation": 4})):
        for name in tasks:
            own = [piece for piece in pieces if piece.task == name]
            sizes = [len(piece.batch) - 1 for piece in own]
            assert [piece.weight for piece in own] == [size / sum(sizes) for size in sizes]
            assert sum(piece.weight for piece in own) == pytest.approx(1, abs=1e-12)
            ragged += len(set(sizes)) > 1
    assert ragged > 0  # the case that a plain mean over pieces gets wrong


def test_each_task_accumulates_as_many_batches_as_it_says():
    plan = make_plan(each={"big": {"accumulation": 4}, "middle": {"accumulation": 2}}, epochs=1)
    found = {}
    for _, _, _, pieces, (name,) in taken(plan):
        found.setdefault(name, []).append(len(pieces))
    assert found == {"big": [4, 4, 3], "middle": [2, 2, 1], "small": [1, 1]}


def test_units_are_what_the_weights_count_where_a_mean_is_not_over_examples():
    """Words of tagged sentences, say; a batch without any has nothing to add."""
    units = [i % 5 for i in range(SIZES["small"])]
    data = make_data({"small": {"units": units, "accumulation": 9, "batch_size": 1}})
    ((_, _, _, pieces, _),) = taken(Plan({"small": data["small"]}, "sequential", 1, 0))
    assert {piece.batch[1]: piece.weight for piece in pieces} == {
        i: pytest.approx(count / sum(units)) for i, count in enumerate(units) if count
    }


@pytest.mark.parametrize("sampling", ["sequential", "round-robin", "annealed", "together"])
def test_delayed_start(sampling):
    plan = make_plan(sampling, each={"small": {"start_epoch": 3}, "big": {"start_epoch": 2}})
    found = {epoch: {name for name, _ in e} for epoch, e in examples_by_epoch(taken(plan)).items()}
    assert found[1] == {"middle"}
    assert found[2] == {"big", "middle"}
    assert {"big", "middle"} <= found[3] if sampling == "annealed" else found[3] == set(SIZES)
    assert [count == 0 for count in plan.steps_by_task()["small"]][:2] == [True, True]


def test_the_first_epoch_needs_a_task():
    with pytest.raises(InputError, match="every task has a start-epoch after 1; let one start"):
        make_plan(task={"start_epoch": 2})


def test_annealed_moves_from_proportional_to_nearly_uniform():
    data = {name: TaskData([1] * size, list, 1) for name, size in (("big", 4000), ("small", 400))}
    plan = Plan(data, "annealed", 3, seed=1)
    small = [count / 4400 for count in plan.steps_by_task()["small"]]
    wanted = [400**p / (400**p + 4000**p) for p in (1, 0.6, 0.2)]
    assert small == [pytest.approx(share, abs=0.02) for share in wanted]


def test_step_numbers_and_ends_of_epochs():
    plan = make_plan()
    steps = taken(plan)
    assert [number for number, *_ in steps] == list(range(1, plan.total_steps + 1))
    an_epoch = plan.total_steps // 3
    assert [number for number, _, ends, *_ in steps if ends] == [an_epoch, 2 * an_epoch, 3 * an_epoch]
    assert plan.steps_by_task() == {name: [count] * 3 for name, count in BATCHES.items()}


def test_ends_of_epochs_of_unequal_length():
    plan = make_plan("uniform", "smallest", each={"middle": {"start_epoch": 2}})
    lengths = [sum(counts) for counts in zip(*plan.steps_by_task().values(), strict=True)]
    assert len(set(lengths)) > 1
    ends = [number for number, _, ends, *_ in taken(plan) if ends]
    assert ends == [sum(lengths[:1]), sum(lengths[:2]), sum(lengths)]


def test_steps_with_a_piece_of_the_task_are_counted():
    assert make_plan("together", epochs=1).steps_by_task() == dict.fromkeys(SIZES, [11])
    plan = make_plan("together", "exhaust", epochs=1)
    assert plan.steps_by_task() == {name: [count] for name, count in BATCHES.items()}
    assert plan.total_steps == 11


@pytest.mark.parametrize("max_steps", [1, 17, 18, 19, 30])
@every_sampling
def test_max_steps_ends_the_run_and_its_last_epoch(sampling, max_steps):
    plan, whole = make_plan(sampling, max_steps=max_steps), taken(make_plan(sampling))
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
    plan = make_plan("uniform", "smallest")
    assert plan.position() == (1, False)
    for step in plan:
        assert plan.position() == (step.epoch, step.ends_epoch)
        restored = make_plan("uniform", "smallest")
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
    plan.table()
    assert not made
    for step in plan:
        list(step.pieces)
        assert len(made) == step.number


@pytest.mark.parametrize("uniform", [False, True])
def test_token_budgets_are_kept(uniform):
    plan = make_plan(task={"token_budget": 60, "uniform": uniform})
    for _, _, _, pieces, _ in taken(plan):
        for piece in pieces:
            lengths = plan.data[piece.task].lengths
            assert sum(lengths[i] for i in piece.batch[1:]) <= 60 + 21 * uniform  # one example merged


def test_the_dry_run_shows_tasks_epochs_and_the_first_steps():
    each = {"big": {"accumulation": 2}, "small": {"start_epoch": 2}}
    assert make_plan("sequential:small,middle,big", each=each).table() == [
        "sampling sequential:small,middle,big; unequal sizes: exhaust",
        "task    examples       batches  epoch 1  epoch 2  epoch 3  steps  share",
        "big           83  11, 2 a step        6        6        6     18  48.6%",
        "small          9             2        0        2        2      4  10.8%",
        "middle        40             5        5        5        5     15  40.5%",
        "all                                  11       13       13     37",
        "first 37 steps: middle x5, big x6, small x2, middle x5, big x6, small x2, middle x5, big x6",
    ]


def test_the_dry_run_of_many_epochs_and_of_a_run_that_max_steps_cuts():
    table = make_plan("together", epochs=9, max_steps=90).table()
    assert table[0] == (
        "sampling together; unequal sizes: cycle; max-steps ends the run in epoch 9, 9 steps before its end"
    )
    assert (
        table[1].split()
        == "task examples batches epoch 1 epoch 2 epoch 3 ... epoch 7 epoch 8 epoch 9 steps share".split()
    )
    assert table[2].split() == "big 83 11 11 11 11 ... 11 11 2 90 100.0%".split()
    assert table[-1] == "first 40 steps: big+small+middle x40"


@every_sampling
@pytest.mark.parametrize("options", [{}, {"max_steps": 25}, {"epochs": 8}], ids=str)
def test_the_dry_run_counts_the_steps_that_are_then_taken(sampling, options):
    plan = make_plan(sampling, each=EACH, **options)
    table = plan.table()
    steps = taken(plan)
    rows = {line.split()[0]: line.split() for line in table[2:-1]}
    for name in SIZES:
        own = sum(name in tasks for *_, tasks in steps)
        assert rows[name][-2:] == [str(own), f"{own / len(steps):.1%}"]
    assert rows["all"][-1] == str(len(steps))
    shown = []
    for part in table[-1].partition(": ")[2].split(", "):
        names, _, count = part.partition(" x")
        shown += [tuple(names.split("+"))] * int(count or 1)
    assert shown == [tasks for *_, tasks in steps[:40]]
