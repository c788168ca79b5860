"""The computations of a BERT as the papers write them: linear layer, attention, layer norm, GELU.

B sequences, H heads, S tokens, K head size, T token rows, I and O features.
"""

import math

import torch
from torch import Tensor

from minbert.kernels.dropout import apply_dropout


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu_after: bool = False) -> Tensor:
    """x W^T + b, then GELU if `gelu_after`: x (T, I), weight (O, I), bias (O,) -> (T, O)"""
    product = x @ weight.t()
    out = product if bias is None else product + bias
    return gelu(out) if gelu_after else out


def attention_probabilities(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(Q K^T / sqrt(K)) (Vaswani et al. 2017, eq. 1), in fp32 at least.

    query, key (B, H, S, K); mask (broadcastable to (B, H, S, S)) is True where a token may be attended to.
    A query that may attend to nothing gets zeros. -> (B, H, S, S)
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (B, H, S, S)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        return scores.softmax(dim=-1)
    probabilities = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
    return probabilities.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Probabilities, dropout on them, weighted sum of the values; (B, H, S, K) each."""
    probabilities = attention_probabilities(query, key, mask)
    return apply_dropout(probabilities, dropout).to(value.dtype) @ value


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimension, statistics in fp32 at least."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return (centred / torch.sqrt(variance + eps) * weight + bias).to(x.dtype)


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function of x, by the error function (Hendrycks and Gimpel 2016)."""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by a hyperbolic tangent (Hendrycks and Gimpel 2016, section 2), as Google's BERT computes it."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def relu(x: Tensor) -> Tensor:
    """max(x, 0)"""
    return x.clamp(min=0)


def silu(x: Tensor) -> Tensor:
    """x times the logistic function of x (Elfwing et al. 2017)."""
    return x * torch.sigmoid(x)
