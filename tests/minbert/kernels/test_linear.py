"""Linear layers by oneDNN: equal to the formula, with their gradients, and replaceable by it.

Run: pytest tests/minbert/kernels/test_linear.py
"""

import math

import pytest
import torch
from torch import nn

from minbert.kernels import fused, onednn
from minbert.kernels.registry import find_kernels
from minbert.model import Linear

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float64: 1e-12}
each_type = pytest.mark.parametrize("dtype", TOLERANCE)


@pytest.fixture
def without_binding(monkeypatch):
    monkeypatch.setattr(onednn, "binding_works", lambda dtype: False)


def formula(x, weight, bias, gelu):
    out = x.double() @ weight.double().t() + (0 if bias is None else bias.double())
    return out * (1 + torch.erf(out / math.sqrt(2))) / 2 if gelu else out


def data(dtype, rows=9, bias=True):
    generator = torch.Generator().manual_seed(0)
    shapes = [(rows, 16), (24, 16), (24,)]
    x, weight, b = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    return [x, weight, b if bias else None]


@each_type
@pytest.mark.parametrize(
    ("gelu", "with_gradients", "bias"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, True)],
)
@pytest.mark.parametrize("rows", [0, 1, 40])
@pytest.mark.parametrize("name", ["fused", "reference"])
def test_equals_the_formula(name, rows, bias, with_gradients, gelu, dtype):
    tensors = data(dtype, rows, bias)
    expected = formula(*tensors, gelu)
    with torch.set_grad_enabled(with_gradients):
        found = find_kernels(name).linear(*tensors, gelu)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("binding", [True, False])
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_equal_the_formulas(gelu, bias, binding, request):
    """Also for an input that is a transposed view, and a gradient that is one."""
    if not binding:
        request.getfixturevalue("without_binding")
    tensors = data(torch.float32, bias=bias)
    tensors[0] = tensors[0].t().contiguous().t()
    leaves = [tensor.requires_grad_() for tensor in tensors if tensor is not None]
    weights = torch.randn(24, 9, generator=torch.Generator().manual_seed(1)).t()
    expected = torch.autograd.grad((formula(*tensors, gelu) * weights).sum(), leaves)
    found = torch.autograd.grad((fused.linear(*tensors, gelu) * weights).sum(), leaves)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_no_gradient_is_computed_that_no_one_asked_for(monkeypatch):
    """Of a frozen weight, and of inputs that are data: one product each way, not three."""
    calls = []
    product = onednn._product
    monkeypatch.setattr(onednn, "_product", lambda *inputs: calls.append(1) or product(*inputs))
    x, weight, bias = data(torch.float32)
    fused.linear(x.requires_grad_(), weight, bias, False).sum().backward()
    assert len(calls) == 2 and weight.grad is None
    calls.clear()
    fused.linear(x.detach(), weight.requires_grad_(), bias, False).sum().backward()
    assert len(calls) == 2


@pytest.mark.skipif(not onednn.binding_works(torch.float32), reason="this torch has no such binding")
def test_what_runs_on_onednn():
    """fp32 outside autocast; half precision only for GELU; never fp64."""
    x, weight, bias = data(torch.float32)
    out = fused.linear(x.requires_grad_(), weight, bias, False)
    assert "OneDNNLinear" in type(out.grad_fn).__name__
    # oneDNN multiplies bf16 on some CPUs only
    assert onednn.onednn_takes(x.bfloat16(), weight.bfloat16()) == onednn.binding_works(torch.bfloat16)
    assert not onednn.onednn_takes(x.double(), weight.double())
    assert not onednn.onednn_takes(x, weight.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert fused.linear(x, weight, bias, False).dtype == torch.bfloat16


def test_a_binding_that_computes_something_else_is_not_used(monkeypatch):
    def wrong(x, weight, bias=None, activation="none"):
        return torch.nn.functional.linear(x, weight, bias)  # GELU forgotten

    monkeypatch.setattr(onednn, "_product", wrong)
    assert not onednn.binding_works.__wrapped__(torch.float32)

    def missing(*inputs):
        raise AttributeError("no such operator")

    monkeypatch.setattr(onednn, "_product", missing)
    assert not onednn.binding_works.__wrapped__(torch.float32)


def test_the_module_is_torchs_but_for_the_kernels():
    layer, peer = Linear(16, 24), nn.Linear(16, 24)
    peer.load_state_dict(layer.state_dict())
    x, _, _ = data(torch.float32)
    torch.testing.assert_close(layer(x), peer(x))
    torch.testing.assert_close(layer(x, gelu=True), nn.functional.gelu(peer(x)))
