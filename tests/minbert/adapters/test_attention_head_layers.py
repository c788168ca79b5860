"""Hidden layers of attention heads: each head its own, the identity at first, and able to learn from there.

The formula within the encoder is compared in test_encoder.py.
Run: pytest tests/minbert/adapters/test_attention_head_layers.py
"""

import torch

from minbert.adapters.attention_head_layers import AttentionHeadLayer
from minbert.kernels.registry import KERNELS, use


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


def test_a_head_does_not_see_the_others():
    layer = make()
    torch.nn.init.normal_(layer.weight)
    x = torch.randn(5, 12, dtype=torch.float64)
    changed = x.clone()
    changed[:, 4:8] += 1
    difference = (layer(changed) - layer(x)).abs().amax(dim=0)
    assert difference[4:8].min() > 0 and not difference[:4].any() and not difference[8:].any()


def test_gradients_are_right():
    for kernels in KERNELS:
        layer = make()
        torch.manual_seed(0)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
        x = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
        weight, bias = layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_()

        def call(x, weight, bias, layer=layer):
            return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

        with use(kernels):
            assert torch.autograd.gradcheck(call, (x, weight, bias))


def test_no_rows():
    assert make()(torch.zeros(0, 12, dtype=torch.float64)).shape == (0, 12)
