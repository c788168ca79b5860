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
from multitask.training.parallel import Engine
from multitask.training.plan import MicroBatch, Step

CPU = torch.device("cpu")


def one_parameter(rate=1.0):
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    return parameter, AdamW([{"params": [parameter], "lr": rate, "initial_lr": rate}], lr=rate)


def test_names_of_precisions(monkeypatch):
    """Auto is fp32 on the CPU; on CUDA bf16 where the card has it, else fp16, which the CPU refuses."""
    assert [resolve_precision(name, CPU) for name in ("auto", "bf16")] == ["fp32", "bf16"]
    for has_bf16, name in ((True, "bf16"), (False, "fp16")):
        # In software every card has it.
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, has=has_bf16: including_emulation or has,
        )
        assert resolve_precision("auto", torch.device("cuda")) == name
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


@pytest.mark.parametrize("scaled", [True, False])
def test_a_skipped_step_changes_nothing_and_the_schedule_waits(scaled):
    """By torch's own loss scaler, which the CPU can run too, or by `skip` without one."""
    parameter, optimizer = one_parameter()
    asked = []
    precision = Precision("fp32", CPU, lambda step: asked.append(step) or 1.0)
    if scaled:
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    gradients = Gradients(optimizer, precision)
    for value in (1.0, math.inf, 1.0, math.nan, 1.0, 1.0):
        before = parameter.detach().clone()
        gradients.backward((parameter * value).sum(), "sst")
        gradients.finish()
        if not scaled and not math.isfinite(value):
            precision.skip()
        precision.step(optimizer)
        assert torch.equal(parameter, before) is precision.was_skipped is not math.isfinite(value)
        assert parameter.grad is None
    assert asked == [0, 1, 1, 2, 2, 3]
    assert (precision.steps, precision.skipped) == (4, 2)
    other = Precision("fp32", CPU)
    if scaled:
        assert precision.scaler.get_scale() == 1024 / 2 / 2 * 2, "a scale that grows is not a skipped step"
        other.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    other.load_state_dict(precision.state_dict())
    assert (other.steps, other.skipped, other.scaler.get_scale()) == (4, 2, precision.scaler.get_scale())


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
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        assert gradients
        assert {t.dtype for t in (loss, *gradients, *self.model.parameters())} == {torch.float32}
        self.losses.append(float(loss))

    def after_step(self, step):
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.weights.append(self.copy())


@pytest.fixture
def trained(make_model, make_batch):
    """trained(name, steps, overflow=0, clip=0.0) -> a tiny model after some steps in that precision.

    fp16 and its scaler run on the CPU here, which a user's run refuses. The step `overflow` does.
    """

    def train_tiny(name, steps, overflow=0, clip=0.0):
        model = make_model().float().train()
        precision = Precision("bf16" if name == "bf16" else "fp32", CPU, lambda step: 1 / (step + 1))
        if name == "fp16":
            precision.name = "fp16"
            precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
        model.autocast = precision.autocast
        optimizer = AdamW([{"params": list(model.parameters()), "lr": 1e-2, "initial_lr": 1e-2}])
        gradients = Gradients(optimizer, precision, clip)
        finish, seen = gradients.finish, Seen(model, precision, optimizer)

        def finish_spoilt():
            if len(seen.rates) + 1 == overflow:
                model.encoder.embeddings.word.weight.grad[0, 0] = math.inf
            finish()
            grads = [p.grad.norm() for p in model.parameters() if p.grad is not None]
            seen.norms.append(float(torch.stack(grads).norm()))

        gradients.finish = finish_spoilt
        torch.manual_seed(0)
        batches = [MicroBatch("sst", make_batch(model, "sst", 4, start=n), 1.0) for n in range(steps)]
        plan = [Step(n + 1, 1, False, iter([batch]), ("sst",)) for n, batch in enumerate(batches)]
        train_loop(
            Engine(model), plan, StandardLoss(), gradients, precision, optimizer, seen.report, seen.after_step
        )
        return seen

    return train_tiny


@pytest.mark.parametrize(("name", "inside"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_trains_with_fp32_weights_outputs_gradients_and_losses(name, inside, trained):
    half, whole = trained(name, 3), trained("fp32", 3)
    assert (half.inside, whole.inside) == ({inside}, {torch.float32})
    assert half.losses == pytest.approx(whole.losses, rel=0.1) and half.losses != whole.losses
    assert (half.precision.steps, half.precision.skipped) == (3, 0)
    assert not torch.equal(half.weights[0], half.weights[-1])


def test_an_overflow_in_fp16_skips_the_step_and_training_goes_on(trained):
    """The 2nd of 4 steps overflows: the weights stay, the scale halves, the schedule waits."""
    seen = trained("fp16", 4, overflow=2)
    same = [torch.equal(old, new) for old, new in zip(seen.weights, seen.weights[1:], strict=False)]
    assert same == [False, True, False, False]
    assert seen.rates == pytest.approx([1e-2, 1e-2 / 2, 1e-2 / 2, 1e-2 / 3])
    assert (seen.precision.steps, seen.precision.skipped) == (3, 1)
    assert seen.precision.scaler.get_scale() == 2.0**11
    assert seen.weights[-1].isfinite().all()


def test_fp16_gradients_are_clipped_after_unscaling(trained):
    free, clipped = trained("fp16", 1), trained("fp16", 1, clip=0.5)
    assert free.norms[0] > 0.5 and clipped.norms[0] == pytest.approx(0.5, abs=1e-4)
    loose = trained("fp16", 1, clip=2 * free.norms[0])
    assert loose.norms == free.norms, "a limit above the unscaled norm changes nothing"
