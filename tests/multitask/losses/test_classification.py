"""Cross-entropies and focal loss against formulas, torch and scikit-learn; gradients; wrong shapes."""

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss

from minbert import InputError
from multitask.losses.classification import binary_cross_entropy, cross_entropy, focal

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0], [9.0, -9.0, 0.0]])
CLASSES = torch.tensor([0, 2, 0, 1])
WEIGHTS = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)


def probabilities_of(logits):
    exponents = logits.double().exp()
    return exponents / exponents.sum(dim=1, keepdim=True)


def test_cross_entropy_is_the_mean_of_minus_log_softmax():
    probabilities = probabilities_of(LOGITS)
    expected = -sum(probabilities[i, label].log() for i, label in enumerate(CLASSES.tolist())) / 4
    assert cross_entropy(LOGITS, CLASSES).item() == pytest.approx(expected.item(), rel=1e-6)
    assert cross_entropy(LOGITS.double(), CLASSES).item() == pytest.approx(expected.item(), abs=1e-9)
    assert expected.item() == pytest.approx(log_loss(CLASSES, probabilities, labels=[0, 1, 2]), rel=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_label_smoothing_and_class_weights(smoothing, weights):
    probabilities, total = probabilities_of(LOGITS), 0.0
    for i, label in enumerate(CLASSES.tolist()):
        for c in range(3):
            target = smoothing / 3 + (1 - smoothing) * (c == label)
            total -= target * (1 if weights is None else weights[c].item()) * probabilities[i, c].log().item()
    loss = cross_entropy(LOGITS.double(), CLASSES, smoothing, weights)
    assert loss.item() == pytest.approx(total / 4, abs=1e-9)
    by_torch = F.cross_entropy(LOGITS.double(), CLASSES, weights, label_smoothing=smoothing)
    mean_weight = 1 if weights is None else weights[CLASSES].mean()  # torch divides by the sum of weights
    assert loss.item() == pytest.approx((by_torch * mean_weight).item(), abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_is_cross_entropy_times_a_power_of_what_is_missing(gamma, weights):
    probabilities, total = probabilities_of(LOGITS), 0.0
    for i, label in enumerate(CLASSES.tolist()):
        weight = 1 if weights is None else weights[label].item()
        rest = sum(probabilities[i, c].item() for c in range(3) if c != label)
        total -= weight * rest**gamma * math.log(probabilities[i, label])
    loss = focal(LOGITS.double(), CLASSES, gamma, weights)
    assert loss.item() == pytest.approx(total / 4, abs=1e-9)
    if gamma == 0:
        expected = cross_entropy(LOGITS.double(), CLASSES, 0.0, weights)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("loss", [cross_entropy, focal])
def test_a_weighted_loss_is_the_mean_of_the_examples_losses(loss):
    """So that batches which are accumulated give the big batch's gradients."""
    together = loss(LOGITS, CLASSES, class_weights=WEIGHTS)
    alone = [loss(LOGITS[i : i + 1], CLASSES[i : i + 1], class_weights=WEIGHTS) for i in range(4)]
    torch.testing.assert_close(together, torch.stack(alone).mean())
    without = loss(LOGITS, CLASSES, class_weights=torch.zeros(3))
    assert without == 0


@pytest.mark.parametrize("loss", [cross_entropy, focal])
def test_another_number_of_class_weights_is_refused(loss):
    with pytest.raises(InputError, match=r"class weights have shape \(2,\), .* one for each class"):
        loss(LOGITS, CLASSES, class_weights=torch.ones(2))


def test_binary_cross_entropy_is_the_mean_of_minus_log_sigmoid():
    logits, labels = torch.tensor([0.3, -2.0, 5.0, 0.0]), torch.tensor([1, 0, 0, 1])
    probability = 1 / (1 + (-logits.double()).exp())
    expected = -torch.where(labels == 1, probability.log(), (1 - probability).log()).mean()
    assert binary_cross_entropy(logits, labels.float()).item() == pytest.approx(expected.item(), rel=1e-6)
    assert expected.item() == pytest.approx(log_loss(labels, probability), rel=1e-9)


def test_labels_of_whole_numbers_serve_as_well():
    logits = torch.tensor([0.3, -2.0])
    whole, fractions = torch.tensor([1, 0]), torch.tensor([1.0, 0.0])
    assert torch.equal(binary_cross_entropy(logits, whole), binary_cross_entropy(logits, fractions))


def test_far_logits_stay_finite():
    assert binary_cross_entropy(torch.tensor([1e4, -1e4]), torch.tensor([0.0, 1.0])) == 1e4
    assert cross_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([1])) == 2e4
    assert focal(torch.tensor([[1e4, -1e4]]), torch.tensor([1])) == 2e4


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("label", [0, 1])
def test_focal_of_an_example_that_is_surely_right_or_wrong_has_a_gradient(gamma, label):
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    focal(logits, torch.tensor([label]), gamma).backward()
    assert logits.grad.isfinite().all() and (logits.grad.abs().max() > 0.9) == (label == 1)


@pytest.mark.parametrize("loss", [cross_entropy, focal, binary_cross_entropy])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(loss, dtype):
    half = LOGITS.to(dtype)
    half, labels = (half[:, 0], CLASSES % 2) if loss is binary_cross_entropy else (half, CLASSES)
    assert loss(half, labels).dtype == torch.float32
    assert torch.equal(loss(half, labels), loss(half.float(), labels))


def test_gradients():
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, CLASSES), logits)
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, CLASSES, 0.2, WEIGHTS), logits)
    for gamma in (0.5, 2.0):
        assert torch.autograd.gradcheck(lambda x, gamma=gamma: focal(x, CLASSES, gamma, WEIGHTS), logits)
    logits = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: binary_cross_entropy(x, labels), logits)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (binary_cross_entropy, (4,), (4, 1)),
        (binary_cross_entropy, (4, 1), (4,)),
        (binary_cross_entropy, (4,), (1,)),
        (cross_entropy, (4, 3), (4, 1)),
        (cross_entropy, (4, 3), (3,)),
        (cross_entropy, (4,), (4,)),
        (focal, (4, 3), (3,)),
        (focal, (4,), (4,)),
        (cross_entropy, (4, 3, 2), (4, 2)),
    ],
)
def test_other_shapes_are_refused_never_broadcast(loss, outputs, targets):
    dtype = torch.float32 if loss is binary_cross_entropy else torch.long
    with pytest.raises(InputError, match=r"have shape \(.*; they must be"):
        loss(torch.zeros(outputs), torch.zeros(targets, dtype=dtype))
