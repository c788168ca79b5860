"""From examples to batches: by length in training, by token budget in evaluation, packed without padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from minbert import Batch, TokenSequence, cut_by_tokens, sorted_batches, to_device
from multitask.data.readers import Example

T = TypeVar("T")

# Sorting within 50 batches leaves 3 % padding to a padded model, and the order random enough.
BUCKET_BATCHES = 50


class TokenizedExample(NamedTuple):
    """An example with its token sequences: one, or the two towers of a pair."""

    example: Example
    sides: tuple[TokenSequence, ...]

    @property
    def length(self) -> int:
        """Tokens to compute."""
        return sum(len(side.ids) for side in self.sides)


@dataclass(frozen=True)
class TaskBatch:
    """Model inputs, targets (B,) and ids of a batch of examples.

    `inputs` holds B sequences, or 2B where pairs run through two towers: all first texts, then all second.
    """

    inputs: Batch
    targets: Tensor
    example_ids: tuple[str, ...] = field(repr=False)

    def to(self, device: torch.device) -> "TaskBatch":
        return replace(self, inputs=self.inputs.to(device), targets=to_device(self.targets, device))


@dataclass(frozen=True)
class Chunks:
    """A batch in parts that are encoded one at a time, for a loss over all of its examples (GradCache)."""

    parts: tuple[TaskBatch, ...]

    @property
    def targets(self) -> Tensor:
        """(B, ...) of all parts, in their order."""
        return torch.cat([part.targets for part in self.parts])

    @property
    def example_ids(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.example_ids)

    def to(self, device: torch.device) -> "Chunks":
        return Chunks(tuple(part.to(device) for part in self.parts))


def pack_sides(examples: Sequence[tuple[TokenSequence, ...]]) -> Batch:
    """Packs all first sides, then all second ones, into one batch of B or 2B sequences."""
    sequences = [side for sides in zip(*examples, strict=True) for side in sides]
    return Batch.from_sequences([s.ids for s in sequences], [s.types for s in sequences])


def shuffled_batches(
    lengths: Sequence[int], size: int, generator: torch.Generator, token_budget: int | None = None
) -> list[list[int]]:
    """Draws one epoch of example indices: every index once, batches of like lengths, in random order.

    The data are shuffled, cut into buckets of BUCKET_BATCHES batches, sorted by length within each bucket and
    cut into batches of `size` examples, or of at most `token_budget` tokens; then the batches are shuffled.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches = []
    for start in range(0, len(order), size * BUCKET_BATCHES):
        bucket = sorted(order[start : start + size * BUCKET_BATCHES], key=lengths.__getitem__)
        if token_budget is None:
            batches += [bucket[i : i + size] for i in range(0, len(bucket), size)]
        else:
            batches += cut_by_tokens(bucket, lengths, token_budget)
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def compute_sorted(
    lengths: Sequence[int], token_budget: int, compute: Callable[[list[int]], Sequence[T]]
) -> list[T]:
    """Returns a result for each index, in order, computed in batches of like lengths, longest first.

    `compute` gets the indices of a batch of at most `token_budget` tokens and gives a result for each.
    """
    results: list[T | None] = [None] * len(lengths)
    for indices in sorted_batches(lengths, token_budget):
        for index, result in zip(indices, compute(indices), strict=True):
            results[index] = result
    return results
