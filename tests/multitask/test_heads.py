"""Heads: which layers, in which order, of which sizes; features of pairs one by one."""

import pytest
import torch
from torch import nn

from multitask.heads import ACTIVATIONS, PAIR_FEATURES, CosineHead, MLPHead, pair_feature_size, pair_features

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
    reversed_names = names[::-1]
    torch.testing.assert_close(
        pair_features(U, V, reversed_names), torch.cat([EXPECTED[name] for name in reversed_names], dim=1)
    )


def test_difference_product_and_cosine_are_symmetric():
    names = ["difference", "product", "cosine"]
    assert torch.equal(pair_features(U, V, names), pair_features(V, U, names))


def test_cosine_head_has_no_parameters():
    head = CosineHead()
    u = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 1.0]])
    v = torch.tensor([[6.0, 8.0], [0.0, 2.0], [-1.0, -1.0]])
    torch.testing.assert_close(head(u, v), torch.tensor([1.0, 0.0, -1.0]))
    assert list(head.parameters()) == []


def test_a_linear_head_is_dropout_and_a_linear_layer():
    head = MLPHead(4, 3, dropout=0.25)
    assert [type(layer) for layer in head] == [nn.Dropout, nn.Linear]
    assert head[0].p == 0.25
    x = torch.randn(5, 4)
    torch.testing.assert_close(head.eval()(x), x @ head[1].weight.T + head[1].bias)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_layers_are_activated_and_the_last_is_not(activation):
    head = MLPHead(4, 2, hidden=(6, 5), activation=activation, dropout=0.0).eval()
    linear = [layer for layer in head if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(6, 4), (5, 6), (2, 5)]
    function = {"identity": lambda x: x, "tanh": torch.tanh}.get(activation) or getattr(
        torch.nn.functional, activation
    )
    x = torch.randn(3, 4) * 50
    expected = linear[2](function(linear[1](function(linear[0](x)))))
    torch.testing.assert_close(head(x), expected)


def test_initialisation_is_that_of_bert():
    torch.manual_seed(0)
    head = MLPHead(200, 100)
    assert head[1].bias.abs().sum() == 0
    assert head[1].weight.std().item() == pytest.approx(0.02, rel=0.03)
