"""The computations that decide a BERT's speed, written out ("reference") and in one call ("fused").

Shapes: B sequences, H heads, S tokens, K head size. One switch serves the whole model; both sets agree
at every stage, which the tests check.
"""

import math
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.errors import InputError, did_you_mean
from minbert.kernels.dropout import apply_dropout
from minbert.kernels.onednn import OneDNNLinear, linear_gelu, onednn_takes

# Tokens up to which plain products are the faster attention on the CPU.
SENTENCE = {torch.float32: 128, torch.bfloat16: 256}


class Attention(Protocol):
    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float
    ) -> Tensor: ...


class LayerNorm(Protocol):
    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor: ...


class Activation(Protocol):
    def __call__(self, x: Tensor) -> Tensor: ...


class Linear(Protocol):
    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor: ...


class Kernels(NamedTuple):
    linear: Linear
    attention: Attention
    layer_norm: LayerNorm
    gelu: Activation


def linear_reference(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """x W^T + b, then GELU where `gelu`: x (T, I), weight (O, I), bias (O,) -> (T, O)"""
    product = x @ weight.t()
    out = product if bias is None else product + bias
    return gelu_reference(out) if gelu else out


def linear_fused(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """The same by oneDNN on the CPU, else by torch's call."""
    fast = onednn_takes(x, weight)
    if fast and gelu and not torch.is_grad_enabled():
        return linear_gelu(x, weight, bias)
    fast = fast and x.dtype == torch.float32  # in half precision it is oneDNN that torch calls
    out = OneDNNLinear.apply(x, weight, bias) if fast else F.linear(x, weight, bias)
    return gelu_fused(out) if gelu else out


def attention_probabilities(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(Q K^T / sqrt(K)) (Vaswani et al. 2017, eq. 1), in fp32 at least.

    query, key (B, H, S, K); mask (broadcastable to (B, H, S, S)) is True where a token may be looked at.
    A query that may look at nothing gets zeros. -> (B, H, S, S)
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # (B, H, S, S)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        return scores.softmax(dim=-1)
    probabilities = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
    return probabilities.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)


def attention_reference(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float
) -> Tensor:
    """As in the paper: probabilities, dropout on them, weighted sum of the values. -> (B, H, S, K)"""
    probabilities = attention_probabilities(query, key, mask)
    return apply_dropout(probabilities, dropout).to(value.dtype) @ value


def attention_fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """The same by torch's kernel, whose NaN for empty rows is kept out. -> (B, H, S, K)

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


def layer_norm_reference(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimension, statistics in fp32 at least."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return (centred / torch.sqrt(variance + eps) * weight + bias).to(x.dtype)


def layer_norm_fused(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, weight.shape, weight, bias, eps)


def gelu_reference(x: Tensor) -> Tensor:
    """x times the normal distribution function of x, by the error function (Hendrycks and Gimpel 2016)."""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def gelu_fused(x: Tensor) -> Tensor:
    return F.gelu(x)


KERNELS = {
    "reference": Kernels(linear_reference, attention_reference, layer_norm_reference, gelu_reference),
    "fused": Kernels(linear_fused, attention_fused, layer_norm_fused, gelu_fused),
}


def find_kernels(name: str) -> Kernels:
    """The kernels called `name`; raises InputError for a name that is not in KERNELS."""
    if name not in KERNELS:
        raise InputError(
            f"kernels {name!r} do not exist; choose from {', '.join(KERNELS)}{did_you_mean(name, KERNELS)}"
        )
    return KERNELS[name]
