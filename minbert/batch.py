"""Batch and Layout: which token rows belong to which sequence, so that nothing is computed on padding.

The model's linear layers, norms and embeddings work on rows (T, D) and never ask where a sequence begins.
Only attention and pooling do, and they ask the Layout. It has two forms:

- packed: the T real tokens of the batch, one sequence after the other, sorted by length. Sequences of equal
  length form a group, and a group is a rectangle (n, S) without a mask;
- padded: all B x S cells of a padded input with a boolean mask: for attention maps, 3-D masks, left padding,
  and to compare with other implementations.

Letters: B sequences, S columns of the padded input, T token rows, R rows of first tokens, D features.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from minbert.config import BertConfig
from minbert.errors import InputError
from minbert.kernels.device import to_device
from minbert.kernels.kept_property import kept_property
from minbert.kernels.variable_length import Sequences

PADDED = ("input_ids", "attention_mask", "token_type_ids")
MASKED = -1e3  # of an additive mask, where a token is not attended to; exp of it is 0 in fp64


class LengthGroup(NamedTuple):
    """Consecutive sequences of equal length in a packed batch: rows `start` to `start + count * length`."""

    start: int
    count: int
    length: int

    def rows(self, values: Tensor) -> Tensor:
        """(T, ...) -> (count, length, ...), a view."""
        end = self.start + self.count * self.length
        return values[self.start : end].view(self.count, self.length, *values.shape[1:])


@dataclass(frozen=True)
class Layout:
    """Maps token rows to sequences; `positions` (T,) are columns of the padded input of `columns`.

    packed: `lengths` of the sequences, longest first, kept on the host; `mask` is None.
    padded: `mask` (B, S) or (B, S, S), True where a token may be attended to; `lengths` is empty.
    """

    positions: Tensor
    columns: int
    lengths: tuple[int, ...] = ()
    mask: Tensor | None = None

    @property
    def packed(self) -> bool:
        return self.mask is None

    @property
    def count(self) -> int:
        """B, the number of sequences."""
        return len(self.lengths) if self.packed else self.mask.shape[0]

    @kept_property
    def groups(self) -> tuple[LengthGroup, ...]:
        """The groups of equal length of a packed layout, without empty sequences."""
        groups, start = [], 0
        for length, equal in groupby(self.lengths):  # sorted, so equal lengths stand together
            count = len(list(equal))
            if length:
                groups.append(LengthGroup(start, count, length))
            start += count * length
        return tuple(groups)

    @kept_property
    def sequences(self) -> Sequences:
        """packed: offsets of the sequences that are not empty, copied to the device once."""
        return Sequences.of([length for length in self.lengths if length], self.positions.device)

    @kept_property
    def token_mask(self) -> Tensor:
        """padded: (B, S), True at real tokens; under a 3-D mask, at those that attend or are attended to."""
        return self.mask if self.mask.ndim == 2 else self.mask.any(dim=1) | self.mask.any(dim=2)

    @kept_property
    def attention_mask(self) -> Tensor:
        """padded: the mask as attention takes it, (B, 1, 1, S) or (B, 1, S, S)."""
        return self.mask[:, None, None, :] if self.mask.ndim == 2 else self.mask[:, None, :, :]

    @kept_property
    def first(self) -> "Layout":
        """The layout of `take_first`'s rows: each sequence that is not empty has one token."""
        if not self.packed:
            mask = self.token_mask.any(dim=1, keepdim=True)
            return Layout(self.positions.new_zeros(self.count), 1, (), mask)
        lengths = tuple(min(length, 1) for length in self.lengths)
        return Layout(self.positions.new_zeros(sum(lengths)), 1, lengths)

    def take_first(self, rows: Tensor) -> Tensor:
        """(T, ...) -> the rows in column 0 of the sequences, as `first` lays them out."""
        return torch.cat([rows[:0], *(block[:, 0] for block in self.blocks(rows))])

    @property
    def has_empty(self) -> bool:
        """False if each sequence is known to have a token."""
        return 0 in self.lengths if self.packed else True

    def empty(self, device: torch.device) -> Tensor:
        """(B,), True for sequences without any token."""
        if self.packed:
            return to_device(torch.tensor([length == 0 for length in self.lengths]), device)
        return ~self.token_mask.any(dim=1)

    def blocks(self, rows: Tensor) -> list[Tensor]:
        """(T, ...) -> the rectangles (n, S, ...) of the rows: one for each group, or the whole batch."""
        if self.packed:
            return [group.rows(rows) for group in self.groups]
        return [rows.unflatten(0, (self.count, -1))]


class CachedActivations(NamedTuple):
    """Activations of the embeddings and the lowest `layers` layers for a batch: rows (T, D) of its layout.

    After the last layer the rows of each sequence may be pooled to one already, as `pooling` says; then the
    layout has one token a sequence.
    """

    rows: Tensor
    layers: int
    pooling: str | None = None


@dataclass(frozen=True)
class Batch:
    """B token sequences as the model computes them, and the way back to the caller's order.

    `token_ids`, `token_type_ids` and, where the tokenizer was given words, `word_ids` (-1 for special tokens)
    are rows (T,) of the layout. `order[i]` is the caller's index of the layout's sequence i. With `cached`
    activations the model continues from these.

    It has the keys of `padded()`, so that `model(**batch)` works; it is padded once for them. `len` is B.
    """

    token_ids: Tensor
    token_type_ids: Tensor
    layout: Layout
    order: Tensor
    word_ids: Tensor | None = None
    cached: CachedActivations | None = None

    def __len__(self) -> int:
        return self.layout.count

    def __repr__(self) -> str:
        form = "packed" if self.layout.packed else f"padded to {self.layout.columns} columns"
        return f"Batch({len(self)} sequences, {len(self.token_ids)} rows, {form}, {self.token_ids.device})"

    def keys(self) -> tuple[str, ...]:
        return PADDED

    def __getitem__(self, key: str) -> Tensor:
        if key not in PADDED:
            raise KeyError(f"{key!r} is not in a Batch; it has {', '.join(PADDED)}")
        return self._padded[key]

    @kept_property
    def _padded(self) -> dict[str, Tensor]:
        return self.padded()

    def __iter__(self) -> Iterator[str]:
        raise TypeError("a Batch is not iterated over; take batch.padded(), a dict, or batch.keys()")

    @classmethod
    def from_sequences(
        cls,
        ids: Sequence[Sequence[int]],
        types: Sequence[Sequence[int]],
        words: Sequence[Sequence[int]] | None = None,
    ) -> "Batch":
        """Packs token sequences, longest first. Raises InputError for a batch of nothing."""
        if not ids:
            raise InputError("the batch has no sequence; give at least one text")
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        lengths = tuple(len(ids[i]) for i in order)

        def flat(sequences: Sequence[Sequence[int]]) -> Tensor:
            return torch.tensor([token for i in order for token in sequences[i]], dtype=torch.long)

        layout = Layout(torch.cat([torch.arange(length) for length in lengths]), max(lengths), lengths)
        return cls(
            flat(ids), flat(types), layout, torch.tensor(order), None if words is None else flat(words)
        )

    @classmethod
    def from_padded(
        cls,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        packed: bool = True,
    ) -> "Batch":
        """From tensors (B, S); the mask is 1 or True at real tokens, (B, S) or (B, S, S).

        A mask of transformers' form, (B, 1, 1, S) or (B, 1, S, S), is True there, or 0 to be added to scores.
        Stays padded if `packed` is False, under a 3-D mask, and where a sequence's column 0 is padding: the
        reference reads its pooler there, so that cell has to be computed too.
        Raises InputError for shapes that do not fit together, and ids that are not whole numbers.
        """
        mask = _checked_mask(input_ids, attention_mask, token_type_ids)
        if packed and torch.compiler.is_compiling():
            _refuse_to_trace()
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        count, columns = input_ids.shape
        positions = torch.arange(columns, device=input_ids.device).expand(count, columns)
        if not packed or mask.ndim == 3 or bool((mask.any(dim=1) & ~mask[:, 0]).any()):
            layout = Layout(positions.flatten(), columns, (), mask)
            order = torch.arange(count, device=input_ids.device)
            return cls(input_ids.flatten(), types.flatten(), layout, order)
        lengths = mask.sum(dim=1)
        order = lengths.argsort(descending=True, stable=True)
        mask = mask[order]
        layout = Layout(positions[mask], columns, tuple(lengths[order].tolist()))
        return cls(input_ids[order][mask], types[order][mask], layout, order)

    def to(self, device: torch.device | str) -> "Batch":
        """Returns the same batch on another device; copies to CUDA do not block the host."""
        return self._moved(lambda tensor: to_device(tensor, device))

    def pin_memory(self) -> "Batch":
        """Returns the same batch in pinned memory, for `DataLoader(pin_memory=True)`."""
        return self._moved(Tensor.pin_memory)

    def _moved(self, how: Callable[[Tensor], Tensor]) -> "Batch":
        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else how(tensor)

        layout = replace(self.layout, positions=move(self.layout.positions), mask=move(self.layout.mask))
        cached = self.cached and self.cached._replace(rows=move(self.cached.rows))
        ids, types, words = map(move, (self.token_ids, self.token_type_ids, self.word_ids))
        return Batch(ids, types, layout, move(self.order), words, cached)

    def cls_only(self) -> "Batch":
        """The batch as if each sequence were its column 0 alone; without cached activations."""
        take, words = self.layout.take_first, self.word_ids
        ids, types = take(self.token_ids), take(self.token_type_ids)
        return Batch(ids, types, self.layout.first, self.order, None if words is None else take(words))

    def as_padded(self) -> "Batch":
        """Returns the same sequences in the padded form, in the caller's order."""
        if not self.layout.packed:
            return self
        words = None if self.word_ids is None else self.pad(self.word_ids, fill=-1).flatten()
        return replace(Batch.from_padded(**self.padded(), packed=False), word_ids=words)

    def restore(self, per_sequence: Tensor) -> Tensor:
        """(B, ...) in the layout's order -> (B, ...) in the caller's."""
        if not self.layout.packed:
            return per_sequence
        return torch.empty_like(per_sequence).index_copy(0, self.order, per_sequence)

    def pad(self, rows: Tensor, fill: float = 0) -> Tensor:
        """(T, ...) -> (B, S, ...) in the caller's order, `fill` at padding."""
        layout = self.layout
        if not layout.packed:
            cells = rows.unflatten(0, (layout.count, -1))
            keep = layout.token_mask.reshape(layout.token_mask.shape + (1,) * (cells.ndim - 2))
            return torch.where(keep, cells, torch.as_tensor(fill, dtype=rows.dtype, device=rows.device))
        lengths = to_device(torch.tensor(layout.lengths), rows.device)
        sequence = torch.repeat_interleave(self.order, lengths, output_size=rows.shape[0])  # (T,)
        padded = rows.new_full((layout.count, layout.columns, *rows.shape[1:]), fill)
        return padded.index_put((sequence, layout.positions), rows)

    def positions(self, config: BertConfig) -> Tensor:
        """(T,): the position of each token by the rule of the configuration's family."""
        if not config.family.counts_positions:
            return self.layout.positions
        pad = config.pad_token_id
        blocks = self.layout.blocks((self.token_ids != pad).long())  # (n, S) each
        counted = [(block.cumsum(dim=1) * block + pad).flatten() for block in blocks]
        return torch.cat([self.token_ids[:0], *counted])

    def padded(self, pad_token_id: int = 0) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `token_type_ids`, (B, S) in the caller's order.

        At padding `input_ids` has `pad_token_id`, whose value no model of ours reads; the others have 0. Of a
        padded layout they are what it was made from.
        """
        if self.layout.packed:
            mask = self.pad(torch.ones_like(self.token_ids))
            ids, types = self.pad(self.token_ids, fill=pad_token_id), self.pad(self.token_type_ids)
        else:
            [ids], [types] = map(self.layout.blocks, (self.token_ids, self.token_type_ids))
            mask = self.layout.mask.long()
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

    def check(self, config: BertConfig) -> None:
        """Raises InputError for sequences and ids that a model of this configuration does not have."""
        columns, longest = self.layout.columns, config.max_length
        if columns > longest:
            raise InputError(
                f"the batch has sequences of {columns} tokens; this model takes {longest}: tokenize with "
                f"max_length={longest}"
            )
        # On an accelerator a look at the values would wait for the device; a traced graph has none.
        if torch.compiler.is_compiling() or self.token_ids.device.type != "cpu" or not len(self.token_ids):
            return
        checked = [("input_ids", self.token_ids, config.vocab_size)]
        if config.type_vocab_size:  # else nothing reads token types
            checked.append(("token_type_ids", self.token_type_ids, config.type_vocab_size))
        for name, values, size in checked:
            low, high = int(values.min()), int(values.max())
            if low < 0 or high >= size:
                raise InputError(f"{name} holds {low if low < 0 else high}; this model knows 0 to {size - 1}")


def sorted_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Every index once, longest first, in batches of at most `token_budget` tokens."""
    return cut_by_tokens(sorted(range(len(lengths)), key=lambda i: -lengths[i]), lengths, token_budget)


def cut_by_tokens(indices: Sequence[int], lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Cuts indices into batches of at most `token_budget` tokens; a longer example stands alone."""
    batches: list[list[int]] = []
    tokens = 0
    for index in indices:
        if not batches or tokens + lengths[index] > token_budget:
            batches.append([])
            tokens = 0
        batches[-1].append(index)
        tokens += lengths[index]
    return batches


def _checked_mask(input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None) -> Tensor:
    """Returns the boolean mask, (B, S) or (B, S, S), all True where none is given."""
    for name, tensor in zip(PADDED, (input_ids, attention_mask, token_type_ids), strict=True):
        if tensor is None and name != "input_ids":
            continue
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"{name} is of type {type(tensor).__name__}; give a tensor (B, S), or a tokenizer's output: "
                f"model(**inputs)"
            )
        if name != "attention_mask" and tensor.dtype not in (torch.int64, torch.int32):
            raise InputError(f"{name} has dtype {tensor.dtype}; ids are whole numbers: give torch.long")
    if input_ids.ndim != 2 or 0 in input_ids.shape:
        raise InputError(f"input_ids has shape {tuple(input_ids.shape)}; it must be (B, S), both at least 1")
    if token_type_ids is not None and token_type_ids.shape != input_ids.shape:
        raise InputError(
            f"token_type_ids has shape {tuple(token_type_ids.shape)}; it must be that of input_ids, "
            f"{tuple(input_ids.shape)}"
        )
    if attention_mask is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    shape, (count, columns) = tuple(attention_mask.shape), input_ids.shape
    of_transformers = shape[1:] in ((1, 1, columns), (1, columns, columns)) and shape[0] in (1, count)
    if not of_transformers and shape not in ((count, columns), (count, columns, columns)):
        raise InputError(
            f"attention_mask has shape {shape}; it must be ({count}, {columns}), ({count}, {columns}, "
            f"{columns}), or as in transformers ({count}, 1, 1 or {columns}, {columns})"
        )
    attends = attention_mask
    if attention_mask.dtype != torch.bool:
        attends, others = attention_mask == 1, attention_mask == 0
        values = "0 and 1; give 1 at real tokens, 0 at padding"
        if of_transformers:  # to be added to the scores
            attends, others = others, attention_mask < MASKED
            values = "0 and -inf; give 0 at real tokens, -inf or -10000 at others"
        if not torch.compiler.is_compiling() and not bool((attends | others).all()):
            raise InputError(f"attention_mask has values other than {values}")
    return attends.expand(count, -1, -1, -1).squeeze(1).squeeze(1) if of_transformers else attends


def _refuse_to_trace() -> None:
    """Breaks the graph of torch.compile, with a reason; raises InputError under torch.export."""
    message = (
        'kernels="fused" packs sequences by their lengths, which a graph does not know; give '
        'kernels="reference" to from_pretrained for torch.export and fullgraph=True'
    )
    if torch.compiler.is_exporting():
        raise InputError(message)
    torch._dynamo.graph_break(msg=message)
