"""Attention over a Layout: within each sequence, by rectangles or, on CUDA, in one call over many lengths.

B sequences, S columns, T token rows, R rows of first tokens, D features, H heads, K head size.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minbert.kernels import fused, registry
from minbert.kernels.variable_length import packed_attention

if TYPE_CHECKING:
    from minbert.batch import Layout


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: "Layout",
    heads: int,
    dropout: float,
    cls_only: bool = False,
) -> Tensor:
    """Computes attention within each sequence: query, key, value (T, D) -> context (T, D).

    With `cls_only` only column 0 asks: query (R, D), as `layout.take_first` gives it, -> context (R, D).
    """
    kernels = registry.in_use()
    if query.is_cuda and layout.groups and kernels is fused:
        rows = [x.unflatten(-1, (heads, -1)) for x in (query, key, value)]
        asking = layout.first.sequences if cls_only else layout.sequences
        context = packed_attention(*rows, asking, layout.sequences, dropout)
        if context is not None:
            return context.flatten(1)
    mask = None if layout.packed else layout.attention_mask
    if cls_only and mask is not None:
        mask = mask[:, :, :1]
    queries = _first_heads(query, layout, heads) if cls_only else split_heads(query, layout, heads)
    keys, values = split_heads(key, layout, heads), split_heads(value, layout, heads)
    contexts = [
        kernels.attention(q, k, v, mask, dropout) for q, k, v in zip(queries, keys, values, strict=True)
    ]  # each (n, H, S, K)
    if not contexts:
        return query
    return torch.cat([context.transpose(1, 2).flatten(2).flatten(0, 1) for context in contexts])


def split_heads(rows: Tensor, layout: "Layout", heads: int) -> list[Tensor]:
    """(T, D) -> the rectangles that attention works on, each (n, H, S, K)."""
    return [block.transpose(1, 2) for block in layout.blocks(rows.unflatten(-1, (heads, -1)))]


def _first_heads(rows: Tensor, layout: "Layout", heads: int) -> list[Tensor]:
    """The same for the rows of `layout.take_first`, (R, D) -> each (n, H, 1, K)."""
    counts = [group.count for group in layout.groups] if layout.packed else [layout.count]
    return [block.unflatten(-1, (heads, 1, -1)) for block in rows.split(counts)] if counts else []
