"""Both sets of kernels equal formulas written out here, and each other under gradients, in every precision.

Run: pytest tests/minbert/kernels/test_kernels.py
"""

import math

import pytest
import torch

from minbert.kernels.registry import KERNELS

BOTH = pytest.mark.parametrize("kernels", [KERNELS["reference"], KERNELS["fused"]], ids=list(KERNELS))


def naive_attention(query, key, value, mask):
    """Attention of one head, cell by cell, in Python numbers; query, key, value (S, K), mask (S, S)."""
    rows = []
    for looks, allowed in zip(query, mask, strict=True):
        seen = [j for j, free in enumerate(allowed) if free]
        scores = [sum(q * k for q, k in zip(looks, key[j], strict=True)) / len(looks) ** 0.5 for j in seen]
        total = sum(math.exp(score) for score in scores) or 1
        shares = [math.exp(score) / total for score in scores]
        columns = range(len(value[0]))
        rows.append([sum(s * value[j][k] for s, j in zip(shares, seen, strict=True)) for k in columns])
    return torch.tensor(rows, dtype=torch.float64)


@BOTH
def test_attention_equals_the_formula(kernels):
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 2, 5, 3, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 1, 5, 5, generator=generator) > 0.4
    mask[0, 0, 2] = False  # looks at nothing
    mask[1] = False
    found = kernels.attention(query, key, value, mask, 0.0)
    free = kernels.attention(query, key, value, None, 0.0)
    for b in range(2):
        for h in range(2):
            inputs = [t[b, h].tolist() for t in (query, key, value)]
            expected = naive_attention(*inputs, mask[b, 0].tolist())
            torch.testing.assert_close(found[b, h], expected, atol=1e-12, rtol=0)
            expected = naive_attention(*inputs, torch.ones(5, 5).tolist())
            torch.testing.assert_close(free[b, h], expected, atol=1e-12, rtol=0)
    assert not found[0, :, 2].any() and not found[1].any()


@BOTH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_masked_attention_is_finite_with_its_gradients(kernels, dtype):
    generator = torch.Generator().manual_seed(0)
    inputs = [
        (10 * torch.randn(2, 2, 6, 4, generator=generator)).to(dtype).requires_grad_() for _ in range(3)
    ]
    mask = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()[:, None, None, :]
    context = kernels.attention(*inputs, mask, 0.0)
    assert context.dtype == dtype and context.isfinite().all() and not context[1].any()
    context.float().sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in inputs)
    assert not inputs[2].grad[0, :, 2:].any()  # nothing reaches masked tokens


@BOTH
def test_dropout_of_attention_keeps_the_mean(kernels):
    torch.manual_seed(0)
    query, key = torch.zeros(2, 1, 1, 4, 2)
    value = torch.ones(1, 1, 4, 2)
    runs = torch.stack([kernels.attention(query, key, value, None, 0.5) for _ in range(2000)])
    assert runs.std() > 0.1
    torch.testing.assert_close(runs.mean(), torch.tensor(1.0), atol=0.03, rtol=0)


@BOTH
def test_layer_norm_equals_the_formula(kernels):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(n, 7, generator=generator, dtype=torch.float64) for n in (4, 1, 1))
    found = kernels.layer_norm(x, weight[0], bias[0], 1e-3)
    for row, values in zip(found, x.tolist(), strict=True):
        mean = sum(values) / 7
        scale = math.sqrt(sum((v - mean) ** 2 for v in values) / 7 + 1e-3)
        expected = (
            torch.tensor([(v - mean) / scale for v in values], dtype=torch.float64) * weight[0] + bias[0]
        )
        torch.testing.assert_close(row, expected, atol=1e-12, rtol=0)


@BOTH
def test_gelu_equals_the_formula(kernels):
    values = [-20.0, -3.0, -0.5, 0.0, 0.1, 1.0, 5.0]
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in values]
    found = kernels.gelu(torch.tensor(values, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-15, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@BOTH
def test_layer_norm_statistics_are_not_half_precision(kernels, dtype):
    """Values around 1000 differ by 4: in half precision their squares would overflow or vanish."""
    x = torch.tensor([[1000.0, 1004.0, 1008.0, 1012.0]]).to(dtype)
    found = kernels.layer_norm(x, torch.ones(4, dtype=dtype), torch.zeros(4, dtype=dtype), 1e-12)
    exact = kernels.layer_norm(x.double(), torch.ones(4).double(), torch.zeros(4).double(), 1e-12)
    torch.testing.assert_close(found.double(), exact, atol=0.02, rtol=0)
