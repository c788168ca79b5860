"""Gradual unfreezing: what is trained when, from the top, and that a resumed run goes on alike."""

import pytest
import torch

from minbert import AdamW
from multitask.config.run_config import OptimConfig
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.model.multitask_model import MultitaskModel
from multitask.training.parameters.freezing import freeze
from multitask.training.parameters.groups import assign, parameter_groups
from multitask.training.parameters.unfreezing import Unfreezing
from multitask.training.plan import Step
from tests.encoders import fresh_encoder

# The two layers of the tiny model, from the top, as they are unfrozen.
STAGES = [
    ("heads.",),
    ("encoder.encoder.layers.1.", "encoder.pooler."),
    ("encoder.encoder.layers.0.",),
    ("encoder.embeddings.",),
]
PARTS = ["layer 1 and the pooler", "layer 0", "embeddings"]
TASKS = {"sst": {"pooling": "pooler"}, "paraphrase": {"pairs": "bi"}, "sts": {}}


def step_of(number, an_epoch=2):
    return Step(number, (number + an_epoch - 1) // an_epoch, number % an_epoch == 0, iter(()))


def trained_names(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def names_of(model, stages):
    prefixes = tuple(prefix for stage in stages for prefix in stage)
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("every", "stages"),
    [
        ("epoch", [1, 1, 2, 2, 3, 3, 4, 4, 4]),  # before step 1, 2, ... with two steps an epoch
        ("1", [1, 2, 3, 4, 4]),
        ("3", [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4]),
    ],
)
def test_layers_join_from_the_top_and_drop_nothing_before(make_model, every, stages):
    model = make_model(**TASKS).train()
    unfreezing = Unfreezing(model, every)
    encoder = model.train().encoder
    for number, count in enumerate(stages, start=1):
        assert trained_names(model) == names_of(model, STAGES[:count])
        layers = [*encoder.encoder.layers, encoder.embeddings]
        assert [layer.training for layer in layers] == [count > 2, count > 1, count > 3]
        assert encoder.training == (count > 1) and model.heads["sst"].training
        unfreezing.after_step(step_of(number))
    assert trained_names(model) == {name for name, _ in model.named_parameters()}


def test_the_user_is_told(make_model, said):
    unfreezing = Unfreezing(make_model(**TASKS), "epoch")
    for number in range(1, 11):
        unfreezing.after_step(step_of(number))
    assert said == [
        f"gradual unfreezing: after each epoch the next of {', '.join(PARTS)}",
        "step 2: unfroze layer 1 and the pooler; 2 of 3 parts are still frozen",
        "step 4: unfroze layer 0; 1 of 3 parts are still frozen",
        "step 6: unfroze embeddings; 0 of 3 parts are still frozen",
    ]


@pytest.mark.parametrize(
    ("every", "epochs", "steps", "left"),
    [("epoch", 1, 100, 3), ("epoch", 3, 100, 1), ("epoch", 9, 100, 0), ("10", 1, 10, 3), ("10", 1, 11, 2)],
)
def test_what_a_run_never_reaches(make_model, every, epochs, steps, left):
    """The moment after the last step trains nothing any more."""
    assert Unfreezing(make_model(**TASKS), every).left_frozen(epochs, steps) == PARTS[3 - left :]


def test_tensors_that_no_task_reads_and_frozen_ones_stay_out(make_model):
    model = make_model(sst={"pooling": "mean"})
    freeze(model, "embeddings,head:sst")
    unfreezing = Unfreezing(model, "1")
    pooler = {"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}
    assert list(unfreezing.parts) == ["layer 1", "layer 0"]
    assert trained_names(model) == pooler  # untouched: it gets no gradient
    for number in range(1, 5):
        unfreezing.after_step(step_of(number))
    assert trained_names(model) == pooler | names_of(model, [("encoder.encoder.layers.",)])


def test_what_is_added_to_the_encoder_is_trained_from_the_start():
    sizes = dict(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=1, intermediate_size=4)
    adapters = dict(projected_attention_heads=1, projected_attention_names=("sst",), attention_head_layers=1)
    encoder = fresh_encoder(**sizes, **adapters, projected_attention_size=2)
    model = MultitaskModel(encoder, {"sst": make_task("sst", task_config("sst", {}))})
    added = {name for name in names_of(model, [("encoder.",)]) if "adapters" in name or "head_layers" in name}
    Unfreezing(model, "1")
    assert trained_names(model) - model.unused_parameters() == added | names_of(model, [("heads.",)])
    assert len(added) > 4


class Training:
    """A run of steps over all tasks, by what the real one is made of."""

    def __init__(self, model, make_batch, every):
        self.model, self.make_batch = model, make_batch
        self.unfreezing = Unfreezing(model, every)
        optim = OptimConfig(lr=1e-2, head_lr=1e-2, layer_decay=0.5, weight_decay=0.1)
        entries = assign(model, optim, {}, later=self.unfreezing.names)
        self.optimizer = AdamW(parameter_groups(entries))
        self.names = {id(entry.parameter): entry.name for entry in entries}
        model.train()

    def run(self, first, last):
        for number in range(first, last + 1):
            for task in self.model.tasks:
                loss = self.model.loss(task, self.make_batch(self.model, task, 4, number))
                if loss.requires_grad:
                    loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.unfreezing.after_step(step_of(number))

    def counted(self):
        """The steps that AdamW counts of each tensor."""
        return {self.names[id(parameter)]: state["step"] for parameter, state in self.optimizer.state.items()}


def test_tensors_are_bit_equal_until_their_turn_and_adamw_counts_from_their_own_first_step(
    make_model, make_batch
):
    model = make_model(**TASKS)
    training = Training(model, make_batch, "2")
    for stage in range(4):
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        training.run(2 * stage + 1, 2 * stage + 2)
        after = dict(model.named_parameters())
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == names_of(model, STAGES[: stage + 1])
        counted = {
            name: 2 * (stage - late) + 2
            for late in range(stage + 1)
            for name in names_of(model, STAGES[late : late + 1])
        }
        assert training.counted() == counted
