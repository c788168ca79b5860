"""The check after each task's first step: who got no gradient is named, once."""

import pytest
import torch

from multitask.training.methods.gradient_check import GradientCheck


def tensor(gradient=None, trained=True):
    parameter = torch.nn.Parameter(torch.ones(2), requires_grad=trained)
    parameter.grad = None if gradient is None else torch.tensor(gradient)
    return parameter


@pytest.fixture
def checked(said):
    """checked(**tensors by task) -> the check, and the messages since then."""

    def make(**tasks):
        said.clear()
        return GradientCheck(tasks.__getitem__), said

    return make


def test_tensors_without_a_gradient_are_named_once(checked):
    check, warnings = checked(sst={"a": tensor([0.0, 1.0]), "b": tensor(), "c": tensor()})
    check(["sst"])
    assert len(warnings) == 1
    assert warnings[0].startswith("after the first step of sst, trained tensors without a gradient: b, c; ")
    check(["sst"])
    assert len(warnings) == 1


def test_only_lora_b_has_to_differ_from_zero(checked):
    zero = [0.0, 0.0]
    names = ["query.adapters.default.A", "query.adapters.default.B", "head.0.weight", "value.adapters.sst.B"]
    gradients = dict.fromkeys(names, zero) | {names[3]: [0.0, 1e-9]}
    check, warnings = checked(sst={name: tensor(gradient) for name, gradient in gradients.items()})
    check(["sst"])
    assert len(warnings) == 1 and "without a gradient: query.adapters.default.B; " in warnings[0]


def test_frozen_tensors_and_those_unfrozen_later_are_passed_over(checked):
    frozen = tensor(trained=False)
    check, warnings = checked(sst={"a": frozen, "b": tensor([1.0, 1.0])})
    check(["sst"])
    frozen.requires_grad_(True)
    check(["sst"])
    assert warnings == []


def test_each_task_is_checked_at_its_own_first_step(checked):
    head = tensor()
    check, warnings = checked(sst={"a": tensor([1.0, 1.0])}, sts={"head": head})
    check(["sst"])
    check(["sst"])
    assert warnings == []
    check(["sst", "sts"])
    assert len(warnings) == 1 and "first step of sts" in warnings[0]


def test_a_gradient_from_another_task_of_the_step_will_do(checked):
    shared = tensor([1.0, 0.0])
    check, warnings = checked(sst={"shared": shared}, sts={"shared": shared, "own": tensor()})
    check(["sst", "sts"])
    assert len(warnings) == 1 and "without a gradient: own; " in warnings[0]


def test_a_resumed_run_does_not_check_again(checked):
    check, _ = checked(sst={"a": tensor([1.0, 1.0])})
    check(["sst"])
    resumed, warnings = checked(sst={"a": tensor()}, sts={"b": tensor()})
    resumed.load_state_dict(check.state_dict())
    resumed(["sst"])
    assert warnings == []
    resumed(["sts"])
    assert len(warnings) == 1
