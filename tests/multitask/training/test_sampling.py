"""Sampling: whose turn it is. Orders are written out, draws compared with the formulas."""

import math
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from multitask.training.sampling import Sampling

COUNTS = {"a": 5, "b": 1, "c": 3}
TURNS = ("sequential", "round-robin", "together")
DRAWN = ("uniform", "proportional", "square-root", "temperature:4", "annealed")
every_name = pytest.mark.parametrize("name", [*TURNS, *DRAWN])


def order(name, unequal=None, counts=COUNTS, seed=0, epoch=1, epochs=3, cap=None):
    generator = torch.Generator().manual_seed(seed)
    return Sampling(name, unequal, cap).order(counts, epoch, epochs, generator)


def words(steps):
    return " ".join("".join(step) for step in steps)


def counted(steps):
    return Counter(name for step in steps for name in step)


@pytest.mark.parametrize(
    ("name", "unequal", "wanted"),
    [
        ("sequential", "exhaust", "a a a a a b c c c"),
        ("sequential", "smallest", "a b c"),
        ("sequential", "cycle", "a a a a a b b b b b c c c c c"),
        ("sequential:c,a,b", "exhaust", "c c c a a a a a b"),
        ("sequential:c,x,a,b", "smallest", "c a b"),  # x has not started
        ("round-robin", "exhaust", "a b c a c a c a a"),
        ("round-robin", "cycle", "a b c a b c a b c a b c a b c"),
        ("together", "exhaust", "abc ac ac a a"),
        ("together", "smallest", "abc"),
        ("together", "cycle", "abc abc abc abc abc"),
    ],
)
def test_tasks_that_take_turns(name, unequal, wanted):
    assert words(order(name, unequal)) == wanted


@pytest.mark.parametrize("unequal", ["exhaust", "smallest", "cycle"])
@pytest.mark.parametrize("name", DRAWN)
def test_how_many_steps_each_task_gets(name, unequal):
    for seed in range(20):
        steps = order(name, unequal, seed=seed)
        found = counted(steps)
        if unequal == "exhaust":
            assert found == COUNTS
        elif unequal == "cycle":
            assert len(steps) == sum(COUNTS.values())
        else:
            (last,) = steps[-1]
            assert found[last] == COUNTS[last], "a task that is used up ends the epoch"
            assert all(found[task] < COUNTS[task] for task in COUNTS if task != last)


def test_what_each_sampling_does_with_unequal_sizes_by_default():
    exhausting = {name for name in [*TURNS, *DRAWN] if Sampling(name).unequal == "exhaust"}
    assert exhausting == {"sequential", "round-robin", "proportional"}
    assert {Sampling(name).unequal for name in {*TURNS, *DRAWN} - exhausting} == {"cycle"}
    assert str(Sampling("annealed")) == "annealed; unequal sizes: cycle"
    assert str(Sampling("temperature:2", "exhaust", 9)) == (
        "temperature:2, a task counting at most 9 batches; unequal sizes: exhaust"
    )


SIZES = {"para": 8849, "sst": 267, "sts": 189}


def shares(powers):
    return {name: power / math.fsum(powers.values()) for name, power in powers.items()}


@pytest.mark.parametrize(
    ("name", "cap", "epoch", "power"),
    [
        ("uniform", None, 1, lambda n: 1),
        ("proportional", None, 1, lambda n: n),
        ("square-root", None, 1, math.sqrt),
        ("temperature:4", None, 1, lambda n: n ** (1 / 4)),
        ("temperature:0.5", 300, 1, lambda n: min(n, 300) ** 2),
        ("temperature:1", 10**9, 1, lambda n: n),
        ("annealed", None, 1, lambda n: n),
        ("annealed", None, 3, lambda n: n**0.6),
        ("annealed", None, 5, lambda n: n**0.2),
    ],
)
def test_probabilities_are_those_of_the_formula(name, cap, epoch, power):
    found = Sampling(name, cap=cap).probabilities(SIZES, epoch, 5)
    wanted = shares({task: power(n) for task, n in SIZES.items()})
    assert found == {task: pytest.approx(share, rel=1e-12) for task, share in wanted.items()}


def test_probabilities_of_extremes():
    """One epoch of annealed sampling is proportional; no temperature is too much."""
    assert Sampling("annealed").probabilities(SIZES, 1, 1) == shares(SIZES)
    for temperature, share in (("1e-300", 1), ("1e300", 1 / 3)):
        found = Sampling(f"temperature:{temperature}").probabilities(SIZES, 1, 1)
        assert sum(found.values()) == pytest.approx(1) and found["para"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("name", "power"),
    [
        ("proportional", lambda n: n),
        ("temperature:4", lambda n: n**0.25),
        ("annealed", lambda n: n**0.6),  # epoch 2 of 3
    ],
)
def test_draws_follow_the_formula(name, power):
    found = counted(order(name, "cycle", SIZES, epoch=2))
    wanted = shares({task: power(n) for task, n in SIZES.items()})
    total = sum(SIZES.values())
    fit = chisquare([found[task] for task in SIZES], [wanted[task] * total for task in SIZES])
    assert fit.pvalue > 0.01
    others = [
        chisquare(list(found.values()), [total * p for p in other.values()]).pvalue
        for other in (shares(dict.fromkeys(found, 1)), shares({task: SIZES[task] for task in found}))
        if max(abs(other[task] - wanted[task]) for task in found) > 0.01
    ]
    assert all(pvalue < 1e-6 for pvalue in others), "the test could not tell formulas apart"


def test_what_a_task_has_left_does_not_change_how_likely_it_is():
    """From the last of `a` on, `b` comes with 10 / (10 + sqrt(3000)) until it is used up as well."""
    drawn = Counter()
    for seed in range(20):
        names = words(order("square-root", "exhaust", {"a": 30, "b": 100, "c": 3000}, seed)).replace(" ", "")
        drawn.update(names[names.rindex("a") + 1 : names.rindex("b") + 1])
    assert drawn.keys() == {"b", "c"} and drawn["b"] > 500
    assert drawn["b"] / drawn.total() == pytest.approx(10 / (10 + math.sqrt(3000)), rel=0.08)


def test_proportional_is_a_random_order_of_all_batches():
    """By default, drawn as it always was: runs of older versions continue, and results stay."""
    names = ["a"] * 5 + ["b"] + ["c"] * 3
    drawn = torch.randperm(9, generator=torch.Generator().manual_seed(8)).tolist()
    assert order("proportional", seed=8) == [(names[i],) for i in drawn]
    first = Counter(order("proportional", seed=seed)[0] for seed in range(900))
    assert chisquare([first[(name,)] for name in COUNTS], [500, 100, 300]).pvalue > 0.01


@pytest.mark.parametrize("name", ["sequential", "round-robin", "together", "proportional"])
def test_orders_without_chance_leave_the_generator_alone(name):
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    Sampling(name).order(COUNTS, 1, 1, generator)
    assert torch.equal(before, generator.get_state()) == (name != "proportional")


@every_name
def test_a_task_without_batches_takes_no_part(name):
    for unequal in ("exhaust", "smallest", "cycle"):
        assert counted(order(name, unequal, COUNTS | {"none": 0})).keys() <= COUNTS.keys()
    assert order(name, counts={"none": 0}) == order(name, counts={}) == []
