"""Dropout with few draws: its masks are those of independent coins, whatever the shape and type.

Run: pytest tests/minbert/kernels/test_dropout.py
"""

import math

import pytest
import torch

from minbert.kernels.dropout import LEVELS, Dropout, apply_dropout, dropout_mask

RATES = [0.1, 0.5, 0.3, 1 / LEVELS]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("rate", RATES)
def test_mean_and_variance_of_the_masks(rate, dtype):
    """Values 0 and 1 / (1 - rate): mean 1, variance rate / (1 - rate), within five standard errors."""
    torch.manual_seed(0)
    count = 1_000_003
    mask = dropout_mask(torch.empty(count, dtype=dtype), rate)
    assert mask.dtype == dtype
    values = mask.double()
    kept = round(1 / float(mask.max()), 2)  # the value's own rounding apart
    assert kept == pytest.approx(1 - rate, abs=0.006)
    assert set(values.unique().tolist()) <= {0.0, float(mask.max())}
    dropped = (values == 0).double().mean().item()
    assert dropped == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / count) + 0.5 / LEVELS)
    if dtype.itemsize >= 4:
        assert values.mean().item() == pytest.approx(1, abs=5 * math.sqrt(rate / (1 - rate) / count) + 1e-5)
        assert values.var().item() == pytest.approx(rate / (1 - rate), rel=0.02, abs=1e-5)


def test_elements_are_independent_of_their_neighbours():
    """Four elements come from one draw: no correlation at any small distance."""
    torch.manual_seed(1)
    mask = dropout_mask(torch.empty(400_000), 0.5) - 1
    for distance in range(1, 9):
        correlation = (mask[:-distance] * mask[distance:]).mean().item()
        assert abs(correlation) < 5 / math.sqrt(400_000), distance


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (2, 3, 4), (0, 4)])
def test_every_shape(shape):
    mask = dropout_mask(torch.empty(shape), 0.25)
    assert mask.shape == shape
    assert ((mask == 0) | (mask == 4 / 3)).all()


def test_the_seed_decides_and_each_call_differs():
    x = torch.randn(50, 40)
    torch.manual_seed(7)
    first, second = apply_dropout(x, 0.3), apply_dropout(x, 0.3)
    torch.manual_seed(7)
    assert torch.equal(apply_dropout(x, 0.3), first)
    assert not torch.equal(first, second)


def test_the_gradient_passes_where_the_value_did():
    x = torch.randn(30, 20, dtype=torch.float64, requires_grad=True)
    out = apply_dropout(x, 0.4)
    out.sum().backward()
    kept = out != 0
    scale = LEVELS / (LEVELS - round(0.4 * LEVELS))
    torch.testing.assert_close(out[kept], x[kept] * scale, rtol=1e-12, atol=0)
    torch.testing.assert_close(x.grad, kept * torch.tensor(scale, dtype=torch.float64), rtol=1e-12, atol=0)


def test_rates_at_the_ends():
    x = torch.randn(100)
    assert apply_dropout(x, 0.0) is x
    assert not apply_dropout(x, 1.0).any()


def test_the_module_drops_in_training_only():
    module, x = Dropout(0.5), torch.ones(1000)
    assert (module(x) == 0).any()
    assert module.eval()(x) is x
