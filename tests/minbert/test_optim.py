"""AdamW equals its formula written out here in plain numpy, and torch's where the definitions coincide.

Run: pytest tests/minbert/test_optim.py
"""

import copy
import math

import numpy as np
import pytest
import torch

from minbert import AdamW, InputError, optim

PATHS = ["fused", "written_out"]


@pytest.fixture(params=PATHS)
def path(request, monkeypatch):
    """Runs a test by the fused kernel and by the written-out update, and checks that it was that one."""
    fused = request.param == "fused"
    if fused and not optim.fused_update_works("cpu", torch.float64):
        pytest.skip("this torch has no fused AdamW kernel for the CPU")
    monkeypatch.setattr(optim, "fused_update_works", lambda device, dtype: fused)
    used, other = ("fused_update", "written_out_update")[:: 1 if fused else -1]
    calls = []
    original = getattr(optim, used)
    monkeypatch.setattr(optim, used, lambda *arguments: calls.append(1) or original(*arguments))
    monkeypatch.delattr(optim, other)
    yield request.param
    assert calls


def formula(start, gradients, lr, betas, eps, weight_decay, correct_bias):
    """The parameter after all steps; a gradient that is None leaves parameter and step count alone."""
    p, m, v, t = start.copy(), np.zeros_like(start), np.zeros_like(start), 0
    for g in gradients:
        if g is None:
            continue
        t += 1
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        rate = lr
        if correct_bias:
            rate = lr * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
        p = p - rate * m / (np.sqrt(v) + eps)
        p = p - lr * weight_decay * p
    return p


GROUPS = [
    dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, correct_bias=True),
    dict(lr=3e-3, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.1, correct_bias=True),
    dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=1e-2, correct_bias=False),
    dict(lr=1e-2, betas=(0.0, 0.5), eps=1e-2, weight_decay=2.0, correct_bias=False),
]


def test_equals_the_formula_over_1000_steps(path):
    rng = np.random.default_rng(0)
    starts = [[rng.normal(size=(3, 2)), rng.normal(size=5), rng.normal(size=4)] for _ in GROUPS]
    gradients = [[[rng.normal(size=p.shape) for p in group] for group in starts] for _ in range(1000)]
    for step, groups in enumerate(gradients):
        for group in groups:
            if step < 10 or step % 3:
                group[1] = None  # has a gradient in some steps only, and late
            group[2] = group[2] * 1e-9  # so small that eps decides
    parameters = [[torch.nn.Parameter(torch.tensor(p)) for p in group] for group in starts]
    optimizer = AdamW([dict(params=ps) | options for ps, options in zip(parameters, GROUPS, strict=True)])
    for groups in gradients:
        for group, values in zip(parameters, groups, strict=True):
            for parameter, value in zip(group, values, strict=True):
                parameter.grad = None if value is None else torch.tensor(value)
        optimizer.step()
    for g, options in enumerate(GROUPS):
        for i, start in enumerate(starts[g]):
            expected = formula(start, [groups[g][i] for groups in gradients], **options)
            difference = np.abs(parameters[g][i].detach().numpy() - expected).max()
            assert difference <= 1e-12, (g, i, difference)


def quadratic_steps(optimizer, parameters, steps, start=0):
    """Some steps on gradients that depend on the parameters and the step's number."""
    for step in range(start, start + steps):
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        sum(
            ((p - torch.randn(p.shape, generator=generator, dtype=p.dtype)) ** 2).sum() for p in parameters
        ).backward()
        if step % 2:
            parameters[-1].grad = None
        optimizer.step()


def fresh(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    shapes = ((7, 3), (70,), (2, 2))
    return [torch.nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in shapes]


def test_the_decay_is_not_rounded_to_a_factor(path):
    """1,000 steps with lr weight_decay = 1e-7, as a student writes them in fp32: the same to a few roundings.

    By the factor 1 - 1e-7, which fp32 rounds to 1 - 1.19e-7, the two would part by 1.9e-5.
    """
    generator = torch.Generator().manual_seed(0)
    start, gradient = torch.randn(2, 50, generator=generator)
    ours = start.clone().requires_grad_()
    ours.grad = gradient.clone()
    optimizer = AdamW([ours], lr=1e-5, eps=1e-6, weight_decay=1e-2)
    p, m, v = start.clone(), torch.zeros(50), torch.zeros(50)
    for t in range(1, 1001):
        optimizer.step()
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient * gradient
        p = p - 1e-5 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (v.sqrt() + 1e-6)
        p = p - 1e-5 * 1e-2 * p
    torch.testing.assert_close(ours.detach(), p, rtol=2e-6, atol=2e-6)


def test_agrees_with_torch_where_the_definitions_coincide(path):
    ours, theirs = fresh(torch.float64), fresh(torch.float64)
    quadratic_steps(AdamW(ours, lr=1e-2, eps=1e-30), ours, 200)
    quadratic_steps(torch.optim.AdamW(theirs, lr=1e-2, eps=1e-30, weight_decay=0), theirs, 200)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_both_paths_agree(dtype, monkeypatch):
    results = []
    for fused in (True, False):
        monkeypatch.setattr(optim, "fused_update_works", lambda device, dtype, fused=fused: fused)
        parameters = fresh(dtype)
        quadratic_steps(AdamW(parameters, lr=1e-2, weight_decay=0.1), parameters, 20)
        results.append(parameters)
    for p, q in zip(*results, strict=True):
        # in bf16 the written-out update rounds after each operation, the kernel once
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6 if dtype != torch.bfloat16 else 0.05)


def test_fused_kernel_is_taken_here():
    """The self-test accepts the fused kernel for all usual types; it is what makes a step fast."""
    for dtype in (torch.float32, torch.float64):
        assert optim.fused_update_works("cpu", dtype)


def test_self_test_refuses_a_kernel_that_computes_something_else(monkeypatch):
    real = torch._fused_adamw_

    def takes_another_eps(parameters, *arguments, **options):
        return real(parameters, *arguments, **options | {"eps": 2 * options["eps"]})

    def shrinks_by_one_rounding(parameters, *arguments, **options):  # shows after many steps only
        real(parameters, *arguments, **options)
        for parameter in parameters:
            parameter.mul_(1 - 2**-24)

    for kernel in (takes_another_eps, shrinks_by_one_rounding):
        monkeypatch.setattr(torch, "_fused_adamw_", kernel)
        assert not optim.fused_update_works.__wrapped__("cpu", torch.float32)
    monkeypatch.delattr(torch, "_fused_adamw_")
    assert not optim.fused_update_works.__wrapped__("cpu", torch.float32)


def test_tensors_that_are_not_contiguous():
    """A kernel that walks over memory would mix up rows and columns, or touch what lies between."""
    rng = np.random.default_rng(0)
    start, gradient = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    options = dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.1, correct_bias=True)
    expected = formula(start, [gradient] * 3, **options)
    around = torch.zeros(3, 8, dtype=torch.float64)
    around[:, ::2] = torch.tensor(start)
    for parameter, given in (
        (torch.tensor(start), torch.tensor(gradient.T.copy()).T),  # gradient in another order
        (torch.tensor(start.T.copy()).T, torch.tensor(gradient)),  # parameter in another order
        (torch.tensor(start.T.copy()).T, torch.tensor(gradient.T.copy()).T),
        (around[:, ::2], torch.tensor(gradient)),  # every other column of something larger
    ):
        parameter.requires_grad_()
        optimizer = AdamW([parameter], **options)
        for _ in range(3):
            parameter.grad = given.clone(memory_format=torch.preserve_format)
            optimizer.step()
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=0, atol=1e-12)
    assert not around[:, 1::2].any()


def test_state_dict_continues_bit_equal(path):
    straight = fresh()
    quadratic_steps(AdamW(straight, lr=1e-2, weight_decay=0.1), straight, 15)

    stopped = fresh()
    optimizer = AdamW(stopped, lr=1e-2, weight_decay=0.1)
    quadratic_steps(optimizer, stopped, 7)
    state = copy.deepcopy(optimizer.state_dict())
    for entry in state["state"].values():  # what safetensors and JSON can hold is all there is
        assert {name: type(value) for name, value in entry.items()} == {
            "step": int,
            "exp_avg": torch.Tensor,
            "exp_avg_sq": torch.Tensor,
        }
    resumed = [torch.nn.Parameter(p.detach().clone()) for p in stopped]
    optimizer = AdamW(resumed, lr=1.0)  # the options come from the state
    optimizer.load_state_dict(state)
    quadratic_steps(optimizer, resumed, 8, start=7)
    for p, q in zip(straight, resumed, strict=True):
        assert torch.equal(p, q)


def test_step_returns_the_loss_of_a_closure_and_skips_missing_gradients():
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = AdamW([used, unused], lr=0.1, weight_decay=1.0)

    def closure():
        optimizer.zero_grad()
        loss = (used**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert (used < 1).all() and torch.equal(unused, torch.ones(2))
    assert unused not in optimizer.state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(lr=-1.0), "lr is -1.0; it must be at least 0"),
        (dict(lr=float("nan")), "lr is nan"),
        (dict(betas=(1.0, 0.9)), r"betas is \(1.0, 0.9\); it must be two numbers from 0 to below 1"),
        (dict(betas=(0.9, -0.1)), "betas"),
        (dict(eps=-1e-6), "eps is -1e-06"),
        (dict(weight_decay=-0.1), "weight_decay is -0.1"),
    ],
)
def test_bad_options_are_refused(options, message):
    parameter = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(InputError, match=message):
        AdamW([parameter], **options)
    with pytest.raises(InputError, match=message):
        AdamW([dict(params=[parameter]) | options])


def test_sparse_gradients_are_refused():
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="sparse=False"):
        AdamW(embedding.parameters()).step()
