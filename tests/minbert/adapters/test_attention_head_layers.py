"""Hidden layers of attention heads: the identity at first, and able to learn from there.

The formula within the encoder is compared in test_encoder.py.
Run: pytest tests/minbert/adapters/test_attention_head_layers.py
"""

import torch

from minbert.adapters.attention_head_layers import AttentionHeadLayer


def make():
    return AttentionHeadLayer(heads=3, head_size=4).double()


def test_first_gradient_is_half_of_a_linear_layers():
    """At zero, gelu' is 1/2: dL/dW_h = 1/2 x_h^T dL/dy_h, dL/db_h = 1/2 the sum of dL/dy_h."""
    layer = make()
    generator = torch.Generator().manual_seed(0)
    x, upstream = torch.randn(2, 7, 12, generator=generator, dtype=torch.float64)
    assert torch.equal(layer(x), x)
    layer(x).backward(upstream)
    for head in range(3):
        own = slice(4 * head, 4 * head + 4)
        expected = 0.5 * x[:, own].T @ upstream[:, own]
        torch.testing.assert_close(layer.weight.grad[head], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.bias.grad[own], 0.5 * upstream[:, own].sum(0), rtol=0, atol=1e-12)


def test_no_rows():
    assert make()(torch.zeros(0, 12, dtype=torch.float64)).shape == (0, 12)
