"""Batches of example indices: by length in training, by token budget, cut from arrays of lengths.

An epoch is drawn as one permutation with the places where it is cut: four bytes an example. More than
BLOCK examples are drawn a block at a time, so that no epoch is ever held whole.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

# Sorting within 50 batches leaves 3 % padding to a padded model, and the order random enough.
BUCKET_BATCHES = 50
BLOCK = 1_000_000  # examples that are drawn at once


class Batches(Sequence[list[int]]):
    """Batches of indices: batch i is `indices[starts[i] : starts[i + 1]]`."""

    def __init__(self, indices: np.ndarray, starts: np.ndarray):
        self.indices = indices
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        end = self.starts[index + 1] if index + 1 < len(self) else len(self.indices)
        return self.indices[self.starts[index] : end].tolist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*other]

    __hash__ = None

    def merged(self, fewest: int) -> "Batches":
        """Returns the batches, each with at least `fewest` examples, where there are as many in all.

        One that is too small takes in the next; the last one goes to the one before.
        """
        if not len(self) or int(np.diff(self.starts, append=len(self.indices)).min()) >= fewest:
            return self
        kept = [0]
        for start in self.starts[1:].tolist():
            if start - kept[-1] >= fewest:
                kept.append(start)
        if len(kept) > 1 and len(self.indices) - kept[-1] < fewest:
            kept.pop()
        return Batches(self.indices, np.array(kept))


def cut_points(lengths: np.ndarray, token_budget: int) -> list[int]:
    """Returns where examples of these lengths, in order, are cut into batches of `token_budget` tokens.

    Each batch takes in what fits; a longer example stands alone. The places are those of the batches' firsts.
    """
    ends, starts, start = np.cumsum(lengths, dtype=np.int64), [], 0
    while start < len(ends):
        starts.append(start)
        before = int(ends[start - 1]) if start else 0
        start = max(start + 1, int(np.searchsorted(ends, before + token_budget, side="right")))
    return starts


def longest_first(lengths: Sequence[int] | np.ndarray, token_budget: int) -> Batches:
    """Returns every index once, longest first, in batches of at most `token_budget` tokens."""
    lengths = np.asarray(lengths, np.int64)
    order = np.argsort(-lengths, kind="stable")
    return Batches(order, np.array(cut_points(lengths[order], token_budget), np.int64))


def shuffled_batches(
    lengths: Sequence[int] | np.ndarray,
    size: int,
    generator: torch.Generator,
    token_budget: int | None = None,
    bucket: int | None = None,
) -> Batches:
    """Draws one epoch of example indices: every index once, batches of like lengths, in random order.

    The data are shuffled, cut into buckets of BUCKET_BATCHES batches (or of `bucket` examples), sorted by
    length within each bucket and cut into batches of `size` examples, or of at most `token_budget` tokens;
    then the batches are shuffled.
    """
    lengths = np.asarray(lengths)
    order = _permutation(len(lengths), generator)
    bucket = bucket or size * BUCKET_BATCHES
    cuts: list[int] = []
    for start in range(0, len(order), bucket):
        part = order[start : start + bucket]
        part[:] = part[np.argsort(lengths[part], kind="stable")]
        if token_budget is not None:
            cuts += [start + cut for cut in cut_points(lengths[part], token_budget)]
    starts = np.arange(0, len(order), size) if token_budget is None else np.array(cuts, np.int64)
    batches = torch.randperm(len(starts), generator=generator).numpy()
    counts = np.diff(starts, append=len(order))[batches]
    ends = np.cumsum(counts)
    places = np.repeat(starts[batches] - (ends - counts), counts)
    places += np.arange(len(order))
    return Batches(order[places], ends - counts)


def plain_batches(
    lengths: Sequence[int] | np.ndarray,
    size: int,
    generator: torch.Generator,
    token_budget: int | None = None,
) -> Batches:
    """Draws one epoch of example indices, cut without regard to lengths; see `shuffled_batches`."""
    order = _permutation(len(lengths), generator)
    if token_budget is None:
        return Batches(order, np.arange(0, len(order), size))
    starts = cut_points(np.asarray(lengths)[order], token_budget)
    return Batches(order, np.array(starts, np.int64))


def _permutation(count: int, generator: torch.Generator) -> np.ndarray:
    order = torch.randperm(count, generator=generator).numpy()
    return order.astype(np.int32) if count < 2**31 else order


class BlockBatches(Iterable[list[int]]):
    """One epoch of more than BLOCK examples: block b of B has every B-th example from the b-th on.

    So each block is spread over the whole data. The blocks come in random order, each drawn when it is
    reached, from a seed of its own. With a `token_budget` a block is one bucket: its batches are those of its
    sorted lengths, as many in each epoch. `uniform` batches are cut without regard to lengths.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        size: int,
        generator: torch.Generator,
        token_budget: int | None = None,
        uniform: bool = False,
        fewest: int = 1,
    ):
        self.lengths = lengths
        self.size = size
        self.token_budget = token_budget
        self.uniform = uniform
        self.fewest = fewest
        self.blocks = -(-len(lengths) // BLOCK)
        self._order = torch.randperm(self.blocks, generator=generator).tolist()
        self._seed = int(torch.randint(2**62, (), generator=generator))

    def __iter__(self) -> Iterator[list[int]]:
        for block in self._order:
            yield from self.block(block)

    def block(self, number: int) -> Batches:
        """Returns the batches of a block."""
        lengths = np.asarray(self.lengths[number :: self.blocks])
        generator = torch.Generator().manual_seed(self._seed + number)
        if self.uniform:
            drawn = plain_batches(lengths, self.size, generator, self.token_budget)
        else:
            bucket = None if self.token_budget is None else len(lengths)
            drawn = shuffled_batches(lengths, self.size, generator, self.token_budget, bucket)
        indices = drawn.indices.astype(np.int64) * self.blocks + number
        return Batches(indices, drawn.starts).merged(self.fewest)

    def __len__(self) -> int:
        if self.token_budget is None or self.uniform or self.fewest > 1:
            return sum(len(self.block(number)) for number in range(self.blocks))
        blocks = (np.sort(self.lengths[number :: self.blocks]) for number in range(self.blocks))
        return sum(len(cut_points(lengths, self.token_budget)) for lengths in blocks)
