"""Precision: what `auto` means, when the schedule advances, and that numbers outside the encoder are fp32."""

import math
from functools import partial

import pytest
import torch

from minbert import AdamW, InputError, schedule_factor
from multitask.runtime.precision import Precision, resolve_precision
from multitask.training.gradients import Gradients
from multitask.training.loop import train_loop
from multitask.training.methods.standard import StandardLoss
from multitask.training.plan import MicroBatch, Step

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
        assert parameter.grad is None and rates[-1] == 0.5 * precision.factor
    assert rates == pytest.approx([0.5 * factor for factor in factors], abs=1e-12)
    assert schedule_factor("linear", 12, 12, 4) == 0


def scaled(optimizer, schedule, clip=0.0):
    """Precision and gradients with torch's real loss scaler at work, which the CPU can run too."""
    precision = Precision("fp32", CPU, schedule)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    return precision, Gradients(optimizer, precision, clip)


def test_a_skipped_step_changes_nothing_and_the_schedule_waits():
    parameter, optimizer = one_parameter()
    asked = []
    precision, gradients = scaled(optimizer, lambda step: asked.append(step) or 1.0)
    for value, taken in ((1.0, True), (math.inf, False), (1.0, True), (math.nan, False), (1.0, True)):
        before = parameter.detach().clone()
        gradients.backward((parameter * value).sum(), "sst")
        gradients.finish()
        precision.step(optimizer)
        assert torch.equal(parameter, before) is precision.was_skipped is not taken
        assert parameter.grad is None
    assert asked == [0, 1, 1, 2, 2]
    assert (precision.steps, precision.skipped) == (3, 2)
    assert precision.scaler.get_scale() == 256.0


def test_a_scale_that_grows_is_no_skipped_step():
    parameter, optimizer = one_parameter()
    precision, gradients = scaled(optimizer, lambda step: 1.0)
    for _ in range(4):
        gradients.backward(parameter.sum(), "sst")
        gradients.finish()
        precision.step(optimizer)
    assert precision.scaler.get_scale() == 2048.0
    assert (precision.steps, precision.skipped) == (4, 0)


def test_clipping_sees_unscaled_gradients():
    parameter, optimizer = one_parameter()
    precision, gradients = scaled(optimizer, lambda step: 1.0, clip=1.0)
    gradients.backward((parameter * torch.tensor([0.3, 0.4])).sum(), "sst")
    gradients.finish()
    torch.testing.assert_close(parameter.grad, torch.tensor([0.3, 0.4]))  # a norm of 0.5 is below the limit


def test_the_state_goes_on_where_it_stopped():
    first, second = Precision("fp32", CPU), Precision("fp32", CPU)
    first.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    second.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    first.steps, first.skipped = 7, 2
    second.load_state_dict(first.state_dict())
    assert (second.steps, second.skipped, second.scaler.get_scale()) == (7, 2, 64.0)


def test_a_step_can_be_skipped_without_a_scaler():
    parameter, optimizer = one_parameter()
    precision = Precision("fp32", CPU)
    for number in range(3):
        before = parameter.detach().clone()
        parameter.grad = torch.full((2,), math.nan if number == 1 else 1.0)
        if number == 1:
            precision.skip()
        precision.step(optimizer)
        assert torch.equal(parameter, before) is (number == 1)
        assert parameter.grad is None
    assert (precision.steps, precision.skipped) == (2, 1)


@pytest.fixture
def trained(make_model, make_batch):
    """trained(name, steps, spoil=None) -> a tiny model after some steps in that precision, and what was seen.

    fp16 and its scaler run on the CPU here, which a user's run refuses. spoil(step, model) comes before each
    step's gradients are finished.
    """

    def train_tiny(name, steps, spoil=lambda step, model: None, clip=0.0):
        model = make_model().float().train()
        precision = Precision("bf16" if name == "bf16" else "fp32", CPU, lambda step: 1 / (step + 1))
        if name == "fp16":
            precision.name = "fp16"
            precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
        model.autocast = precision.autocast
        optimizer = AdamW([{"params": list(model.parameters()), "lr": 1e-2, "initial_lr": 1e-2}])
        gradients = Gradients(optimizer, precision, clip)
        finish = gradients.finish
        seen = Seen(model, precision, optimizer)

        def finish_spoilt():
            spoil(len(seen.rates) + 1, model)
            finish()
            seen.norms.append(
                torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
            )

        gradients.finish = finish_spoilt
        torch.manual_seed(0)
        plan = [
            Step(n, 1, False, iter([MicroBatch("sst", make_batch(model, "sst", 4, start=n), 1.0)]), ("sst",))
            for n in range(1, steps + 1)
        ]
        train_loop(model, plan, StandardLoss(), gradients, precision, optimizer, seen.report, seen.after_step)
        return seen

    return train_tiny


class Seen:
    """What a loop's steps did: dtypes inside the encoder, losses, rates, and the weights after each step."""

    def __init__(self, model, precision, optimizer):
        self.model, self.precision, self.optimizer = model, precision, optimizer
        self.inside, self.losses, self.rates, self.norms = set(), [], [], []
        self.weights = [self.copy()]
        layer = model.encoder.encoder.layers[0].feed_forward.output
        layer.register_forward_hook(lambda module, args, output: self.inside.add(output.dtype))

    def copy(self):
        return torch.cat([parameter.detach().flatten() for parameter in self.model.parameters()])

    def report(self, step, piece, loss):
        assert loss.dtype == torch.float32
        assert all(parameter.dtype == torch.float32 for parameter in self.model.parameters())
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        assert gradients and all(gradient.dtype == torch.float32 for gradient in gradients)
        self.losses.append(float(loss))

    def after_step(self, step):
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.weights.append(self.copy())


@pytest.mark.parametrize(("name", "inside"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_trains_with_fp32_weights_outputs_gradients_and_losses(name, inside, trained):
    half, whole = trained(name, 3), trained("fp32", 3)
    assert (half.inside, whole.inside) == ({inside}, {torch.float32})
    assert half.losses == pytest.approx(whole.losses, rel=0.1) and half.losses != whole.losses
    assert (half.precision.steps, half.precision.skipped) == (3, 0)
    assert not torch.equal(half.weights[0], half.weights[-1])


def test_an_overflow_in_fp16_skips_the_step_and_training_goes_on(trained):
    """The 2nd of 4 steps overflows: the weights stay, the scale halves, the schedule waits."""

    def spoil(step, model):
        if step == 2:
            model.encoder.embeddings.word.weight.grad[0, 0] = math.inf

    seen = trained("fp16", 4, spoil)
    same = [torch.equal(old, new) for old, new in zip(seen.weights, seen.weights[1:], strict=False)]
    assert same == [False, True, False, False]
    assert seen.rates == pytest.approx([1e-2, 1e-2 / 2, 1e-2 / 2, 1e-2 / 3])
    assert (seen.precision.steps, seen.precision.skipped) == (3, 1)
    assert seen.precision.scaler.get_scale() == 2.0**11
    assert seen.weights[-1].isfinite().all()


def test_fp16_gradients_are_clipped_after_unscaling(trained):
    free, clipped = trained("fp16", 1), trained("fp16", 1, clip=0.5)
    assert free.norms[0] > 0.5 and float(clipped.norms[0]) == pytest.approx(0.5, abs=1e-4)
    loose = trained("fp16", 1, clip=2 * float(free.norms[0]))
    assert torch.equal(loose.norms[0], free.norms[0]), "a limit above the unscaled norm changes nothing"
