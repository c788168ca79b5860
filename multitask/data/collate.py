"""Tokenized examples and the batches made of them, packed without padding."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minbert import Batch, TokenSequence, to_device
from multitask.data.readers import Example


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


class Joined(Sequence[TokenizedExample]):
    """Sequences of examples, one after the other, made when they are asked for."""

    def __init__(self, *parts: Sequence[TokenizedExample]):
        self.parts = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> TokenizedExample:
        index = range(len(self))[index]
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)


def lengths_of(examples: Sequence[TokenizedExample]) -> np.ndarray:
    """Returns the tokens of each example, (N,); of a token store without a look at the examples."""
    lengths = getattr(examples, "lengths", None)
    return np.array([entry.length for entry in examples], np.int64) if lengths is None else lengths


def token_ids_of(examples: Sequence[TokenizedExample]) -> np.ndarray:
    """Returns the token ids of the examples, ascending, each once; as `lengths_of` does."""
    ids = getattr(examples, "token_ids", None)
    if ids is None:
        ids = np.array(sorted({token for entry in examples for side in entry.sides for token in side.ids}))
    return ids.astype(np.int64)


def rows_of(examples: Sequence[TokenizedExample]) -> Sequence[Example]:
    """Returns the examples without their tokens; as `lengths_of` does."""
    rows = getattr(examples, "rows", None)
    return [entry.example for entry in examples] if rows is None else rows
