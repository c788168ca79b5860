"""BatchPlan: a function of (seed, step); how often each example comes; shares of processes; resuming."""

from collections import Counter

import pytest
import torch

from minbert import InputError
from multitask.data.batches import shuffled_batches
from multitask.training.dry_run import plan_lines
from multitask.training.plan import BatchPlan, TaskData
from multitask.training.sampling import Sampling

SIZES = {"big": 83, "small": 9, "middle": 40}
INTERLEAVED = ("sequential", "sequential:middle,small,big", "round-robin", "together")  # not drawn
SAMPLINGS = (*INTERLEAVED, "proportional", "uniform", "square-root", "temperature:3", "annealed")
EACH = {"small": {"start_epoch": 2}, "middle": {"accumulation": 3, "uniform": True}}
CUTS = [
    {},
    {"accumulation": 3},
    {"token_budget": 60},
    {"uniform": True},
    {"uniform": True, "token_budget": 60},
]


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
    return BatchPlan(make_data(each, **(task or {})), sampling, **{"epochs": 3, "seed": 5, **options})


def taken(plan):
    """The steps as plain values (number, epoch, ends_epoch, micro-batches, tasks)."""
    return [step._replace(micro_batches=list(step.micro_batches)) for step in plan]


def examples_by_epoch(steps):
    found = {}
    for step in steps:
        found.setdefault(step.epoch, []).extend((m.task, i) for m in step.micro_batches for i in m.batch[1:])
    return found


def steps_by_task(plan):
    """Steps of each task, epoch by epoch."""
    counts = Counter((name, epoch) for epoch, names in plan.task_order() for name in names)
    return {name: [counts[name, epoch] for epoch in range(1, plan.epochs + 1)] for name in plan.data}


every_sampling = pytest.mark.parametrize("sampling", SAMPLINGS)


@pytest.mark.parametrize(("sampling", "task"), list(zip(SAMPLINGS, CUTS * 2, strict=False)))
def test_exhaust_takes_every_example_once_an_epoch(sampling, task):
    wanted = sorted((name, i) for name, size in SIZES.items() for i in range(size))
    found = examples_by_epoch(taken(make_plan(sampling, "exhaust", task=task)))
    assert [sorted(examples) for examples in found.values()] == [wanted] * 3


@every_sampling
def test_cycle_passes_follow_one_another_each_freshly_shuffled(sampling):
    """Batches by length are few where a task is small: the shuffle shows in uniform ones. 11, 1 and 5."""
    plan = make_plan(sampling, "cycle", epochs=2, task={"uniform": True})
    steps = taken(plan)
    steps_an_epoch = {"sequential": 33, "round-robin": 33, "together": 11}.get(plan.sampling.kind, 17)
    assert plan.total_steps == len(steps) == 2 * steps_an_epoch
    if sampling in INTERLEAVED:
        assert steps_by_task(plan) == dict.fromkeys(SIZES, [11, 11])
    repeats = 0
    for examples in examples_by_epoch(steps).values():
        for task, size in SIZES.items():
            order = [i for name, i in examples if name == task]
            passes = [order[start : start + size] for start in range(0, len(order), size)]
            assert all(sorted(one) == list(range(size)) for one in passes[:-1])
            assert len({tuple(one) for one in passes}) == len(passes)
            repeats += max(0, len(passes) - 1)
    assert repeats > 0


@pytest.mark.parametrize("sampling", ["proportional", "sequential"])
def test_the_order_that_is_drawn_for_an_epoch(sampling):
    """Written out: runs of older versions continue, and results stay."""
    data, steps = make_data(), taken(make_plan(sampling))
    for epoch in (1, 2, 3):
        generator = torch.Generator().manual_seed(5 * 1_000_003 + epoch)
        queues = {name: [*shuffled_batches(task.lengths, 8, generator)] for name, task in data.items()}
        names = [name for name, batches in queues.items() for _ in batches]
        if sampling == "proportional":
            names = [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]
        wanted = [(name, *queues[name].pop(0)) for name in names]
        assert [m.batch for step in steps if step.epoch == epoch for m in step.micro_batches] == wanted


def test_seed_and_epoch_alone_decide():
    steps = taken(make_plan("annealed"))
    assert steps == taken(make_plan("annealed")) != taken(make_plan("annealed", seed=6))
    first, second, third = examples_by_epoch(steps).values()
    assert first != second != third != first


@pytest.mark.parametrize(
    ("sampling", "unequal"), list(zip(SAMPLINGS, ["exhaust", "smallest", "cycle"] * 3, strict=True))
)
def test_resuming_after_any_step_gives_the_steps_that_remain(sampling, unequal):
    options = {"epochs": 2, "each": EACH, "share": (1, 2)}
    first, whole, states = make_plan(sampling, unequal, **options), [], []
    for step in first:
        whole.append(step._replace(micro_batches=list(step.micro_batches)))
        states.append(first.state_dict())
    for done, state in enumerate(states, start=1):
        second = make_plan(sampling, unequal, **options)
        second.load_state_dict(state)
        assert second.position() == (whole[done - 1].epoch, whole[done - 1].ends_epoch)
        assert taken(second) == whole[done:]


@every_sampling
def test_weights_of_each_task_are_shares_of_its_examples(sampling):
    """Of one task a step, or with together of all."""
    ragged = 0
    for step in taken(make_plan(sampling, task={"accumulation": 4})):
        assert step.tasks == tuple(SIZES) if sampling == "together" else len(step.tasks) == 1
        assert tuple(dict.fromkeys(m.task for m in step.micro_batches)) == step.tasks
        for name in step.tasks:
            own = [m for m in step.micro_batches if m.task == name]
            sizes = [len(m.batch) - 1 for m in own]
            assert [m.weight for m in own] == [size / sum(sizes) for size in sizes]
            ragged += len(set(sizes)) > 1
    assert ragged > 0  # the case that a plain mean over micro-batches gets wrong


def test_loss_weights_count_where_a_mean_is_not_over_examples():
    """Words of tagged sentences, say; a batch without any has nothing to add."""
    weights = [i % 5 for i in range(SIZES["small"])]
    data = make_data({"small": {"loss_weights": weights, "accumulation": 9, "batch_size": 1}})
    (step,) = taken(BatchPlan({"small": data["small"]}, "sequential", 1, 0))
    assert {m.batch[1]: m.weight for m in step.micro_batches} == {
        i: pytest.approx(count / sum(weights)) for i, count in enumerate(weights) if count
    }


@pytest.mark.parametrize("sampling", ["sequential", "round-robin", "annealed", "together"])
def test_delayed_start(sampling):
    plan = make_plan(sampling, each={"small": {"start_epoch": 3}, "big": {"start_epoch": 2}})
    found = {epoch: {name for name, _ in e} for epoch, e in examples_by_epoch(taken(plan)).items()}
    assert found[1] == {"middle"}
    assert found[2] == {"big", "middle"}
    assert {"big", "middle"} <= found[3] if sampling == "annealed" else found[3] == set(SIZES)
    with pytest.raises(InputError, match="every task has a start-epoch after 1; let one start"):
        make_plan(sampling, task={"start_epoch": 2})


def test_numbers_and_ends_of_epochs():
    options = {"each": {"middle": {"start_epoch": 2}}}
    plan = make_plan("uniform", "smallest", **options)
    steps, lengths = taken(plan), plan.steps_per_epoch()
    assert [step.number for step in steps] == list(range(1, plan.total_steps + 1))
    assert [step.number for step in steps if step.ends_epoch] == [sum(lengths[:i]) for i in (1, 2, 3)]
    plan = make_plan("uniform", "smallest", **options)
    assert plan.position() == (1, False) and plan.epochs_done == 0
    plan.load_state_dict({"step": lengths[0] + 1, "stopped": False})
    assert plan.epochs_done == 1 + 1 / lengths[1]


@pytest.mark.parametrize("max_steps", [1, 18, 1000])
def test_max_steps_ends_the_run_and_its_last_epoch(max_steps):
    whole, plan = taken(make_plan("together")), make_plan("together", max_steps=max_steps)
    steps = taken(plan)
    assert plan.total_steps == len(steps) == min(max_steps, len(whole))
    assert [step.micro_batches for step in steps] == [step.micro_batches for step in whole[: len(steps)]]
    assert steps[-1].ends_epoch and plan.position() == (steps[-1].epoch, True)
    assert len(taken(make_plan(epochs=10**6, max_steps=20, seed=2**63 - 1))) == 20


def test_stop_makes_the_current_step_the_last_and_a_resumed_plan_knows():
    plan, restored = make_plan(), make_plan()
    for step in plan:
        if step.number == 4:
            plan.stop()
    restored.load_state_dict(plan.state_dict())
    assert plan.step == 4 and taken(restored) == []
    assert len(restored.task_order()) == restored.total_steps > 4  # of the whole run


def test_batches_are_collated_only_when_their_step_is_taken():
    made = []
    plan = BatchPlan({"a": TaskData([1] * 32, made.append, 8)}, "sequential", 1, 0)
    plan_lines(plan)
    assert not made
    for step in plan:
        list(step.micro_batches)
        assert len(made) == step.number


def test_token_budgets_are_kept():
    for uniform in (False, True):
        plan = make_plan(task={"token_budget": 60, "uniform": uniform})
        for m in (m for step in taken(plan) for m in step.micro_batches):
            lengths = plan.data[m.task].lengths
            assert sum(lengths[i] for i in m.batch[1:]) <= 60 + 21 * uniform  # one example merged


def test_uniform_batches_are_drawn_without_regard_to_length():
    """Mean span of the lengths in a batch: 7 where 8 of 64 are neighbours; at random 7/9 of 63, or 49."""
    spans = {}
    for uniform in (False, True):
        data = {"a": TaskData(range(64), list, 8, uniform=uniform)}
        batches = [step.micro_batches[0].batch for step in taken(BatchPlan(data, "sequential", 1, 3))]
        spans[uniform] = sum(max(batch) - min(batch) for batch in batches) / len(batches)
    assert spans[False] == 7 and spans[True] > 40


@pytest.mark.parametrize(
    ("size", "processes", "wanted"),
    [(16, 1, [8, 8]), (17, 1, [8, 9]), (18, 1, [8, 8, 2]), (18, 3, [8, 10]), (19, 3, [8, 8, 3])],
)
@pytest.mark.parametrize("kind", ["uniform", "gathered"])
def test_batches_too_small_to_compare_examples_are_merged(size, processes, wanted, kind):
    data = {"a": TaskData([1] * size, list, 8, **{kind: True})}
    plans = [BatchPlan(data, "sequential", 1, 0, share=(rank, processes)) for rank in range(processes)]
    sizes = [[sum(len(m.batch) for m in step.micro_batches) for step in taken(plan)] for plan in plans]
    assert all(min(shares) >= 1 for shares in sizes)
    found = [sum(shares) for shares in zip(*sizes, strict=True)]
    assert found == wanted if kind == "uniform" else sorted(found) == sorted(wanted)


@pytest.mark.parametrize(("size", "processes"), [(1, 1), (3, 4)])
def test_too_few_examples_to_compare(size, processes):
    data = {"a": TaskData([1] * size, list, 8, uniform=True)}
    with pytest.raises(InputError, match=f"a has {size} training examples; .* needs {max(2, processes)}"):
        BatchPlan(data, "sequential", 1, 0, share=(0, processes))


@pytest.mark.parametrize(("sampling", "processes"), [("sequential", 2), ("proportional", 3), ("together", 9)])
def test_processes_share_every_batch_with_the_weights_of_the_whole(sampling, processes):
    """Each has as many micro-batches; without a share it has an example that counts nothing."""
    data = {
        "accumulating": TaskData(range(83), list, 9, accumulation=3),
        "gathered": TaskData([1] * 9, list, 9, gathered=True, uniform=True),
        "plain": TaskData([1] * 40, list, 9, loss_weights=[0, *range(1, 40)]),
    }
    whole = taken(BatchPlan(data, sampling, 2, 5))
    parts = [taken(BatchPlan(data, sampling, 2, 5, share=(rank, processes))) for rank in range(processes)]
    unused = 0
    for step, *shares in zip(whole, *parts, strict=True):
        assert all(
            share._replace(micro_batches=None) == step._replace(micro_batches=None) for share in shares
        )
        total = {name: 0.0 for name in step.tasks}
        for batch, *own in zip(step.micro_batches, *(share.micro_batches for share in shares), strict=True):
            task = data[batch.task]
            assert {(m.task, m.tokens, m.ends_step) for m in own} == {
                (batch.task, batch.tokens, batch.ends_step)
            }
            assert batch.tokens == sum(task.lengths[i] for i in batch.batch)
            used = [m for m in own if m.weight]
            counting = [i for m in used for i in m.batch if task.weight([i])]
            assert sorted(counting) == [i for i in sorted(batch.batch) if task.weight([i])]
            if batch.task == "gathered":
                assert [m.weight for m in own] == [batch.weight / processes] * processes
            else:
                parts_of = [batch.weight * task.weight(m.batch) / task.weight(batch.batch) for m in used]
                assert [m.weight for m in used] == pytest.approx(parts_of, rel=1e-12)
            assert all(set(m.batch) <= set(batch.batch) and m.batch for m in own)
            total[batch.task] += sum(m.weight for m in own)
            unused += len(used) < processes
        assert total == pytest.approx(dict.fromkeys(total, 1.0), abs=1e-12)
        assert [m.ends_step for m in step.micro_batches] == [False] * (len(step.micro_batches) - 1) + [True]
    assert unused > 0 or processes < 9


def test_what_is_computed_for_nothing_draws_nothing():
    """Masked LM hides tokens by torch's generator as it collates."""
    plan = BatchPlan({"a": TaskData([1], lambda batch: torch.rand(()), 1)}, "sequential", 1, 0, share=(1, 2))
    before = torch.get_rng_state()
    (micro_batch,) = next(iter(plan)).micro_batches
    assert micro_batch.weight == 0 and torch.equal(torch.get_rng_state(), before)


# The dry run.


def test_the_dry_run_shows_tasks_epochs_and_the_first_steps():
    each = {"big": {"accumulation": 2}, "small": {"start_epoch": 2}}
    assert plan_lines(make_plan("sequential:small,middle,big", each=each)) == [
        "sampling sequential:small,middle,big; unequal sizes: exhaust",
        "task    examples       batches  epoch 1  epoch 2  epoch 3  steps  share",
        "big           83  11, 2 a step        6        6        6     18  48.6%",
        "small          9             2        0        2        2      4  10.8%",
        "middle        40             5        5        5        5     15  40.5%",
        "all                                  11       13       13     37",
        "first 37 steps: middle x5, big x6, small x2, middle x5, big x6, small x2, middle x5, big x6",
    ]


def test_the_dry_run_of_many_epochs_and_of_a_run_that_max_steps_cuts():
    table = plan_lines(make_plan("together", epochs=9, max_steps=90))
    policy = (
        "sampling together; unequal sizes: cycle; max-steps ends the run in epoch 9, 9 steps before its end"
    )
    assert table[0] == policy
    heading = "task examples batches epoch 1 epoch 2 epoch 3 ... epoch 7 epoch 8 epoch 9 steps share"
    assert table[1].split() == heading.split()
    assert table[2].split() == "big 83 11 11 11 11 ... 11 11 2 90 100.0%".split()
    assert table[-1] == "first 40 steps: big+small+middle x40"
