"""Attention over sequences of many lengths in one call, for CUDA, by kernels that torch brings.

Rows of all sequences stand one after the other, without padding. The kernels compute in half precision, and
each is used on a device only after it gave what the written-out attention gives. Where none of them serves,
attention takes the runs of equal length one by one, as on the CPU (see minbert/kernels/attention.py).

N sequences, T rows of tokens, R rows of tokens that ask, H heads, K head size.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.kernels import reference
from minbert.kernels.device import to_device

HALF = (torch.bfloat16, torch.float16)
HEAD_STEP = 8  # the kernels take head sizes that are multiples of it
# Making nested tensors costs the host as much as so many runs: 1.1 ms, with the way back 2.3 (torch 2.13).
MANY_RUNS = 20
TOLERANCE = 5e-2  # of half precision against fp32, values near 1; a wrong formula is off by 1


class Sequences(NamedTuple):
    """Offsets of N sequences, none of them empty, on the device; sizes that the host needs, on the host.

    `offsets` (N + 1,) are int32 on the device; `lengths` counts how many lengths there are.
    """

    offsets: Tensor
    shortest: int
    longest: int
    lengths: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Sequences":
        with torch.inference_mode(False):  # a batch that was scored may be trained on later
            offsets = to_device(torch.tensor([0, *accumulate(lengths)], dtype=torch.int32), device)
        return cls(offsets, min(lengths), max(lengths), len(set(lengths)))


Attend = Callable[[Tensor, Tensor, Tensor, Sequences, Sequences, float], Tensor]


def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, asking: Sequences, asked: Sequences, dropout: float
) -> Tensor | None:
    """Attention within each sequence: query (R, H, K), key and value (T, H, K) -> context (R, H, K).

    None where no kernel takes these: in fp32, where torch or the card has none, and under dropout where
    there are few lengths.
    """
    if query.dtype not in HALF or not query.dtype == key.dtype == value.dtype or query.shape[-1] % HEAD_STEP:
        return None
    kernels: list[Attend] = [] if dropout else [varlen]
    if asked.lengths > MANY_RUNS:
        kernels.append(jagged)
    for attend in kernels:
        if works(attend, query.device, query.dtype, query.shape[-1]):
            return attend(query, key, value, asking, asked, dropout)
    return None


def varlen(
    query: Tensor, key: Tensor, value: Tensor, asking: Sequences, asked: Sequences, dropout: float
) -> Tensor:
    """By torch.nn.attention.varlen, from torch 2.10 on; it has no dropout, which has to be 0."""
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn(query, key, value, asking.offsets, asked.offsets, asking.longest, asked.longest)


def jagged(
    query: Tensor, key: Tensor, value: Tensor, asking: Sequences, asked: Sequences, dropout: float
) -> Tensor:
    """By nested tensors, whose attention knows dropout."""

    def nest(rows: Tensor, sequences: Sequences) -> Tensor:  # (T, H, K) -> (N, H, any length, K)
        # The lengths are told, or torch would ask the device for them.
        nested = torch.nested.nested_tensor_from_jagged(
            rows, sequences.offsets, min_seqlen=sequences.shortest, max_seqlen=sequences.longest
        )
        return nested.transpose(1, 2)

    context = F.scaled_dot_product_attention(
        nest(query, asking), nest(key, asked), nest(value, asked), dropout_p=dropout
    )
    return context.transpose(1, 2).values()


@cache
def works(attend: Attend, device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Self-test: True if a kernel exists and equals the written-out attention, forward and backward.

    Once with all rows asking, once with the first of each sequence.
    """
    # A thread of its own: no inference mode, autocast or checkpointing of the caller reaches it.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_agrees, attend, device, dtype, head_size).result()


def _agrees(attend: Attend, device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    lengths, starts = (5, 3, 3, 1), [0, 5, 8, 11]
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(sum(lengths), 2, head_size, generator=generator).to(device) for _ in range(4)]
    rows, weight = [values.to(dtype).requires_grad_() for values in drawn[:3]], drawn[3]
    wide = [row.detach().float().requires_grad_() for row in rows]

    def and_gradients(all_ask: Tensor, first_asks: Tensor, inputs: list[Tensor]) -> list[Tensor]:
        total = (all_ask * weight).sum() + (first_asks * weight[starts]).sum()
        return [all_ask, first_asks, *torch.autograd.grad(total, inputs)]

    sequences, firsts = Sequences.of(lengths, device), Sequences.of([1] * len(lengths), device)
    try:
        all_ask = attend(*rows, sequences, sequences, 0.0)
        found = and_gradients(all_ask, attend(rows[0][starts], *rows[1:], firsts, sequences, 0.0), rows)
    except (AssertionError, AttributeError, ImportError, RuntimeError, TypeError, ValueError):
        return False
    blocks = zip(*(row.split(lengths) for row in wide), strict=True)
    all_ask = torch.cat([_written_out(*block) for block in blocks])
    expected = and_gradients(all_ask, all_ask[starts], wide)
    return all(
        torch.allclose(one.float(), other, rtol=TOLERANCE, atol=TOLERANCE)
        for one, other in zip(found, expected, strict=True)
    )


def _written_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One sequence, (S, H, K) each -> (S, H, K)"""
    query, key, value = (rows.transpose(0, 1).unsqueeze(0) for rows in (query, key, value))
    return reference.attention(query, key, value, None, 0.0).squeeze(0).transpose(0, 1)
