"""What every loss and divergence has to do: gradients, half precision, extreme outputs, shapes."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from minbert import InputError
from multitask.losses.classification import binary_cross_entropy, cross_entropy, focal
from multitask.losses.contrastive import info_nce
from multitask.losses.divergence import squared_difference, symmetric_binary_kl, symmetric_kl
from multitask.losses.ordinal import ordinal
from multitask.losses.regression import cosent, mean_squared_error, pearson_loss, scaled_mean_squared_error

WEIGHTS = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)
CLASSES = torch.tensor([0, 2, 0, 1])
BINARY = torch.tensor([0.0, 1.0, 1.0, 0.0])
SCORES = torch.tensor([0.0, 5.0, 1.5, 4.6])
GROUPS = torch.tensor([[0, 0, 3], [1, 1, 0], [0, 0, 5], [2, 2, 2]])


class Case(NamedTuple):
    """A loss of outputs of a shape, with its targets; `wrong` are other shapes of outputs and targets."""

    loss: Callable[..., Tensor]
    shape: tuple[int, ...]
    targets: Tensor | None
    wrong: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


OF_LOGITS = (((4, 3), (4, 1)), ((4, 3), (3,)), ((4,), (4,)), ((4, 3, 2), (4, 2)))
OF_NUMBERS = (((4,), (4, 1)), ((4, 1), (4,)), ((4,), (1,)))
CASES = {
    "cross entropy": Case(cross_entropy, (4, 3), CLASSES, OF_LOGITS),
    "smoothed, weighted": Case(
        partial(cross_entropy, label_smoothing=0.2, class_weights=WEIGHTS), (4, 3), CLASSES, OF_LOGITS
    ),
    "focal": Case(partial(focal, class_weights=WEIGHTS), (4, 3), CLASSES, OF_LOGITS),
    "focal 0.5": Case(partial(focal, gamma=0.5), (4, 3), CLASSES, OF_LOGITS),
    "binary": Case(binary_cross_entropy, (4,), BINARY, OF_NUMBERS),
    "ordinal": Case(ordinal, (4, 2), CLASSES, (((6,), (6,)), ((6, 4), (5,)), ((6, 4), (6, 4)))),
    "mse": Case(mean_squared_error, (4,), SCORES, OF_NUMBERS),
    "scaled mse": Case(
        partial(scaled_mean_squared_error, low=0.0, high=5.0, label_scale=(-1.0, 1.0)),
        (4,),
        SCORES,
        OF_NUMBERS,
    ),
    "pearson": Case(pearson_loss, (4,), SCORES, OF_NUMBERS),
    "cosent": Case(cosent, (4,), SCORES, OF_NUMBERS),
    "info_nce": Case(
        partial(info_nce, symmetric=True, hard_negative_weight=0.2, temperature=0.3),
        (4, 3, 5),
        GROUPS,
        (((4, 8), (4, 3)), ((4, 1, 8), (4, 1)), ((4, 2, 8), (4, 3))),
    ),
    "info_nce of products": Case(partial(info_nce, temperature=None), (4, 3, 5), GROUPS, ()),
}
DIVERGENCES = {
    "kl": (symmetric_kl, (5, 3)),
    "binary kl": (symmetric_binary_kl, (5,)),
    "binary kl of several": (symmetric_binary_kl, (5, 3)),
    "squares": (squared_difference, (5,)),
    "squares of several": (squared_difference, (5, 2)),
}
every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_divergence = pytest.mark.parametrize(("divergence", "shape"), DIVERGENCES.values(), ids=DIVERGENCES)


@every_loss
def test_gradients_of_losses(case, normal):
    outputs = normal(*case.shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: case.loss(x, case.targets), outputs)


@every_divergence
def test_gradients_of_divergences_reach_both_sides(divergence, shape, normal):
    p, q = normal(*shape).requires_grad_(), normal(*shape, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(divergence, (p, q))
    divergence(p, q).backward()
    assert p.grad.abs().min() > 0 and q.grad.abs().min() > 0


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_raise_half_precision(case, dtype, normal):
    half = normal(*case.shape).to(dtype)
    loss = case.loss(half, case.targets)
    assert loss.dtype == torch.float32 and torch.equal(loss, case.loss(half.float(), case.targets))


@every_loss
def test_extreme_outputs_have_finite_losses_and_gradients(case, normal):
    outputs = (normal(*case.shape).float() * 1e4).requires_grad_()
    loss = case.loss(outputs, case.targets)
    if case.loss not in (CASES["info_nce of products"].loss, CASES["mse"].loss):
        loss.backward()
        assert loss.isfinite() and outputs.grad.isfinite().all()


@every_divergence
def test_divergences_are_symmetric_zero_between_equals_and_finite(divergence, shape, normal):
    p, q = normal(*shape), normal(*shape, seed=1)
    assert divergence(p, q).item() == pytest.approx(divergence(q, p).item(), abs=1e-12)
    assert divergence(p, q) > 0 and divergence(p, p.clone()).item() == pytest.approx(0, abs=1e-12)
    far = (p.float() * 1e4).requires_grad_()
    loss = divergence(far, -far.detach())
    loss.backward()
    assert loss.isfinite() and far.grad.isfinite().all()
    halves = p.half(), q.half()
    raised = divergence(*halves)
    assert raised.dtype == torch.float32 and torch.equal(raised, divergence(*(x.float() for x in halves)))


@every_loss
def test_losses_refuse_other_shapes_never_broadcast(case):
    for outputs, targets in case.wrong:
        with pytest.raises(InputError, match=r"have shape \(.* must be"):
            case.loss(torch.zeros(outputs), torch.zeros(targets, dtype=case.targets.dtype))


@every_divergence
def test_divergences_refuse_other_shapes(divergence, shape):
    for p, q in ((shape, (1, *shape[1:])), ((4, 3, 2), (4, 3))):
        with pytest.raises(InputError, match="they must be"):
            divergence(torch.zeros(p), torch.zeros(q))
