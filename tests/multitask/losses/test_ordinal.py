"""The ordinal loss against its formula written out, its gradient, and how levels are read from logits."""

import pytest
import torch
from sklearn.metrics import log_loss

from minbert import InputError
from multitask.losses.ordinal import ordinal, ordinal_levels

LABELS = torch.tensor([0, 4, 2, 1, 3, 4])


def test_equals_the_formula(normal):
    logits = normal(6, 4)
    probabilities = 1 / (1 + (-logits).exp())
    total = 0.0
    for i, label in enumerate(LABELS.tolist()):
        for k in range(4):
            total -= (probabilities[i, k] if label > k else 1 - probabilities[i, k]).log().item()
    assert ordinal(logits, LABELS).item() == pytest.approx(total / (6 * 4), abs=1e-9)
    bits = LABELS[:, None] > torch.arange(4)
    assert total / 24 == pytest.approx(log_loss(bits.flatten(), probabilities.flatten()), abs=1e-9)


def test_gradient(normal):
    assert torch.autograd.gradcheck(lambda x: ordinal(x, LABELS), normal(6, 4).requires_grad_())


def test_a_prediction_further_off_costs_more():
    sure = torch.tensor([[-9.0] * 4, [9, -9, -9, -9], [9, 9, -9, -9], [9, 9, 9, -9], [9.0] * 4])  # 0 to 4
    costs = [ordinal(row[None], torch.tensor([0])).item() for row in sure]
    assert costs == sorted(costs) and costs[0] < 1e-3
    assert ordinal_levels(sure).tolist() == [0, 1, 2, 3, 4]


def test_answers_that_contradict_one_another_are_counted():
    logits = torch.tensor([[1.0, -1, 1, -1], [-1, 1, 1, 1], [-1, -1, -1, 0.1], [0, 0, 0, 0]])
    levels = ordinal_levels(logits)
    assert levels.tolist() == [2, 3, 1, 0]
    # The scale read from its other end gives the same levels (0 itself counts as no on both sides).
    assert (4 - ordinal_levels(-logits[:3].flip(1))).tolist() == levels[:3].tolist()


def test_far_logits_stay_finite_and_half_precision_is_raised(normal):
    assert ordinal(torch.tensor([[1e4, -1e4]]), torch.tensor([0])) == 5e3
    half = normal(6, 4).half()
    loss = ordinal(half, LABELS)
    assert loss.dtype == torch.float32 and torch.equal(loss, ordinal(half.float(), LABELS))


@pytest.mark.parametrize(("outputs", "targets"), [((6,), (6,)), ((6, 4), (5,)), ((6, 4), (6, 4))])
def test_other_shapes_are_refused(outputs, targets):
    with pytest.raises(InputError, match="they must be"):
        ordinal(torch.zeros(outputs), torch.zeros(targets, dtype=torch.long))
