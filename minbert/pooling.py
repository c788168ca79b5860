"""From token rows to one vector a sentence: cls, pooler, mean or max; normalisation; a projection."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.batch import Layout
from minbert.errors import InputError, did_you_mean

POOLINGS = ("cls", "pooler", "mean", "max")
FIRST_TOKEN_POOLINGS = ("cls", "pooler")  # which read nothing but column 0
NORMALIZATIONS = ("l1", "l2", None)


def first_rows(rows: Tensor, layout: Layout) -> Tensor:
    """The row in column 0 of each sequence, zeros for an empty sequence; (T, D) -> (B, D) in layout order."""
    return _reduce(rows, layout, lambda block, mask: block[:, 0])


def mean_rows(rows: Tensor, layout: Layout) -> Tensor:
    """The mean over real tokens, zeros for an empty sequence; (T, D) -> (B, D) in layout order."""

    def mean(block: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return block.mean(dim=1)
        return (block * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)

    return _reduce(rows, layout, mean)


def max_rows(rows: Tensor, layout: Layout) -> Tensor:
    """The maximum over real tokens, zeros for an empty sequence; (T, D) -> (B, D) in layout order."""

    def maximum(block: Tensor, mask: Tensor | None) -> Tensor:
        return block.amax(dim=1) if mask is None else block.masked_fill(~mask, -torch.inf).amax(dim=1)

    return _reduce(rows, layout, maximum)


def _reduce(rows: Tensor, layout: Layout, reduce) -> Tensor:
    """Applies reduce((n, S, D), mask (n, S, 1) or None) -> (n, D) to each rectangle of the layout."""
    if not layout.packed:
        mask = layout.token_mask
        [block] = layout.blocks(rows)
        return reduce(block, mask.unsqueeze(-1)).masked_fill(~mask.any(dim=1, keepdim=True), 0.0)
    vectors = [reduce(block, None) for block in layout.blocks(rows)]
    empty = rows.new_zeros(layout.lengths.count(0), rows.shape[-1])  # empty sequences stand last
    return torch.cat([*vectors, empty])


def pool(output, pooling: str) -> Tensor:
    """One vector a sequence from a BertOutput -> (B, D), fp32 at least, in the caller's order.

    Raises InputError for a name that is not in POOLINGS, and for "pooler" where the weights hold none.
    """
    if pooling == "pooler":
        return output.pooler_output
    reductions = {"cls": first_rows, "mean": mean_rows, "max": max_rows}
    if pooling not in reductions:
        raise InputError(
            f"pooling {pooling!r} does not exist; choose from {', '.join(POOLINGS)}"
            f"{did_you_mean(pooling, POOLINGS)}"
        )
    rows = output.packed.to(torch.promote_types(output.packed.dtype, torch.float32))
    return output.batch.restore(reductions[pooling](rows, output.batch.layout))


def normalize(vectors: Tensor, kind: str | None) -> Tensor:
    """Divides each vector (..., D) by its L1 or L2 length; zeros stay zeros.

    Raises InputError for a kind that is not in NORMALIZATIONS.
    """
    if kind is None:
        return vectors
    if kind not in NORMALIZATIONS:
        raise InputError(
            f"normalization {kind!r} does not exist; choose l1, l2 or none{did_you_mean(kind, ['l1', 'l2'])}"
        )
    return F.normalize(vectors, p=1.0 if kind == "l1" else 2.0, dim=-1)


class Projection(nn.Module):
    """A linear layer to another size, then tanh or nothing; the Dense module of sentence-transformers."""

    ACTIVATIONS = {"tanh": torch.tanh, "identity": lambda x: x}

    def __init__(self, size_in: int, size_out: int, activation: str = "tanh", bias: bool = True):
        super().__init__()
        if activation not in self.ACTIVATIONS:
            raise InputError(f"projection activation {activation!r} does not exist; choose tanh or identity")
        self.linear = nn.Linear(size_in, size_out, bias=bias)
        self.activation = activation

    def forward(self, vectors: Tensor) -> Tensor:  # (B, D) -> (B, D')
        return self.ACTIVATIONS[self.activation](self.linear(vectors))
