"""Losses of scores, and AnglE's similarity, against formulas, scipy, sentence-transformers; gradients."""

import math

import pytest
import torch
from scipy.stats import pearsonr

from minbert import InputError
from multitask.losses.regression import (
    angle_similarity,
    cosent,
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


SCORES = torch.tensor([0.0, 5.0, 1.5, 4.6, 1.5, 0.0, 2.0])


@pytest.mark.parametrize("temperature", [0.05, 0.4])
def test_cosent_is_a_sum_over_pairs_of_examples(temperature, normal):
    outputs = normal(7).tanh()
    total = 1.0
    for i in range(7):
        for j in range(7):
            if SCORES[i] > SCORES[j]:
                total += math.exp((outputs[j].item() - outputs[i].item()) / temperature)
    assert cosent(outputs, SCORES, temperature).item() == pytest.approx(math.log(total), abs=1e-9)


def test_cosent_counts_the_order_only(normal):
    outputs = normal(7).tanh()
    expected = cosent(outputs, SCORES).item()
    assert cosent(outputs, SCORES.exp()).item() == expected
    assert cosent(outputs + 3, SCORES * 0.1 - 7).item() == pytest.approx(expected, abs=1e-9)
    ordered = cosent(SCORES.double(), SCORES)
    assert 0 < ordered < 1e-3 < 1 < cosent(-SCORES.double(), SCORES)


@pytest.mark.parametrize("scale", [20.0, 2.0])
def test_cosent_equals_the_librarys(scale, normal, peer):
    u, v = normal(2, 7, 6)
    cosines = torch.nn.functional.cosine_similarity(u, v)
    expected = peer("CoSENTLoss", torch.stack([u, v], dim=1), SCORES, scale=scale)
    assert cosent(cosines, SCORES, 1 / scale).item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("size", [2, 5, 6])
def test_angle_similarity_is_a_quotient_of_complex_numbers(size, normal):
    u, v = normal(2, 7, size)
    expected = []
    for a, b in zip(u.tolist(), v.tolist(), strict=True):
        a, b = (x + [0.0] * (size % 2) for x in (a, b))
        half = len(a) // 2
        quotient = sum(
            complex(a[k], a[half + k]) * complex(b[k], b[half + k]).conjugate() for k in range(half)
        )
        lengths = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
        expected.append(abs(quotient.real + quotient.imag) / lengths)
    assert angle_similarity(u, v).tolist() == pytest.approx(expected, abs=1e-9)
    assert angle_similarity(u, u).tolist() == pytest.approx([1.0] * 7, abs=1e-12)


@pytest.mark.parametrize("size", [6, 7])
def test_angle_equals_the_librarys(size, normal, peer):
    vectors = normal(7, 2, size)
    expected = peer("AnglELoss", vectors, SCORES)
    loss = cosent(angle_similarity(vectors[:, 0], vectors[:, 1]), SCORES)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)


def test_gradient_of_the_angle(normal):
    u, v = normal(4, 5).requires_grad_(), normal(4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(angle_similarity, (u, v))
    with pytest.raises(InputError, match="they must be equal"):
        angle_similarity(u, v[:1])


def test_equal_scores_have_no_order():
    outputs = torch.tensor([0.4, 0.9], requires_grad=True)
    loss = cosent(outputs, torch.tensor([3.0, 3.0]))
    loss.backward()
    assert loss.item() == 0 and outputs.grad.tolist() == [0, 0]


def test_far_outputs_stay_finite():
    outputs = torch.tensor([1e6, -1e6, 0.0], requires_grad=True)
    loss = cosent(outputs, torch.tensor([0.0, 1.0, 2.0]))
    loss.backward()
    assert loss.isfinite() and outputs.grad.isfinite().all()


@pytest.mark.parametrize("loss", [mean_squared_error, pearson_loss, cosent])
def test_half_precision_is_raised(loss):
    outputs, scores = (x.half() for x in random_pair())
    assert loss(outputs, scores).dtype == torch.float32
    assert torch.equal(loss(outputs, scores), loss(outputs.float(), scores.float()))


@pytest.mark.parametrize(
    "loss",
    [
        mean_squared_error,
        pearson_loss,
        cosent,
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
