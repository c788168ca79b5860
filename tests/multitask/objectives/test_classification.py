"""Cross-entropies against formulas written out and against scikit-learn; gradients in fp64; wrong shapes."""

import pytest
import torch
from sklearn.metrics import log_loss

from minbert import InputError
from multitask.objectives.classification import binary_cross_entropy, cross_entropy

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0], [9.0, -9.0, 0.0]])
CLASSES = torch.tensor([0, 2, 0, 1])


def test_cross_entropy_is_the_mean_of_minus_log_softmax():
    exponents = LOGITS.double().exp()
    probabilities = exponents / exponents.sum(dim=1, keepdim=True)
    expected = -sum(probabilities[i, label].log() for i, label in enumerate(CLASSES.tolist())) / 4
    assert cross_entropy(LOGITS, CLASSES).item() == pytest.approx(expected.item(), rel=1e-6)
    assert expected.item() == pytest.approx(log_loss(CLASSES, probabilities, labels=[0, 1, 2]), rel=1e-9)


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


def test_gradients():
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, CLASSES), logits)
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
        (cross_entropy, (4, 3, 2), (4, 2)),
    ],
)
def test_other_shapes_are_refused_never_broadcast(loss, outputs, targets):
    dtype = torch.long if loss is cross_entropy else torch.float32
    with pytest.raises(InputError, match=r"have shape \(.*; they must be"):
        loss(torch.zeros(outputs), torch.zeros(targets, dtype=dtype))
