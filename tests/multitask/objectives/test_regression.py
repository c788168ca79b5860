"""Squared errors on a label scale and Pearson's r as losses, against formulas and scipy; gradients."""

import pytest
import torch
from scipy.stats import pearsonr

from minbert import InputError
from multitask.objectives.regression import (
    mean_squared_error,
    pearson_loss,
    rescale,
    scaled_mean_squared_error,
)


def random_pair(count: int = 12, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, count, generator=generator, dtype=dtype).unbind()


@pytest.mark.parametrize(
    ("label_scale", "expected"),
    [((0.0, 1.0), [0.0, 0.5, 1.0, 0.92]), ((-1.0, 1.0), [-1.0, 0.0, 1.0, 0.84])],
)
def test_scores_are_put_on_the_label_scale(label_scale, expected):
    scores = torch.tensor([0.0, 2.5, 5.0, 4.6])
    torch.testing.assert_close(rescale(scores, 0.0, 5.0, label_scale), torch.tensor(expected))
    outputs = torch.tensor([0.1, -0.2, 0.9, 0.3])
    by_hand = sum((o - e) ** 2 for o, e in zip(outputs.tolist(), expected, strict=True)) / 4
    loss = scaled_mean_squared_error(outputs, scores, 0.0, 5.0, label_scale)
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
    assert scaled_mean_squared_error(torch.tensor(expected), scores, 0.0, 5.0, label_scale) < 1e-12


def test_scores_that_do_not_begin_at_zero():
    assert rescale(torch.tensor([1.0, 2.0, 5.0]), 1.0, 5.0, (0.0, 1.0)).tolist() == [0.0, 0.25, 1.0]


def test_pearson_loss_is_one_minus_r():
    outputs, scores = random_pair()
    assert 1 - pearson_loss(outputs, scores).item() == pytest.approx(pearsonr(outputs, scores)[0], abs=1e-12)
    assert pearson_loss(scores * 3 + 7, scores).item() == pytest.approx(0, abs=1e-12)
    assert pearson_loss(-scores, scores).item() == pytest.approx(2, abs=1e-12)


def test_pearson_loss_of_cosines_that_hardly_differ():
    outputs, scores = random_pair()
    close = 0.98 + 1e-4 * outputs
    loss = pearson_loss(close.float(), scores.float())
    assert 1 - loss.item() == pytest.approx(pearsonr(close, scores)[0], abs=2e-3)


@pytest.mark.parametrize("constant", ["outputs", "scores", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_batch_gives_one_and_no_gradient(constant, dtype):
    outputs, scores = random_pair(dtype=dtype)
    if constant != "scores":
        outputs = torch.full_like(outputs, 0.3)  # whose mean is not 0.3 to the bit
    if constant != "outputs":
        scores = torch.full_like(scores, 4.6)
    outputs.requires_grad_()
    loss = pearson_loss(outputs, scores)
    loss.backward()
    assert loss.item() == 1
    assert torch.equal(outputs.grad, torch.zeros_like(outputs))


def test_a_single_example_has_no_r():
    outputs = torch.tensor([0.4], requires_grad=True)
    loss = pearson_loss(outputs, torch.tensor([3.0]))
    loss.backward()
    assert loss.item() == 1 and outputs.grad.item() == 0


@pytest.mark.parametrize(
    "loss",
    [
        mean_squared_error,
        pearson_loss,
        lambda outputs, scores: scaled_mean_squared_error(outputs, scores, 0.0, 5.0, (-1.0, 1.0)),
    ],
)
def test_gradients_and_shapes(loss):
    outputs, scores = random_pair()
    assert torch.autograd.gradcheck(lambda x: loss(x, scores), outputs.requires_grad_())
    with pytest.raises(InputError, match=r"outputs have shape \(12,\), targets \(12, 1\)"):
        loss(outputs, scores[:, None])
    with pytest.raises(InputError, match="they must be equal"):
        loss(outputs[:1], scores)
