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
OPTIM = OptimConfig(lr=LR, head_lr=0.3, embeddings_lr=0.05, layer_decay=0.5, weight_decay=0.1)
TASKS = {"sst": {"pooling": "pooler"}, "paraphrase": {"pairs": "bi"}, "sts": {}}


class Training:
    """A model with an optimizer whose encoder has rates by task."""

    def __init__(self, make_model, rates, lr=LR):
        self.model = make_model(**TASKS)
        self.entries = assign(self.model, OPTIM, {})
        self.optimizer = AdamW(parameter_groups(self.entries))
        self.precision = Precision("fp32", torch.device("cpu"), lambda step: 1 / (step + 1))
        self.rates = PerTaskLR(self.optimizer, lr, rates)

    def steps(self, *tasks):
        """As the loop takes them from the plan; these have no micro-batches in this process."""
        return self.rates.steps(
            [Step(i, 1, False, iter(()), (task,)) for i, task in enumerate(tasks, start=1)]
        )

    def by_name(self, key="initial_lr"):
        names = {id(entry.parameter): entry.name for entry in self.entries}
        return {names[id(p)]: group[key] for group in self.optimizer.param_groups for p in group["params"]}

    def run(self, make_batch, *tasks):
        for step in self.steps(*tasks):
            self.model.loss(step.tasks[0], make_batch(self.model, step.tasks[0], 4)).backward()
            self.precision.step(self.optimizer)


def test_a_task_s_steps_scale_every_rate_of_the_encoder_and_no_head_s(make_model):
    """Schedules multiply that; after the last step the rates are the base ones to the last bit."""
    training = Training(make_model, {"sst": 3e-3, "sts": 0.0})
    base, factors = training.by_name(), {"sst": 0.3, "paraphrase": 1.0, "sts": 0.0}
    assert base == {entry.name: entry.lr for entry in training.entries}
    for number, step in enumerate(training.steps("sst", "paraphrase", "sts", "sst", "paraphrase"), start=1):
        factor = factors[step.tasks[0]]
        wanted = {name: lr * (factor if name.startswith("encoder.") else 1) for name, lr in base.items()}
        assert training.by_name() == pytest.approx(wanted, rel=1e-12, abs=0)
        training.precision.step(training.optimizer)
        scheduled = {name: lr / number for name, lr in wanted.items()}
        assert training.by_name("lr") == pytest.approx(scheduled, rel=1e-12, abs=0)
    assert training.by_name() == base


def test_a_step_at_rate_0_leaves_the_encoder_bit_equal(make_model, make_batch):
    training = Training(make_model, {"sst": 0.0})
    for task, moves in (("sst", False), ("sts", True), ("sst", False), ("paraphrase", True)):
        before = copy.deepcopy(training.model.state_dict())
        training.run(make_batch, task)
        after = training.model.state_dict()
        changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert ("encoder" in changed, "heads" in changed) == (moves, task != "sts")


def test_a_rate_of_0_has_no_multiple(make_model):
    with pytest.raises(InputError, match="optim.lr is 0, so sst.encoder-lr has no rate to be a multiple of"):
        Training(make_model, {"sst": 1e-3}, lr=0.0)
