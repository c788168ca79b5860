"""Gradients: summed, unscaled, clipped in that order, equal to the large batch's under accumulation."""

import pytest
import torch

from minbert import AdamW
from multitask.runtime.precision import Precision
from multitask.runtime.process_group import ProcessGroup
from multitask.training.gradients import Gradients
from multitask.training.methods.gradient_check import GradientCheck
from multitask.training.methods.standard import StandardLoss
from multitask.training.plan import BatchPlan, TaskData

CPU = torch.device("cpu")


def gradients_over(parameters, clip):
    return Gradients(AdamW(parameters, lr=1.0), Precision("fp32", CPU), clip)


@pytest.mark.parametrize("clip", [0.0, 0.5, 5.0, 50.0])
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


@pytest.fixture
def model(make_model):
    return make_model(
        sst={"pooling": "cls", "dropout": 0.0}, paraphrase={"pairs": "bi", "dropout": 0.0}, sts={}
    )


def accumulated(model, plan):
    """The gradients of each step, under the names of the tensors."""
    parameters = list(model.parameters())
    gradients = gradients_over(parameters, 0.0)
    for step in plan:
        model.zero_grad(set_to_none=True)
        for micro_batch in step.micro_batches:
            StandardLoss()(model, micro_batch, gradients.backward)
        gradients.finish()
        yield {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["sst", "paraphrase", "sts"])
@pytest.mark.parametrize("budget", [None, 24])
def test_accumulation_gives_the_gradient_of_the_one_large_batch(model, make_examples, name, budget):
    """11 examples in batches of 2, 4 batches a step: a last step of 2 batches, and a batch of one."""
    examples = make_examples(model, name, 11)

    def collate(indices):
        return model.tasks[name].collate([examples[i] for i in indices])

    lengths = [example.length for example in examples]
    plans = [
        BatchPlan({name: TaskData(lengths, made, 2, budget, accumulation=4)}, "sequential", 1, seed=3)
        for made in (list, collate)
    ]
    steps = [[list(m.batch) for m in step.micro_batches] for step in plans[0]]
    assert len({len(batch) for batches in steps for batch in batches}) > 1, "some batch has to be ragged"
    for batches, found in zip(steps, accumulated(model, plans[1]), strict=True):
        model.zero_grad(set_to_none=True)
        model.loss(name, collate([i for batch in batches for i in batch])).backward()
        wanted = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
        assert found.keys() == wanted.keys()
        for key in found:
            torch.testing.assert_close(found[key], wanted[key], atol=1e-10, rtol=0)


class Recorded(GradientCheck):
    """A check that notes what it is handed, and the gradient of `parameter` then."""

    def __init__(self, parameter, events):
        super().__init__(lambda task: {})
        self.parameter, self.events = parameter, events

    def __call__(self, tasks):
        self.events.append(("check", list(tasks), self.parameter.grad.item()))


def test_what_is_done_in_which_order():
    """Summed over the processes while scaled, unscaled, checked, then clipped."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = AdamW([parameter], lr=1.0)
    precision = Precision("fp32", CPU)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    events = []

    class Doubled(ProcessGroup):
        def all_reduce_gradients(self, parameters):
            events.append(("reduce", [p.grad.item() for p in parameters]))
            parameters[0].grad *= 2

    gradients = Gradients(optimizer, precision, 1.0, Doubled(), Recorded(parameter, events))
    gradients.backward((parameter * 3.0).sum(), "sst")
    gradients.backward((parameter * 1.0).sum(), "sts")
    gradients.backward((parameter * 1.0).sum(), "sst")
    gradients.finish()
    assert events == [("reduce", [40.0]), ("check", ["sst", "sts"], 10.0)]
    assert parameter.grad.item() == pytest.approx(1.0)
    parameter.grad = None
    precision.scaler = torch.amp.GradScaler("cpu", enabled=False)
    gradients.backward(parameter.sum(), "sts")
    gradients.finish()
    assert events[-1] == ("check", ["sts"], 2.0), "the tasks of this step only"


@pytest.mark.parametrize("scaled", [False, True])
def test_a_loss_that_nothing_trained_decides_is_a_step_without_gradients(scaled):
    """A cosine head, which has no tensors, over a frozen encoder."""
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = AdamW([{"params": [parameter], "lr": 1.0, "initial_lr": 1.0}])
    precision = Precision("fp32", CPU)
    precision.scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    gradients = Gradients(optimizer, precision, clip=1.0)
    for factor in (None, 1.0, None):
        loss = torch.ones(()) if factor is None else (parameter * factor).sum()
        gradients.backward(loss, "sts")
        gradients.finish()
        precision.step(optimizer)
    assert (precision.steps, precision.skipped) == (3, 0)
    assert parameter.item() < 1.0


def test_the_state_is_that_of_the_check():
    check = GradientCheck(lambda task: {})
    parameter = torch.nn.Parameter(torch.zeros(1))
    gradients = gradients_over([parameter], 0.0)
    assert gradients.state_dict() == {}
    gradients.load_state_dict({})
    gradients.check = check
    gradients.backward(parameter.sum(), "sst")
    gradients.finish()
    resumed = gradients_over([parameter], 0.0)
    resumed.check = GradientCheck(lambda task: {})
    resumed.load_state_dict(gradients.state_dict())
    assert resumed.check.checked == {"sst"}
