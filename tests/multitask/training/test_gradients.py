"""Gradients: unscaled, checked, clipped in that order, equal to the large batch's under accumulation."""

import pytest
import torch

from minbert import AdamW
from multitask.runtime.precision import Precision
from multitask.training.gradients import Gradients
from multitask.training.methods.gradient_check import GradientCheck
from multitask.training.methods.standard import StandardLoss
from multitask.training.parallel import Engine
from multitask.training.plan import BatchPlan, TaskData

CPU = torch.device("cpu")


def gradients_over(parameters, clip=0.0, **options):
    return Gradients(AdamW(parameters, lr=1.0), Precision("fp32", CPU), clip, **options)


@pytest.mark.parametrize("clip", [0.0, 0.5, 50.0])
def test_clipping_by_the_formula(clip):
    """g min(1, clip / |g|) with |g| over all tensors; 0 is no limit; a missing gradient counts as zero."""
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), (1,))]
    values = [torch.arange(6.0).view(2, 3), -torch.ones(4)]
    for parameter, value in zip(parameters, values, strict=False):
        parameter.grad = value.clone()
    norm = sum(value.square().sum() for value in values).sqrt()  # sqrt(59), 7.7
    gradients_over(parameters, clip).finish()
    factor = min(1.0, clip / norm) if clip else 1.0
    for parameter, value in zip(parameters, values, strict=False):
        torch.testing.assert_close(parameter.grad, value * factor, atol=1e-5, rtol=1e-5)
    assert parameters[2].grad is None


@pytest.mark.parametrize(("name", "budget"), [("sst", None), ("paraphrase", 24), ("sts", None)])
def test_accumulation_gives_the_gradient_of_the_one_large_batch(
    make_model, make_examples, gradients_of, assert_equal_gradients, name, budget
):
    """11 examples in batches of 2, 4 batches a step: a last step of 2 batches, and a batch of one."""
    model = make_model(sst={"pooling": "cls"}, paraphrase={"pairs": "bi"}, sts={})
    examples = make_examples(model, name, 11)

    def collate(indices):
        return model.tasks[name].collate([examples[i] for i in indices])

    def plan(collate):
        data = TaskData([e.length for e in examples], collate, 2, budget, accumulation=4)
        return BatchPlan({name: data}, "sequential", 1, seed=3)

    batches = [[list(m.batch) for m in step.micro_batches] for step in plan(list)]
    assert len({len(batch) for step in batches for batch in step}) > 1, "some batch has to be ragged"
    gradients = gradients_over(list(model.parameters()))
    for step, own in zip(plan(collate), batches, strict=True):
        model.zero_grad(set_to_none=True)
        for micro_batch in step.micro_batches:
            StandardLoss()(Engine(model), micro_batch, gradients.backward)
        gradients.finish()
        found = gradients_of(model)
        model.zero_grad(set_to_none=True)
        model.loss(name, collate(sum(own, []))).backward()
        assert_equal_gradients(found, gradients_of(model))


def test_what_is_done_in_which_order():
    """Unscaled, checked, then clipped."""
    parameter, events = torch.nn.Parameter(torch.zeros(1)), []

    def check(tasks):
        events.append(("check", list(tasks), parameter.grad.item()))

    gradients = gradients_over([parameter], 1.0, check=check)
    gradients.precision.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for factor, task in ((3.0, "sst"), (1.0, "sts"), (1.0, "sst")):
        gradients.backward((parameter * factor).sum(), task)
    gradients.finish()
    assert events == [("check", ["sst", "sts"], 5.0)]
    assert parameter.grad.item() == pytest.approx(1.0)
    parameter.grad = None
    gradients.precision.scaler = torch.amp.GradScaler("cpu", enabled=False)
    gradients.backward(parameter.sum(), "sts")
    gradients.finish()
    assert events[-1] == ("check", ["sts"], 1.0), "the tasks of this step only"


@pytest.mark.parametrize("scaled", [False, True])
def test_a_loss_that_nothing_trained_decides_is_a_step_without_gradients(scaled):
    """A cosine head, which has no tensors, over a frozen encoder."""
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = AdamW([{"params": [parameter], "lr": 1.0, "initial_lr": 1.0}])
    precision = Precision("fp32", CPU)
    precision.scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    gradients = Gradients(optimizer, precision, clip=1.0)
    for factor in (None, 1.0, None):
        gradients.backward(torch.ones(()) if factor is None else (parameter * factor).sum(), "sts")
        gradients.finish()
        precision.step(optimizer)
    assert (precision.steps, precision.skipped) == (3, 0)
    assert parameter.item() < 1.0


# The check after each task's first step: tensors without a gradient are named, once.


class Model(torch.nn.Module):
    """Tensors by name, with gradients, and which ones a task reads."""

    def __init__(self, tensors, reads):
        super().__init__()
        self.tensors, self.reads = tensors, reads

    def named_parameters(self):
        for name, gradient in self.tensors.items():
            parameter = torch.nn.Parameter(torch.ones(2), requires_grad=gradient != "frozen")
            parameter.grad = torch.tensor(gradient) if isinstance(gradient, list) else None
            yield name, parameter

    def read_by(self, task):
        return set(self.reads[task])


ZERO, B = [0.0, 0.0], "query.adapters.default.B"
TENSORS = {"a": [0.0, 1.0], "b": None, "c": None, "d": "frozen", B: ZERO, "query.adapters.default.A": ZERO}


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ([["sst"], ["sst"]], {"sst": "b, c"}),  # once
        ([["paraphrase"], ["paraphrase", "sts"]], {"sts": B}),  # each at its own first step
    ],
)
def test_tensors_without_a_gradient_are_named(said, steps, named):
    """LoRA's B has to differ from zero, other gradients to be there; frozen tensors are passed over."""
    reads = {"sst": "abcd", "paraphrase": "ad", "sts": ["d", B, B.replace(".B", ".A")]}
    check = GradientCheck(Model(TENSORS, reads))
    for tasks in steps:
        check(tasks)
    found = {line.split()[5].rstrip(","): line.split(": ")[1].split(";")[0] for line in said}
    assert found == named
    resumed = gradients_over([torch.nn.Parameter(torch.ones(1))], check=GradientCheck(check.model))
    resumed.load_state_dict({"check": check.state_dict()})
    said.clear()
    resumed.check(steps[-1])
    assert said == [] and resumed.state_dict() == {"check": check.state_dict()}
    assert gradients_over([torch.nn.Parameter(torch.ones(1))]).state_dict() == {}
