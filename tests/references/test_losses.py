"""The references of the losses against torch: values, gradients by autograd, and the file itself.

Run: pytest tests/references/test_losses.py
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minbert.check.fixtures import read_fixture
from minbert.check.references.make import fixture_path, is_up_to_date
from references.losses import LARGE, LOSSES, NUMBERS

FILE = fixture_path("losses")


def focal(logits, labels, gamma):
    losses = F.cross_entropy(logits, labels, reduction="none")
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean()


def all_cosines(u, v):
    return F.cosine_similarity(u[:, None], v[None], dim=-1)


def mnrl_with_negatives(anchors, positives, negatives, scale):
    scores = scale * all_cosines(anchors, torch.cat([positives, negatives]))
    return F.cross_entropy(scores, torch.arange(len(anchors)))


def cosent(cosines, labels, scale):
    terms = [
        scale * (cosines[j] - cosines[i])
        for i in range(len(labels))
        for j in range(len(labels))
        if labels[i] > labels[j]
    ]
    return torch.logsumexp(torch.stack([torch.zeros_like(cosines[0]), *terms]), dim=0)


def symmetric_kl(p_logits, q_logits):
    log_p, log_q = F.log_softmax(p_logits, dim=-1), F.log_softmax(q_logits, dim=-1)
    return sum(
        F.kl_div(a, b, log_target=True, reduction="batchmean") / 2
        for a, b in ((log_q, log_p), (log_p, log_q))
    )


ORACLES = {
    "cross_entropy": F.cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    "focal": focal,
    "mean_squared_error": F.mse_loss,
    "cosine_similarity_loss": lambda u, v, labels: F.mse_loss(F.cosine_similarity(u, v), labels),
    "simcse": lambda first, second, t: F.cross_entropy(
        all_cosines(first, second) / t, torch.arange(len(first))
    ),
    "mnrl": lambda a, p, scale: F.cross_entropy(scale * all_cosines(a, p), torch.arange(len(a))),
    "mnrl_with_negatives": mnrl_with_negatives,
    "cosent": cosent,
    "symmetric_kl": symmetric_kl,
}


@pytest.fixture(scope="module")
def tensors():
    return read_fixture(FILE)[0]


def inputs_of(tensors, name):
    """The tensors of a loss in the order of its arguments, floating ones in fp64 with gradients."""
    function = LOSSES[name.removeprefix("large_")]
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    found = {}
    for argument in names:
        value = tensors.get(f"{name}.{argument}")
        if value is not None:
            found[argument] = torch.tensor(value, dtype=torch.float64 if value.dtype.kind == "f" else None)
    return found


@pytest.mark.parametrize("name", ORACLES)
def test_values_and_gradients(tensors, name):
    inputs = inputs_of(tensors, name)
    calls = [[number] for number in NUMBERS.get(name, [])] or [[]]
    assert len(tensors[f"{name}.loss"]) == len(calls)
    for loss, numbers in zip(tensors[f"{name}.loss"], calls, strict=True):
        assert loss == pytest.approx(float(ORACLES[name](*inputs.values(), *numbers)), abs=1e-12)

    gradients = {key for key in inputs if key != "labels"}
    assert {key for key in tensors if key.startswith(f"{name}.gradient.")} == {
        f"{name}.gradient.{key}" for key in gradients
    }
    for key in gradients:
        inputs[key].requires_grad_()
    ORACLES[name](*inputs.values(), *calls[0]).backward()
    for key in gradients:
        their = inputs[key].grad.numpy()
        np.testing.assert_allclose(tensors[f"{name}.gradient.{key}"], their, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", LARGE)
def test_large_logits(tensors, name):
    inputs = inputs_of(tensors, f"large_{name}")
    their = float(ORACLES[name](*inputs.values()))
    assert tensors[f"large_{name}.loss"].tolist() == [pytest.approx(their, rel=1e-14)]


def test_losses_are_of_order_one(tensors):
    """Where the tolerance, which is relative above 1 and absolute below, says something."""
    for name in ORACLES:
        assert all(0.2 < loss < 5 for loss in tensors[f"{name}.loss"])
        largest = [np.abs(tensors[key]).max() for key in tensors if key.startswith(f"{name}.gradient.")]
        assert all(0.01 < value < 20 for value in largest), largest


def test_making_it_again_gives_the_file():
    assert is_up_to_date("losses")
