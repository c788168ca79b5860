"""Heads: which layers, in which order, of which sizes; features of pairs one by one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minbert import Projection
from multitask.config.task_config import ACTIVATIONS, PAIR_FEATURES
from multitask.losses.regression import angle_similarity
from multitask.model.heads import (
    AngleHead,
    CosineHead,
    MLPHead,
    ProjectedHead,
    pair_feature_size,
    pair_features,
)

U = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
V = torch.tensor([[2.0, 0.0, -1.0], [1.0, 1.0, 1.0]])
EXPECTED = {
    "u": U,
    "v": V,
    "difference": torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]),
    "product": torch.tensor([[2.0, 0.0, -2.0], [0.0, 0.0, 0.0]]),
    "cosine": torch.tensor([[0.0], [0.0]]),
}


@pytest.mark.parametrize("name", PAIR_FEATURES)
def test_each_feature(name):
    torch.testing.assert_close(pair_features(U, V, [name]), EXPECTED[name])
    assert pair_feature_size(3, [name]) == EXPECTED[name].shape[1]


def test_features_stand_in_the_order_of_their_names():
    names = ["cosine", "product", "u", "difference"]
    features = pair_features(U, V, names)
    assert features.shape == (2, 10) and pair_feature_size(3, names) == 10
    torch.testing.assert_close(features, torch.cat([EXPECTED[name] for name in names], dim=1))


def test_cosine_head_has_no_parameters():
    head = CosineHead()
    u = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 1.0]])
    v = torch.tensor([[6.0, 8.0], [0.0, 2.0], [-1.0, -1.0]])
    torch.testing.assert_close(head(u, v), torch.tensor([1.0, 0.0, -1.0]))
    assert list(head.parameters()) == []


def test_a_linear_head_is_dropout_and_a_linear_layer_initialised_as_bert():
    torch.manual_seed(0)
    head = MLPHead(200, 100, dropout=0.25)
    assert [type(layer) for layer in head] == [nn.Dropout, nn.Linear]
    assert head[0].p == 0.25 and head[1].bias.abs().sum() == 0
    assert head[1].weight.std().item() == pytest.approx(0.02, rel=0.03)
    x = torch.randn(5, 200)
    torch.testing.assert_close(head.eval()(x), x @ head[1].weight.T + head[1].bias)


FUNCTIONS = {
    "identity": lambda x: x,
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),
    "rrelu": lambda x: torch.where(x > 0, x, (1 / 8 + 1 / 3) / 2 * x),  # the mean slope, in evaluation
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_layers_are_activated_and_the_last_is_not(activation):
    head = MLPHead(4, 2, hidden=(6, 5), activation=activation, dropout=0.0).eval()
    linear = [layer for layer in head if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(6, 4), (5, 6), (2, 5)]
    function = FUNCTIONS.get(activation) or getattr(F, activation)
    x = torch.randn(3, 4) * 50
    expected = linear[2](function(linear[1](function(linear[0](x)))))
    torch.testing.assert_close(head(x), expected)


def test_layer_norm_stands_after_each_hidden_layer():
    torch.manual_seed(0)
    head = MLPHead(4, 2, hidden=(6, 5), activation="silu", layer_norm=True, dropout=0.5).eval()
    hidden = [nn.Dropout, nn.Linear, nn.SiLU, nn.LayerNorm]
    assert [type(layer) for layer in head] == [*hidden, *hidden, nn.Dropout, nn.Linear]
    x = expected = torch.randn(3, 4) * 50
    for linear in (head[1], head[5]):
        active = F.silu(expected @ linear.weight.T + linear.bias)
        expected = F.layer_norm(active, active.shape[1:], eps=1e-12)
    expected = expected @ head[9].weight.T + head[9].bias
    torch.testing.assert_close(head(x), expected, atol=1e-5, rtol=1e-5)


def test_angle_head_gives_the_cosine_and_the_angle():
    head = AngleHead()
    u, v = torch.randn(2, 5, 6).unbind()
    outputs = head(u, v)
    assert outputs.shape == (5, 2) and list(head.parameters()) == []
    torch.testing.assert_close(outputs[:, 0], CosineHead()(u, v))
    torch.testing.assert_close(outputs[:, 1], angle_similarity(u, v))


def test_projected_head():
    head = ProjectedHead(6, 4, MLPHead(4, 3)).eval()
    assert isinstance(head.projection, Projection)
    x = torch.randn(5, 6)
    linear = head.projection.linear
    vectors = head.projection(x)
    torch.testing.assert_close(vectors, torch.tanh(x @ linear.weight.T + linear.bias))
    assert torch.equal(head(vectors), head.head(vectors))
    assert len(head.state_dict()) == 4
    pair = ProjectedHead(6, 4, CosineHead())
    torch.testing.assert_close(pair(x, 2 * x), torch.ones(5))
