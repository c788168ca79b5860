"""Heads of tasks, from sentence vectors to outputs. B examples, D hidden size, C outputs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert import Projection
from multitask.config.task_config import ACTIVATIONS
from multitask.losses.regression import angle_similarity


class MLPHead(nn.Sequential):
    """Dropout and a linear layer to C outputs, after hidden layers of the sizes given: (B, D) -> (B, C).

    A hidden layer is dropout, a linear layer, the activation and, where wanted, a layer norm, in the order of
    BERT's own head for masked tokens. Weights are normal with deviation 0.02 and biases zero, as in BERT.
    `activation` is a name of ACTIVATIONS in multitask/config/task_config.py.
    """

    def __init__(
        self,
        size_in: int,
        size_out: int,
        hidden: Sequence[int] = (),
        activation: str = "gelu",
        dropout: float = 0.1,
        layer_norm: bool = False,
    ):
        layers: list[nn.Module] = []
        size = size_in
        for hidden_size in hidden:
            layers += [nn.Dropout(dropout), nn.Linear(size, hidden_size), make_activation(activation)]
            layers += [nn.LayerNorm(hidden_size, eps=1e-12)] if layer_norm else []
            size = hidden_size
        super().__init__(*layers, nn.Dropout(dropout), nn.Linear(size, size_out))
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)


def make_activation(name: str) -> nn.Module:
    """Returns the activation of torch.nn that has this name in ACTIVATIONS."""
    return getattr(nn, ACTIVATIONS[name])()


class CosineHead(nn.Module):
    """The cosine of two vectors, without parameters: u, v (B, D) -> (B,)."""

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        return F.cosine_similarity(u, v, dim=-1)


class AngleHead(CosineHead):
    """The cosine, which predicts, and beside it AnglE's similarity, which trains: u, v (B, D) -> (B, 2)."""

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        return torch.stack([super().forward(u, v), angle_similarity(u, v)], dim=-1)


class ProjectedHead(nn.Module):
    """A head for sentence vectors of another size: `project` (B, D) -> (B, P), then the head on the outcome.

    Both towers of a pair go through the one projection, a linear layer and tanh. It is stored with the head.
    """

    def __init__(self, hidden_size: int, size: int, head: nn.Module):
        super().__init__()
        self.projection = Projection(hidden_size, size)
        self.head = head

    def forward(self, *vectors: Tensor) -> Tensor:
        """Returns the head's outputs for vectors that are projected already."""
        return self.head(*vectors)


_FEATURES = {  # by the names of multitask.config.task_config.PAIR_FEATURES
    "u": lambda u, v: u,
    "v": lambda u, v: v,
    "difference": lambda u, v: (u - v).abs(),
    "product": lambda u, v: u * v,
    "cosine": lambda u, v: F.cosine_similarity(u, v, dim=-1).unsqueeze(-1),
}


def pair_features(u: Tensor, v: Tensor, names: Sequence[str]) -> Tensor:
    """Concatenates chosen features of two vectors (B, D) (Reimers and Gurevych 2019, section 3.1)."""
    return torch.cat([_FEATURES[name](u, v) for name in names], dim=-1)


def pair_feature_size(hidden_size: int, names: Sequence[str]) -> int:
    """Returns the width of `pair_features` for vectors of a size."""
    return sum(1 if name == "cosine" else hidden_size for name in names)
