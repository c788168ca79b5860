"""What stands between a sentence vector and a task's outputs. B examples, D hidden size, C outputs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}


class MLPHead(nn.Sequential):
    """Dropout and a linear layer to C outputs, with activated hidden layers in between where sizes are given.

    (B, D) -> (B, C). Weights are normal with deviation 0.02 and biases zero, as in BERT.
    """

    def __init__(
        self,
        size_in: int,
        size_out: int,
        hidden: Sequence[int] = (),
        activation: str = "gelu",
        dropout: float = 0.1,
    ):
        sizes = [size_in, *hidden, size_out]
        layers: list[nn.Module] = []
        for i in range(len(sizes) - 1):
            if i:
                layers.append(ACTIVATIONS[activation]())
            layers += [nn.Dropout(dropout), nn.Linear(sizes[i], sizes[i + 1])]
        super().__init__(*layers)
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)


class CosineHead(nn.Module):
    """The cosine of two vectors, without parameters: u, v (B, D) -> (B,)."""

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        return F.cosine_similarity(u, v, dim=-1)


PAIR_FEATURES = {
    "u": lambda u, v: u,
    "v": lambda u, v: v,
    "difference": lambda u, v: (u - v).abs(),
    "product": lambda u, v: u * v,
    "cosine": lambda u, v: F.cosine_similarity(u, v, dim=-1).unsqueeze(-1),
}


def pair_features(u: Tensor, v: Tensor, names: Sequence[str]) -> Tensor:
    """Chosen features of two vectors (B, D), side by side (Reimers and Gurevych 2019, section 3.1)."""
    return torch.cat([PAIR_FEATURES[name](u, v) for name in names], dim=-1)


def pair_feature_size(hidden_size: int, names: Sequence[str]) -> int:
    """The width of `pair_features` for vectors of that size."""
    return sum(1 if name == "cosine" else hidden_size for name in names)
