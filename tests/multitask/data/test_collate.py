"""Batches: every example once, like lengths together, budgets kept, packed in the right order."""

import random

import pytest
import torch

from minbert import TokenSequence, cut_by_tokens, sorted_batches
from multitask.data.batches import BUCKET_BATCHES, shuffled_batches
from multitask.data.collate import Chunks, TaskBatch, TokenizedExample, pack_sides
from multitask.data.readers import Example

BUCKET = 8 * BUCKET_BATCHES  # examples


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_lengths(count, seed=0):
    draw = random.Random(seed)
    return [draw.randint(3, 200) for _ in range(count)]


def overlapping_spans(batches, lengths) -> int:
    spans = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in batches)
    return sum(before[1] > after[0] for before, after in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize("count", [1, 8, 9, 401])
def test_every_index_comes_exactly_once_in_full_batches(count):
    batches = shuffled_batches(some_lengths(count), 8, generator())
    assert sorted(index for batch in batches for index in batch) == list(range(count))
    assert sorted(map(len, batches), reverse=True) == [8] * (count // 8) + [count % 8] * (count % 8 > 0)


def test_buckets_are_shuffled_sorted_and_their_batches_shuffled():
    lengths = some_lengths(2 * BUCKET)
    same, again, other = (shuffled_batches(lengths, 8, generator(seed)) for seed in (1, 1, 2))
    assert same == again != other
    one, two = (shuffled_batches(lengths[:count], 8, generator()) for count in (BUCKET, 2 * BUCKET))
    assert overlapping_spans(one, lengths) == 0
    assert overlapping_spans(two, lengths) > 0  # were all data sorted, the spans would not overlap
    assert sum(min(batch) < BUCKET <= max(batch) for batch in two) > 80  # of 100; neighbours are parted
    longest = [max(lengths[i] for i in batch) for batch in one]
    steps_up = sum(before <= after for before, after in zip(longest, longest[1:], strict=False))
    assert 10 < steps_up < 40  # of 49; sorted ones have 49 or 0


@pytest.mark.parametrize("budget", [1, 150, 10**9])
def test_token_budgets_are_kept_but_by_a_single_longer_example(budget):
    lengths = some_lengths(300)
    for batches in (shuffled_batches(lengths, 8, generator(), budget), sorted_batches(lengths, budget)):
        assert sorted(index for batch in batches for index in batch) == list(range(300))
        for batch in batches:
            assert sum(lengths[i] for i in batch) <= budget or len(batch) == 1


def test_evaluation_takes_the_longest_first_and_fills_each_batch_before_the_next():
    assert sorted_batches([5, 9, 7, 9], 18) == [[1, 3], [2, 0]] and sorted_batches([], 18) == []
    assert cut_by_tokens([0, 1, 2, 3, 4], [4, 6, 1, 30, 2], 10) == [[0, 1], [2], [3], [4]]


def test_first_sides_are_packed_before_second_ones():
    def side(*ids):
        return TokenSequence(list(ids), [0] * len(ids))

    assert TokenizedExample(Example("a", ("x", "y"), 1, 2), (side(1, 2), side(3))).length == 3
    batch = pack_sides([(side(1, 2), side(3)), (side(4), side(5, 6, 7))])
    assert len(batch) == 4
    assert batch.padded()["input_ids"].tolist() == [[1, 2, 0], [4, 0, 0], [3, 0, 0], [5, 6, 7]]
    with pytest.raises(ValueError):
        pack_sides([(side(1), side(2)), (side(3),)])


def test_chunks_hold_the_targets_and_ids_of_all_parts():
    def part(*targets):
        batch = pack_sides([(TokenSequence([1, 2], [0, 0]),) for _ in targets])
        return TaskBatch(batch, torch.tensor(targets), tuple(f"id{target}" for target in targets))

    chunks = Chunks((part(1, 2), part(3)))
    assert chunks.targets.tolist() == [1, 2, 3]
    assert chunks.example_ids == ("id1", "id2", "id3")
    moved = chunks.to(torch.device("meta"))
    assert [len(entry.inputs) for entry in moved.parts] == [2, 1]
    assert moved.targets.device.type == moved.parts[1].inputs.token_ids.device.type == "meta"
