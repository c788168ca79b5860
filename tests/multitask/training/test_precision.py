"""Precision: what `auto` means, when the schedule advances, and that numbers outside the encoder are fp32."""

import math
from functools import partial

import pytest
import torch

from minbert import AdamW, InputError, schedule_factor
from multitask import train
from multitask.training.gradients import Gradients
from multitask.training.precision import Precision, resolve_precision

CPU = torch.device("cpu")


def one_parameter(rate=1.0):
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    return parameter, AdamW([{"params": [parameter], "lr": rate, "initial_lr": rate}], lr=rate)


def test_auto_is_fp32_on_the_cpu():
    assert resolve_precision("auto", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_cuda_is_bf16_where_the_card_has_it(monkeypatch, has_bf16, name):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert resolve_precision("auto", torch.device("cuda")) == name


def test_fp16_is_refused_on_the_cpu():
    with pytest.raises(InputError, match="fp16 needs a CUDA device, this run is on cpu; take bf16 or fp32"):
        Precision("fp16", CPU)


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.25, 0.5, 0.75, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("cosine", [0.25, 0.5, 0.75, 1, *(0.5 + 0.5 * math.cos(math.pi * i / 8) for i in range(8))]),
    ],
)
def test_the_rate_of_every_step(name, factors):
    """12 steps, 4 of them warm-up: the 4th has the full rate, the linear end would be 0 at a 13th."""
    parameter, optimizer = one_parameter(rate=0.5)
    precision = Precision("fp32", CPU, partial(schedule_factor, name, total=12, warmup=4))
    rates = []
    for _ in range(12):
        parameter.grad = torch.ones(2)
        precision.step(optimizer)
        rates.append(optimizer.param_groups[0]["lr"])
        assert parameter.grad is None
    assert rates == pytest.approx([0.5 * factor for factor in factors], abs=1e-12)
    assert schedule_factor("linear", 12, 12, 4) == 0


def test_each_group_keeps_its_own_rate():
    groups = [
        {"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate, "initial_lr": rate} for rate in (1.0, 0.1)
    ]
    optimizer = AdamW(groups)
    Precision("fp32", CPU, lambda step: 0.5).step(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.05]


def scaled(optimizer, schedule, clip=0.0, parameters=()):
    """Precision and gradients with torch's real loss scaler at work, which the CPU can run too."""
    precision = Precision("fp32", CPU, schedule)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    return precision, Gradients(parameters, precision, optimizer, clip)


def test_a_skipped_step_changes_nothing_and_the_schedule_waits():
    parameter, optimizer = one_parameter()
    asked = []
    precision, gradients = scaled(optimizer, lambda step: asked.append(step) or 1.0)
    for value, taken in ((1.0, True), (math.inf, False), (1.0, True), (math.nan, False), (1.0, True)):
        before = parameter.detach().clone()
        gradients.backward((parameter * value).sum())
        gradients.finish()
        precision.step(optimizer)
        assert torch.equal(parameter, before) is not taken
        assert parameter.grad is None
    assert asked == [0, 1, 1, 2, 2]
    assert (precision.steps, precision.skipped) == (3, 2)
    assert precision.scaler.get_scale() == 256.0


def test_a_scale_that_grows_is_no_skipped_step():
    parameter, optimizer = one_parameter()
    precision, gradients = scaled(optimizer, lambda step: 1.0)
    for _ in range(4):
        gradients.backward(parameter.sum())
        gradients.finish()
        precision.step(optimizer)
    assert precision.scaler.get_scale() == 2048.0
    assert (precision.steps, precision.skipped) == (4, 0)


def test_clipping_sees_unscaled_gradients():
    parameter, optimizer = one_parameter()
    precision, gradients = scaled(optimizer, lambda step: 1.0, clip=1.0, parameters=[parameter])
    gradients.backward((parameter * torch.tensor([0.3, 0.4])).sum())
    gradients.finish()
    torch.testing.assert_close(parameter.grad, torch.tensor([0.3, 0.4]))  # a norm of 0.5 is below the limit


def test_the_state_goes_on_where_it_stopped():
    first, second = Precision("fp32", CPU), Precision("fp32", CPU)
    first.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    second.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    first.steps, first.skipped = 7, 2
    second.load_state_dict(first.state_dict())
    assert (second.steps, second.skipped, second.scaler.get_scale()) == (7, 2, 64.0)


def test_bf16_trains_on_the_cpu_with_fp32_weights_outputs_and_losses(tiny_config, monkeypatch):
    from multitask.model import MultitaskModel
    from multitask.training.methods import Plain

    seen = []
    encode, method = MultitaskModel.encode, Plain.__call__

    def watched_encode(model, batch):
        inner = []
        hook = model.encoder.encoder.layers[0].feed_forward.output.register_forward_hook(
            lambda module, inputs, output: inner.append(output.dtype)
        )
        output = encode(model, batch)
        hook.remove()
        seen.append((*inner, output.packed.dtype))
        return output

    def watched_method(self, model, piece, backward):
        loss = method(self, model, piece, backward)
        assert loss.dtype == torch.float32
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert gradients and all(gradient.dtype == torch.float32 for gradient in gradients)
        return loss

    monkeypatch.setattr(MultitaskModel, "encode", watched_encode)
    monkeypatch.setattr(Plain, "__call__", watched_method)
    train(tiny_config(precision="bf16", train={"max_steps": 4}))
    assert set(seen) == {(torch.bfloat16, torch.float32)}
