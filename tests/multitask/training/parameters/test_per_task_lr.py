"""Rates of the encoder by task: on which steps they hold, for which tensors, and after a resume."""

import copy

import pytest
import torch

from minbert import AdamW, InputError
from multitask.config.run_config import OptimConfig
from multitask.runtime.precision import Precision
from multitask.training.parameters.groups import assign, parameter_groups
from multitask.training.parameters.per_task_lr import PerTaskLR
from multitask.training.plan import Step

LR = 1e-2
OPTIM = OptimConfig(
    lr=LR, head_lr=0.3, embeddings_lr=0.05, layer_decay=0.5, weight_decay=0.1, schedule="constant"
)
TASKS = {"sst": {"pooling": "pooler"}, "paraphrase": {"pairs": "bi"}, "sts": {}}


@pytest.fixture
def model(make_model):
    return make_model(**TASKS)


@pytest.fixture
def entries(model):
    return assign(model, OPTIM, {})


def rates_by_name(optimizer, entries, key="initial_lr"):
    names = {id(entry.parameter): entry.name for entry in entries}
    return {names[id(p)]: group[key] for group in optimizer.param_groups for p in group["params"]}


def test_a_task_s_steps_scale_every_rate_of_the_encoder_and_no_head_s(entries):
    optimizer = AdamW(parameter_groups(entries))
    rates = PerTaskLR(optimizer, LR, {"sst": 3e-3, "sts": 0.0})
    base = {entry.name: entry.lr for entry in entries}
    for task, factor in (("sst", 0.3), ("paraphrase", 1.0), ("sts", 0.0), ("sst", 0.3), ("paraphrase", 1.0)):
        rates.set_rates((task,))
        wanted = {name: lr * (factor if name.startswith("encoder.") else 1) for name, lr in base.items()}
        assert rates_by_name(optimizer, entries) == pytest.approx(wanted, rel=1e-12, abs=0)
    rates.set_rates(("paraphrase",))
    assert rates_by_name(optimizer, entries) == base  # to the last bit


def test_schedules_multiply_the_task_s_rate(entries):
    optimizer = AdamW(parameter_groups(entries))
    rates = PerTaskLR(optimizer, LR, {"sst": 2e-2})
    precision = Precision("fp32", torch.device("cpu"), lambda step: 1 / (step + 1))
    for step, (task, factor) in enumerate((("sst", 2.0), ("sts", 1.0), ("sst", 2.0))):
        rates.set_rates((task,))
        precision.step(optimizer)
        found = rates_by_name(optimizer, entries, "lr")
        assert found["encoder.pooler.dense.weight"] == pytest.approx(LR * factor / (step + 1), rel=1e-12)
        assert found["encoder.embeddings.norm.bias"] == pytest.approx(0.05 * factor / (step + 1), rel=1e-12)
        assert found["heads.sst.1.weight"] == pytest.approx(0.3 / (step + 1), rel=1e-12)


def take_step(model, make_batch, task, optimizer, precision, rates):
    loss = model.loss(task, make_batch(model, task, 4))
    loss.backward()
    rates.set_rates((task,))
    precision.step(optimizer)


def test_a_step_at_rate_0_leaves_the_encoder_bit_equal(model, entries, make_batch):
    optimizer = AdamW(parameter_groups(entries))
    rates = PerTaskLR(optimizer, LR, {"sst": 0.0})
    precision = Precision("fp32", torch.device("cpu"))
    for task, moves in (("sst", False), ("sts", True), ("sst", False), ("paraphrase", True)):
        before = copy.deepcopy(model.state_dict())
        take_step(model, make_batch, task, optimizer, precision, rates)
        after = model.state_dict()
        changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert ("encoder" in changed) == moves
        assert ("heads" in changed) == (task != "sts")


def test_a_resumed_run_has_the_rates_of_its_own_configuration(make_model, make_batch):
    """The state is saved in the middle of another task's rate; the base must not be taken from there."""

    def start():
        model = make_model(**TASKS)
        optimizer = AdamW(parameter_groups(assign(model, OPTIM, {})))
        return (
            model,
            optimizer,
            Precision("fp32", torch.device("cpu")),
            PerTaskLR(optimizer, LR, {"sst": 1e-4}),
        )

    def go_on(model, optimizer, precision, rates, tasks):
        for task in tasks:
            take_step(model, make_batch, task, optimizer, precision, rates)

    model, optimizer, precision, rates = start()
    go_on(model, optimizer, precision, rates, ("paraphrase", "sst"))
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    go_on(model, optimizer, precision, rates, ("paraphrase", "sst", "sts"))
    again, *rest = start()
    again.load_state_dict(weights)
    rest[0].load_state_dict(state)
    go_on(again, *rest, ("paraphrase", "sst", "sts"))
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_steps_without_a_share_have_their_rates_too(entries):
    """As in a process that has no share of a small batch: all must move their copies alike."""
    optimizer = AdamW(parameter_groups(entries))
    rates = PerTaskLR(optimizer, LR, {"sst": 2 * LR})
    plan = [Step(i, 1, False, iter(()), (task,)) for i, task in enumerate(("sts", "sst", "sts"), start=1)]
    found = []
    for step in rates.steps(plan):
        found.append((step.number, rates_by_name(optimizer, entries)["encoder.pooler.dense.bias"]))
    assert found == [(1, LR), (2, 2 * LR), (3, LR)]


def test_a_rate_of_0_has_no_multiple(entries):
    optimizer = AdamW(parameter_groups(entries))
    with pytest.raises(InputError, match="optim.lr is 0, so sst.encoder-lr has no rate to be a multiple of"):
        PerTaskLR(optimizer, 0.0, {"sst": 1e-3})
