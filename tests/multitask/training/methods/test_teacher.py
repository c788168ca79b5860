"""The momentum teacher: its average by the formula, its modes, what it shares, that it resumes bit-equal."""

from itertools import count

import pytest
import torch

from multitask.training.methods.teacher import MomentumTeacher


@pytest.fixture
def model(make_model):
    return make_model(sst={})


def move(model, seed):
    """A step of some optimizer: all trained tensors change."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.1


def weights_of(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_the_average_by_the_formula(model, make_batch):
    """theta~_t = momentum theta~_(t-1) + (1 - momentum) theta_t, from theta~_0 = theta_0."""
    teacher = MomentumTeacher(model, 0.8, count(1).__next__)
    wanted = weights_of(model)
    for step in range(3):
        move(model, step)
        teacher.after_step(None)
        wanted = {name: 0.8 * old + 0.2 * weights_of(model)[name] for name, old in wanted.items()}
    inputs = make_batch(model, "sst", 4).inputs
    found = teacher("sst", inputs)
    now = weights_of(model)
    model.load_state_dict(wanted)
    torch.testing.assert_close(found, model("sst", inputs).detach(), atol=1e-10, rtol=0)
    model.load_state_dict(now)
    assert (found - model("sst", inputs)).abs().max() > 1e-2
    assert not found.requires_grad


def test_at_first_it_is_the_model_without_dropout_and_modes_stay(model, make_batch):
    """Random numbers too; and modes after an error."""
    teacher = MomentumTeacher(model, 0.99, count(1).__next__)
    inputs = make_batch(model, "sst", 4).inputs
    wanted = model("sst", inputs)
    model.train()
    model.encoder.encoder.layers[0].eval()
    before, state = [module.training for module in model.modules()], torch.get_rng_state()
    assert torch.equal(teacher("sst", inputs), wanted)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(model("sst", inputs), wanted)
    with pytest.raises(AttributeError):
        teacher("sst", None)
    assert [module.training for module in model.modules()] == before


def test_only_what_is_trained_is_held_twice(model, make_batch):
    model.encoder.requires_grad_(False)
    teacher = MomentumTeacher(model, 0.5, count(1).__next__)
    assert set(teacher.weights) == {name for name, _ in model.named_parameters() if name.startswith("heads.")}
    inputs = make_batch(model, "sst", 3).inputs
    before = teacher("sst", inputs)
    with torch.no_grad():
        model.encoder.embeddings.norm.bias += 1.0
    assert not torch.equal(teacher("sst", inputs), before), "frozen tensors are the model's own"


def test_what_is_unfrozen_later_is_followed_from_its_value_then(model, make_batch):
    name = "encoder.embeddings.word.weight"
    parameter = dict(model.named_parameters())[name].requires_grad_(False)
    teacher = MomentumTeacher(model, 0.75, count(1).__next__)
    start = parameter.detach().clone()
    parameter.requires_grad_(True)
    teacher("sst", make_batch(model, "sst", 2).inputs)  # of the first step that trains it
    move(model, 0)
    teacher.after_step(None)
    torch.testing.assert_close(teacher.weights[name], 0.75 * start + 0.25 * parameter.detach())


def test_a_skipped_step_does_not_count(model):
    steps = iter([1, 1, 2])
    teacher = MomentumTeacher(model, 0.5, lambda: next(steps))
    seen = [weights_of(model)]
    for taken in (True, False, True):
        move(model, 1)
        teacher.after_step(None)
        equal = [torch.equal(seen[-1][name], value) for name, value in teacher.weights.items()]
        assert (not any(equal)) if taken else all(equal)
        seen.append({name: value.clone() for name, value in teacher.weights.items()})
