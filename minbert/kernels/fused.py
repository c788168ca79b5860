"""The computations of minbert/kernels/reference.py in one call each, by oneDNN or torch."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.kernels.dropout import apply_dropout
from minbert.kernels.onednn import OneDNNLinear, linear_gelu, onednn_takes

# Tokens up to which plain products are the faster attention on the CPU.
SENTENCE = {torch.float32: 128, torch.bfloat16: 256}


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu_after: bool = False) -> Tensor:
    """By oneDNN on the CPU, else by torch's call: x (T, I), weight (O, I), bias (O,) -> (T, O)"""
    fast = onednn_takes(x, weight)
    if fast and gelu_after and not torch.is_grad_enabled():
        return linear_gelu(x, weight, bias)
    fast = fast and x.dtype == torch.float32  # in half precision it is oneDNN that torch calls
    out = OneDNNLinear.apply(x, weight, bias) if fast else F.linear(x, weight, bias)
    return gelu(out) if gelu_after else out


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """By torch's kernel, whose NaN for empty rows is kept out; (B, H, S, K) each.

    On the CPU that kernel is slower than two products and a softmax for sentences, and under dropout always.
    """
    short = key.shape[-2] <= SENTENCE.get(key.dtype, 0)
    if mask is None and query.device.type == "cpu" and (dropout or short):
        scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)
        return apply_dropout(scores.softmax(dim=-1), dropout).to(value.dtype) @ value
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    empty = ~mask.any(dim=-1, keepdim=True)
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask | empty, dropout_p=dropout)
    return context.masked_fill(empty, 0.0)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """By torch's kernel, over the last dimension."""
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def gelu(x: Tensor) -> Tensor:
    """By torch's kernel, with the error function."""
    return F.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """By torch's kernel, with the hyperbolic tangent."""
    return F.gelu(x, approximate="tanh")


relu, silu = F.relu, F.silu
