"""Losses against their formulas written out, torch, scipy, scikit-learn and sentence-transformers."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import pearsonr
from sklearn.metrics import log_loss

from minbert import InputError
from multitask.losses.classification import binary_cross_entropy, cross_entropy, focal
from multitask.losses.divergence import squared_difference, symmetric_binary_kl, symmetric_kl
from multitask.losses.ordinal import ordinal, ordinal_levels
from multitask.losses.regression import (
    angle_similarity,
    cosent,
    pearson_loss,
    rescale,
    scaled_mean_squared_error,
)

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0], [9.0, -9.0, 0.0]]).double()
CLASSES = torch.tensor([0, 2, 0, 1])
WEIGHTS = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)
PROBABILITIES = LOGITS.exp() / LOGITS.exp().sum(dim=1, keepdim=True)
SCORES = torch.tensor([0.0, 5.0, 1.5, 4.6, 1.5, 0.0, 2.0])
either_weights = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["even", "weighted"])


def weight_of(weights, label):
    return 1 if weights is None else weights[label].item()


# Classes


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@either_weights
def test_cross_entropy(smoothing, weights):
    by_torch = F.cross_entropy(LOGITS, CLASSES, weights, label_smoothing=smoothing)
    mean_weight = 1 if weights is None else weights[CLASSES].mean()  # torch divides by the sum of weights
    loss = cross_entropy(LOGITS, CLASSES, smoothing, weights).item()
    assert loss == pytest.approx((by_torch * mean_weight).item(), abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@either_weights
def test_focal(gamma, weights):
    total = 0.0
    for i, label in enumerate(CLASSES.tolist()):
        rest = sum(PROBABILITIES[i, c].item() for c in range(3) if c != label)
        total -= weight_of(weights, label) * rest**gamma * math.log(PROBABILITIES[i, label])
    assert focal(LOGITS, CLASSES, gamma, weights).item() == pytest.approx(total / 4, abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("label", [0, 1])
def test_focal_of_an_example_that_is_surely_right_or_wrong_has_a_gradient(gamma, label):
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    focal(logits, torch.tensor([label]), gamma).backward()
    assert logits.grad.isfinite().all() and (logits.grad.abs().max() > 0.9) == (label == 1)


@pytest.mark.parametrize("loss", [cross_entropy, focal])
def test_a_weighted_loss_is_the_mean_of_the_examples_losses(loss):
    """So that batches which are accumulated give the big batch's gradients."""
    together = loss(LOGITS, CLASSES, class_weights=WEIGHTS)
    alone = [loss(LOGITS[i : i + 1], CLASSES[i : i + 1], class_weights=WEIGHTS) for i in range(4)]
    torch.testing.assert_close(together, torch.stack(alone).mean())
    assert loss(LOGITS, CLASSES, class_weights=torch.zeros(3)) == 0
    assert loss(torch.tensor([[1e4, -1e4]]), torch.tensor([1])) == 2e4
    with pytest.raises(InputError, match=r"class weights have shape \(2,\), .* one for each class"):
        loss(LOGITS, CLASSES, class_weights=torch.ones(2))


def test_binary_cross_entropy():
    logits, labels = torch.tensor([0.3, -2.0, 5.0, 0.0]).double(), torch.tensor([1, 0, 0, 1])
    expected = log_loss(labels, 1 / (1 + (-logits).exp()))
    for targets in (labels, labels.float()):
        assert binary_cross_entropy(logits, targets).item() == pytest.approx(expected, rel=1e-9)
    assert binary_cross_entropy(torch.tensor([1e4, -1e4]), torch.tensor([0.0, 1.0])) == 1e4


def test_ordinal(normal):
    logits, labels = normal(6, 4), torch.tensor([0, 4, 2, 1, 3, 4])
    bits, probabilities = labels[:, None] > torch.arange(4), 1 / (1 + (-logits).exp())
    expected = log_loss(bits.flatten(), probabilities.flatten())
    assert ordinal(logits, labels).item() == pytest.approx(expected, abs=1e-9)
    sure = torch.tensor([[-9.0] * 4, [9, -9, -9, -9], [9, 9, -9, -9], [9, 9, 9, -9], [9.0] * 4])  # 0 to 4
    assert ordinal_levels(sure).tolist() == [0, 1, 2, 3, 4]
    # Answers that contradict one another are counted; 0 itself counts as no.
    logits = torch.tensor([[1.0, -1, 1, -1], [-1, 1, 1, 1], [-1, -1, -1, 0.1], [0, 0, 0, 0]])
    assert ordinal_levels(logits).tolist() == [2, 3, 1, 0]


# Scores


@pytest.mark.parametrize(
    ("label_scale", "expected"), [((0.0, 1.0), [0.0, 0.5, 1.0, 0.92]), ((-1.0, 1.0), [-1.0, 0.0, 1.0, 0.84])]
)
def test_scaled_mean_squared_error(label_scale, expected):
    scores, outputs = torch.tensor([0.0, 2.5, 5.0, 4.6]), torch.tensor([0.1, -0.2, 0.9, 0.3])
    torch.testing.assert_close(rescale(scores, 0.0, 5.0, label_scale), torch.tensor(expected))
    by_hand = sum((o - e) ** 2 for o, e in zip(outputs.tolist(), expected, strict=True)) / 4
    loss = scaled_mean_squared_error(outputs, scores, 0.0, 5.0, label_scale)
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
    assert rescale(torch.tensor([1.0, 2.0, 5.0]), 1.0, 5.0, (0.0, 1.0)).tolist() == [0.0, 0.25, 1.0]


def test_pearson_loss_is_one_minus_r(normal):
    outputs, scores = normal(2, 12)
    assert 1 - pearson_loss(outputs, scores).item() == pytest.approx(pearsonr(outputs, scores)[0], abs=1e-12)
    close = 0.98 + 1e-4 * outputs  # cosines that hardly differ
    r = pearsonr(close, scores)[0]
    assert 1 - pearson_loss(close.float(), scores.float()).item() == pytest.approx(r, abs=2e-3)


@pytest.mark.parametrize("constant", ["outputs", "scores", "both", "one example"])
def test_a_batch_without_an_r_gives_one_and_no_gradient(constant, normal):
    outputs, scores = normal(2, 1 if constant == "one example" else 12).float()
    if constant in ("outputs", "both"):
        outputs = torch.full_like(outputs, 0.3)  # whose mean is not 0.3 to the bit
    if constant in ("scores", "both"):
        scores = torch.full_like(scores, 4.6)
    outputs = outputs.detach().requires_grad_()
    loss = pearson_loss(outputs, scores)
    loss.backward()
    assert loss.item() == 1 and torch.equal(outputs.grad, torch.zeros_like(outputs))


@pytest.mark.parametrize("temperature", [0.05, 0.4])
def test_cosent(temperature, normal, peer):
    u, v = normal(2, 7, 6)
    outputs = F.cosine_similarity(u, v)
    loss = cosent(outputs, SCORES, temperature).item()
    library = peer("CoSENTLoss", torch.stack([u, v], dim=1), SCORES, scale=1 / temperature).item()
    assert loss == pytest.approx(library, abs=1e-9)
    assert cosent(outputs, SCORES.exp(), temperature).item() == loss  # their order counts alone
    assert cosent(outputs + 3, SCORES * 0.1 - 7, temperature).item() == pytest.approx(loss, abs=1e-9)
    equal = outputs.requires_grad_()
    cosent(equal, torch.full_like(equal, 3.0)).backward()
    assert torch.equal(equal.grad, torch.zeros_like(equal))


@pytest.mark.parametrize("size", [2, 5, 6])
def test_angle_similarity_is_a_quotient_of_complex_numbers(size, normal, peer):
    u, v = normal(2, 7, size)
    a, b = (torch.complex(*F.pad(x, (0, size % 2)).chunk(2, dim=1)) for x in (u, v))
    quotients = (a * b.conj()).sum(dim=1) / (u.norm(dim=1) * v.norm(dim=1))
    found = angle_similarity(u, v)
    torch.testing.assert_close(found, (quotients.real + quotients.imag).abs())
    library = peer("AnglELoss", torch.stack([u, v], dim=1), SCORES).item()
    assert cosent(found, SCORES).item() == pytest.approx(library, abs=1e-9)
    assert torch.autograd.gradcheck(angle_similarity, (u.requires_grad_(), v.requires_grad_()))
    with pytest.raises(InputError, match="they must be equal"):
        angle_similarity(u, v[:1])


# Divergences


def test_symmetric_kl_is_both_directions(normal):
    logits = normal(5, 4), normal(5, 4, seed=1) * 3
    p, q = (x.softmax(dim=1) for x in logits)
    by_torch = F.kl_div(p.log(), q, reduction="batchmean") + F.kl_div(q.log(), p, reduction="batchmean")
    assert symmetric_kl(*logits).item() == pytest.approx(by_torch.item(), abs=1e-9)


@pytest.mark.parametrize("shape", [(5,), (5, 4)])
def test_symmetric_binary_kl_is_that_of_two_classes_and_squared_difference_is_mse(shape, normal):
    """Of a logit x the two classes' logits are x and 0."""
    p, q = normal(*shape), normal(*shape, seed=1) * 3
    assert squared_difference(p, q) == F.mse_loss(p, q)
    pairs = (torch.stack([x.flatten(), torch.zeros(x.numel(), dtype=x.dtype)], dim=1) for x in (p, q))
    assert symmetric_binary_kl(p, q).item() == pytest.approx(symmetric_kl(*pairs).item(), abs=1e-9)
