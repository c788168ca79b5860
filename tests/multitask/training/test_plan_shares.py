"""How the plan cuts batches, and what each of several processes takes of them."""

import pytest
import torch

from minbert import InputError
from multitask.training.plan import Plan, TaskData


def taken(plan):
    """The steps as plain values, pieces read as the loop reads them."""
    return [(step.number, step.epoch, step.ends_epoch, step.tasks, list(step.pieces)) for step in plan]


def gaps(batches, lengths):
    """How far apart the lengths within a batch are, on average."""
    spans = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches if len(b) > 1]
    return sum(spans) / len(spans)


def test_uniform_batches_are_drawn_without_regard_to_length():
    lengths = list(range(64))
    found = {}
    for uniform in (False, True):
        data = {"a": TaskData(lengths, list, 8, uniform=uniform)}
        batches = [piece.batch for *_, pieces in taken(Plan(data, "sequential", 1, 3)) for piece in pieces]
        found[uniform] = gaps(batches, lengths)
    assert found[False] == 7
    assert found[True] > 40  # 8 of 64 drawn at random span 7/9 of 63, that is 49


@pytest.mark.parametrize(
    ("size", "ranks", "wanted"),
    [(16, 1, [8, 8]), (17, 1, [8, 9]), (18, 1, [8, 8, 2]), (18, 3, [8, 10]), (19, 3, [8, 8, 3]), (2, 1, [2])],
)
@pytest.mark.parametrize("kind", ["uniform", "gathered"])
def test_batches_too_small_to_compare_examples_are_merged(size, ranks, wanted, kind):
    plans = [
        Plan({"a": TaskData([1] * size, list, 8, **{kind: True})}, "sequential", 1, 0, share=(rank, ranks))
        for rank in range(ranks)
    ]
    sizes = [[sum(len(p.batch) for p in pieces) for *_, pieces in taken(plan)] for plan in plans]
    assert all(min(shares) >= 1 for shares in sizes)
    found = [sum(shares) for shares in zip(*sizes, strict=True)]
    assert found == wanted if kind == "uniform" else sorted(found) == sorted(wanted)


def test_small_batches_in_the_middle_are_merged_two_by_two():
    lengths = [9, 2, 9, 9, 2, 2, 9]  # of 9, two are too much for a batch
    for seed in range(20):
        data = {"a": TaskData(lengths, list, token_budget=10, uniform=True)}
        steps = taken(Plan(data, "sequential", 1, seed))
        batches = [piece.batch for *_, pieces in steps for piece in pieces]
        assert sorted(i for batch in batches for i in batch) == list(range(7))
        assert {len(batch) for batch in batches} <= {2, 3, 4}


@pytest.mark.parametrize(("size", "ranks"), [(1, 1), (3, 4)])
def test_too_few_examples_to_compare(size, ranks):
    data = {"a": TaskData([1] * size, list, 8, uniform=True)}
    with pytest.raises(InputError, match=f"a has {size} training examples; .* needs {max(2, ranks)}"):
        Plan(data, "sequential", 1, 0, share=(0, ranks))
    assert taken(Plan({"a": TaskData([1] * size, list, 8)}, "sequential", 1, 0, share=(0, ranks)))


@pytest.mark.parametrize("sampling", ["sequential", "proportional", "square-root", "together"])
@pytest.mark.parametrize("ranks", [2, 3, 9])
def test_processes_share_every_batch_and_their_weights_are_those_of_the_whole(sampling, ranks):
    data = {
        "accumulating": TaskData([1] * 83, list, 9, accumulation=3),
        "gathered": TaskData([1] * 9, list, 9, gathered=True, uniform=True),
        "plain": TaskData([1] * 40, list, 9),
    }
    whole = taken(Plan(data, sampling, 2, 5))
    parts = [taken(Plan(data, sampling, 2, 5, share=(rank, ranks))) for rank in range(ranks)]
    absent = 0
    for step, *shares in zip(whole, *parts, strict=True):
        assert all(share[:4] == step[:4] for share in shares), "number, epoch, its end, tasks"
        for name in step[3]:
            found = [piece for share in shares for piece in share[4] if piece.task == name]
            wanted = [i for piece in step[4] if piece.task == name for i in piece.batch]
            assert sorted(i for piece in found for i in piece.batch) == sorted(wanted)
            assert sum(piece.weight for piece in found) == pytest.approx(1, abs=1e-12)
            if name == "gathered":
                assert [piece.weight for piece in found] == [1 / ranks] * ranks
            absent += len(found) < ranks
    assert absent > 0 or ranks < 9  # a process without an example has no piece


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_gradients_summed_over_processes_are_those_of_the_whole_batch(ranks):
    """Means of squares over each share, 11 examples in 3 batches of one step: 4, 4, 3."""
    x = torch.randn(11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    ((weight * x - 1) ** 2).mean().backward()
    wanted, weight.grad = weight.grad, None
    for rank in range(ranks):
        data = {"a": TaskData([1] * 11, lambda indices: x[list(indices)], 4, accumulation=3)}
        for step in Plan(data, "sequential", 1, 0, share=(rank, ranks)):
            for piece in step.pieces:
                (piece.weight * ((weight * piece.batch - 1) ** 2).mean()).backward()
    torch.testing.assert_close(weight.grad, wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("share", [(2, 2), (-1, 2), (0, 0)])
def test_a_share_that_is_none(share):
    with pytest.raises(InputError, match="give .rank, ranks., rank from 0 to ranks - 1"):
        Plan({"a": TaskData([1], list)}, "sequential", 1, 0, share=share)
