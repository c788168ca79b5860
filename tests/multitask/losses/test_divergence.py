"""Divergences against the two Kullback-Leibler terms written out and torch's own; gradients, extremes."""

import pytest
import torch
import torch.nn.functional as F

from minbert import InputError
from multitask.losses.divergence import squared_difference, symmetric_binary_kl, symmetric_kl


def test_symmetric_kl_is_both_directions(normal):
    p_logits, q_logits = normal(5, 4), normal(5, 4, seed=1) * 3
    p, q = (x.exp() / x.exp().sum(dim=1, keepdim=True) for x in (p_logits, q_logits))
    expected = sum(
        p[i, c] * (p[i, c] / q[i, c]).log() + q[i, c] * (q[i, c] / p[i, c]).log()
        for i in range(5)
        for c in range(4)
    )
    loss = symmetric_kl(p_logits, q_logits)
    assert loss.item() == pytest.approx(expected.item() / 5, abs=1e-9)
    by_torch = F.kl_div(p.log(), q, reduction="batchmean") + F.kl_div(q.log(), p, reduction="batchmean")
    assert loss.item() == pytest.approx(by_torch.item(), abs=1e-9)


@pytest.mark.parametrize("shape", [(5,), (5, 4)])
def test_symmetric_binary_kl_is_that_of_two_classes(shape, normal):
    """Of a logit x the two classes' logits are x and 0."""
    p, q = normal(*shape), normal(*shape, seed=1) * 3
    pairs = (torch.stack([x.flatten(), torch.zeros(x.numel(), dtype=x.dtype)], dim=1) for x in (p, q))
    assert symmetric_binary_kl(p, q).item() == pytest.approx(symmetric_kl(*pairs).item(), abs=1e-9)


def test_squared_difference(normal):
    p, q = normal(7), normal(7, seed=1)
    expected = sum((a - b) ** 2 for a, b in zip(p.tolist(), q.tolist(), strict=True)) / 7
    assert squared_difference(p, q).item() == pytest.approx(expected, abs=1e-9)


every = pytest.mark.parametrize(
    ("divergence", "shape"),
    [(symmetric_kl, (5, 3)), (symmetric_binary_kl, (5,)), (symmetric_binary_kl, (5, 3))]
    + [(squared_difference, (5,)), (squared_difference, (5, 2))],
)


@every
def test_gradient_reaches_both_sides(divergence, shape, normal):
    p, q = normal(*shape).requires_grad_(), normal(*shape, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(divergence, (p, q))
    divergence(p, q).backward()
    assert p.grad.abs().min() > 0 and q.grad.abs().min() > 0


@every
def test_is_symmetric_and_zero_between_equals(divergence, shape, normal):
    p, q = normal(*shape), normal(*shape, seed=1)
    assert divergence(p, q).item() == pytest.approx(divergence(q, p).item(), abs=1e-12)
    assert divergence(p, q) > 0 and divergence(p, p.clone()) == 0


@every
def test_far_logits_stay_finite_and_half_precision_is_raised(divergence, shape, normal):
    p = (normal(*shape).float() * 1e4).requires_grad_()
    loss = divergence(p, -p.detach())
    loss.backward()
    assert loss.isfinite() and p.grad.isfinite().all()
    half = [normal(*shape, seed=seed).half() for seed in (0, 1)]
    raised = divergence(*half)
    assert raised.dtype == torch.float32 and torch.equal(raised, divergence(*(x.float() for x in half)))


@every
def test_other_shapes_are_refused(divergence, shape):
    with pytest.raises(InputError, match="they must be"):
        divergence(torch.zeros(shape), torch.zeros(1, *shape[1:]))
    with pytest.raises(InputError, match="they must be"):
        divergence(torch.zeros(4, 3, 2), torch.zeros(4, 3))
