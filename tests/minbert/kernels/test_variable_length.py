"""Attention over packed rows in one call, as far as the CPU shows it, against one sequence at a time.

torch has nested tensors on the CPU, and varlen on CUDA only (tests/test_gpu.py). The self-test that decides
about a kernel sees right and wrong ones here.

Run: pytest tests/minbert/kernels/test_variable_length.py
"""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from minbert import to_device
from minbert.batch import Batch
from minbert.kernels.attention import attend
from minbert.kernels.variable_length import MANY_RUNS, Sequences, jagged, packed_attention, varlen, works

# From the layout of nested tensors that the CPU's attention computes with; CUDA's kernels have no part in it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors is in prototype:UserWarning"
)

CPU = torch.device("cpu")
HEADS, SIZE = 3, 8


def one_by_one(query, key, value, asking, asked, dropout):
    """Each sequence by torch's dense attention."""
    blocks = zip(
        query.split(asking.offsets.diff().tolist()),
        *(rows.split(asked.offsets.diff().tolist()) for rows in (key, value)),
        strict=True,
    )
    return torch.cat(
        [
            scaled_dot_product_attention(*(rows.transpose(0, 1) for rows in block)).transpose(0, 1)
            for block in blocks
        ]
    )


def make_rows(lengths, dtype=torch.float64):
    torch.manual_seed(0)
    return [
        torch.randn(sum(lengths), HEADS, SIZE, dtype=dtype).requires_grad_()
        for _ in ("query", "key", "value")
    ]


def test_sequences_are_known_to_host_and_device():
    with torch.inference_mode():
        sequences = Sequences.of([7, 3, 3, 1], CPU)
    assert not sequences.offsets.is_inference()  # autograd may keep them
    assert sequences.offsets.tolist() == [0, 7, 10, 13, 14] and sequences.offsets.dtype == torch.int32
    assert sequences[1:] == (1, 7, 3)


@pytest.mark.parametrize("lengths", [[9, 7, 7, 5, 2, 1], [4, 4], [1]])
@pytest.mark.parametrize("only_first", [False, True])
def test_nested_tensors_give_what_single_sequences_give(lengths, only_first):
    rows = make_rows(lengths)
    asked = Sequences.of(lengths, CPU)
    asking = Sequences.of([1] * len(lengths), CPU) if only_first else asked
    query = rows[0][asked.offsets[:-1]] if only_first else rows[0]
    found = jagged(query, *rows[1:], asking, asked, 0.0)
    expected = one_by_one(query, *rows[1:], asking, asked, 0.0)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad(out, rows, weight, retain_graph=True) for out in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_dropout_reaches_nested_tensors():
    """Values that are all 1 come out as the sum of the probabilities left: 1 on average, never always 1."""
    lengths = [40] * 30
    query, key, _ = make_rows(lengths)
    sequences = Sequences.of(lengths, CPU)
    sums = jagged(query, key, torch.ones_like(key), sequences, sequences, 0.25)
    assert sums.std() > 0.01 and abs(sums.mean() - 1) < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_self_test_knows_right_from_wrong(dtype):
    def whole_pack(query, key, value, asking, asked, dropout):
        return one_by_one(
            query, key, value, *(s._replace(offsets=s.offsets[[0, -1]]) for s in (asking, asked)), 0
        )

    def unscaled(query, *others):
        return one_by_one(query * SIZE**0.5, *others)

    def without_the_way_back(query, *others):
        return one_by_one(query.detach() + 0 * query, *others)

    def with_not_a_number(*others):
        return one_by_one(*others) * torch.nan

    def not_here(*others):
        raise NotImplementedError

    assert works(one_by_one, CPU, dtype, SIZE) and works(jagged, CPU, dtype, SIZE)
    for wrong in (whole_pack, unscaled, without_the_way_back, with_not_a_number, not_here, varlen):
        assert not works(wrong, CPU, dtype, SIZE), wrong


def test_the_self_test_is_made_once_whatever_the_caller_is_in():
    calls = []

    def counted(query, *others):
        calls.append(torch.is_inference_mode_enabled() or torch.is_autocast_enabled("cpu"))
        return one_by_one(query, *others)

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert works(counted, CPU, torch.float32, SIZE)
    assert works(counted, CPU, torch.float32, SIZE)
    assert calls == [False, False]  # all tokens ask, then the first ones


def test_one_call_takes_half_precision_and_many_lengths():
    def choose(count, dtype, dropout=0.0, heads=HEADS):
        lengths = list(range(count, 0, -1))
        rows = [row.detach().to(dtype).view(sum(lengths), heads, -1) for row in make_rows(lengths)]
        sequences = Sequences.of(lengths, CPU)
        return packed_attention(*rows, sequences, sequences, dropout), rows, sequences

    found, rows, sequences = choose(MANY_RUNS + 1, torch.bfloat16)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, one_by_one(*rows, sequences, sequences, 0.0), atol=0.02, rtol=0.02)
    dropped, *_ = choose(MANY_RUNS + 1, torch.bfloat16, dropout=0.5)
    assert not torch.allclose(dropped, found, atol=0.1)
    assert choose(MANY_RUNS, torch.bfloat16)[0] is None  # few lengths, and no varlen here
    assert choose(MANY_RUNS + 1, torch.float32)[0] is None
    assert choose(MANY_RUNS + 1, torch.bfloat16, heads=2)[0] is None  # 12 features a head
    mixed = [rows[0], rows[1].float(), rows[2]]
    assert packed_attention(*mixed, sequences, sequences, 0.0) is None


def test_a_layout_names_its_sequences_without_the_empty_ones():
    batch = Batch.from_sequences([[1, 2], [], [3, 4, 5], [6]], [[0, 0], [], [0, 0, 0], [0]])
    assert batch.layout.sequences.offsets.tolist() == [0, 3, 5, 6]
    assert batch.layout.first.sequences.offsets.tolist() == [0, 1, 2, 3]
    assert batch.layout.sequences is batch.layout.sequences  # copied to the device once


def test_a_layout_hands_over_what_one_call_takes():
    """The arguments that Layout.attend makes on CUDA give what its runs of equal length give."""
    torch.manual_seed(0)
    layout = Batch.from_sequences(
        [[1] * n for n in (5, 0, 9, 5, 1)], [[0] * n for n in (5, 0, 9, 5, 1)]
    ).layout
    query, key, value = (torch.randn(20, HEADS * SIZE, dtype=torch.float64) for _ in range(3))
    for cls_only in (False, True):
        asks = layout.take_first(query) if cls_only else query
        expected = attend(asks, key, value, layout, HEADS, 0.0, cls_only)
        rows = [x.unflatten(-1, (HEADS, -1)) for x in (asks, key, value)]
        asking = layout.first.sequences if cls_only else layout.sequences
        found = one_by_one(*rows, asking, layout.sequences, 0.0)
        torch.testing.assert_close(found.flatten(1), expected)


def test_a_tensor_on_its_device_stays_the_same():
    values = torch.arange(5)
    assert to_device(values, "cpu") is values
    assert to_device(values, torch.device("meta")).device.type == "meta"
