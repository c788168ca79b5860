"""Linear layers by oneDNN, which torch links but takes for half precision only.

On CPUs with AVX-512 that are not Intel's its fp32 products can be twice as fast as MKL's, and it applies GELU
on the way out. torch's binding is private: it is tested once against the plain formula, and without it
everything runs on torch's own product. T rows, I and O features.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def onednn_takes(x: Tensor, weight: Tensor) -> bool:
    """Returns True for rows (T, I) that OneDNNLinear and linear_gelu accept: CPU, one type, no autocast.

    Weights of another class than torch's, such as quantized ones, have products of their own.
    """
    return (
        not torch.compiler.is_compiling()  # the compiler has products of its own
        and type(weight) in (Tensor, nn.Parameter)
        and x.ndim == 2
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.bfloat16)
        and not torch.is_autocast_enabled("cpu")
        and binding_works(x.dtype)
    )


class OneDNNLinear(torch.autograd.Function):
    """x W^T + b and its gradients: x (T, I), weight (O, I), bias (O,) or None -> (T, O)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if wants_x else None,
            _product(gradient.t(), x.t()) if wants_weight else None,
            gradient.sum(dim=0) if wants_bias else None,
        )


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """gelu(x W^T + b) in one pass, without gradients; (T, I) -> (T, O)"""
    return _product(x, weight, bias, "gelu")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    # `.default`: to choose the overload anew at each call takes longer than a small product.
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, activation, [], "none")


@cache
def binding_works(dtype: torch.dtype) -> bool:
    """Self-test: True if torch's binding exists and is right, for the transposed views of gradients too."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=generator).to(dtype) for shape in ((6, 5), (7, 5), (7,)))
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    with torch.no_grad():
        plain = F.linear(x, weight, bias)
        try:
            found = _product(x, weight, bias), _product(plain, weight.t()), _product(plain.t(), x.t())
            activated = linear_gelu(x, weight, bias)
        except (AttributeError, RuntimeError, TypeError, NotImplementedError):
            return False
        expected = plain, plain @ weight, plain.t() @ x
        pairs = [*zip(found, expected, strict=True), (activated, F.gelu(plain))]
        return all(torch.allclose(a, b, **tolerance) for a, b in pairs)
