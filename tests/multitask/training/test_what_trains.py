"""Every freezing policy with and without LoRA, in each precision: two steps of every task change the right
tensors, and no others by a single bit.
"""

import re

import pytest
import torch

from multitask.config.option_types import merge
from multitask.config.run_config import RunConfig
from multitask.data.sample import write_sample
from multitask.training.loop import train_loop
from multitask.training.trainer import Trainer

TASKS = ("sst", "paraphrase", "sts", "news", "ner", "simcse", "nli", "ranking", "masked_lm")
EMBEDDINGS, POOLER, LAYER = r"encoder\.embeddings\.", r"encoder\.pooler\.", r"encoder\.encoder\.layers\.{}\."
BASE = r"encoder\.(?!.*\.adapters\.)"
FULL = {}
LORA = {"lora": {"rank": 2, "layers": "last:1"}}
DORA = {"lora": {"rank": 2, "targets": ["all-linear"], "dora": True, "rslora": True}}
PER_TASK = {"lora": {"rank": 2}, "adapter_per_task": True}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The first rows of the bundled corpus."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    for path in folder.rglob("*.*"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[: 200 if "conll" in str(path) else 31]), encoding="utf-8")
    return folder


@pytest.fixture
def train_two_steps(tiny_options, sample, said):
    """changes -> (names of all tensors, of those that changed) after two steps of every task."""

    def train(**changes):
        tasks = {name: {"batch_size": 4} for name in TASKS}
        optim = {"weight_decay": 0.0, "warmup": 0.0}
        short = {"data": str(sample), "limit": 8, "sampling": "round-robin", "train": {"epochs": 1}}
        values = merge(merge(tiny_options, short | {"tasks": tasks, "optim": optim}), changes)
        values["tasks"]["sst"]["pooling"] = "pooler"
        trainer = Trainer(RunConfig.from_dict(values))
        trainer.setup(sample)
        model, parts = trainer.inputs.model, trainer.components
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.train()
        arguments = parts.plan, parts.method, parts.gradients, parts.precision, parts.optimizer
        train_loop(parts.engine, *arguments, lambda step, micro_batch, loss: None, parts.after_step)
        after = model.state_dict()
        assert all(tensor.isfinite().all() for tensor in after.values())
        changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
        assert not [line for line in said if "without a gradient" in line]
        order = [name for _, names in parts.plan.task_order() for name in names]
        assert {order.count(name) for name in order} == {2}
        return set(before), changed

    return train


@pytest.mark.parametrize(
    ("policy", "adapters", "precision", "stays"),
    [
        ("none", FULL, "fp32", ()),
        ("none", DORA, "bf16", (BASE,)),
        ("backbone", FULL, "bf16", (r"encoder\.",)),
        ("backbone", PER_TASK, "fp32", (BASE,)),
        ("embeddings", FULL, "fp32", (EMBEDDINGS,)),
        ("pooler", FULL, "bf16", (POOLER,)),
        ("first:1", LORA, "fp32", (BASE,)),
        ("last:1", FULL, "fp32", (LAYER.format(1),)),
        ("embeddings,layers:1", FULL, "bf16", (EMBEDDINGS, LAYER.format(1))),
        ("head:sst", LORA, "bf16", (r"heads\.sst\.", BASE)),
        ("backbone,head:ner", FULL, "fp32", (r"encoder\.", r"heads\.ner\.")),
    ],
)
def test_the_right_tensors_change(policy, adapters, precision, stays, train_two_steps):
    dropout = {"frozen_dropout": True}  # simcse has no two views of a sentence without it
    names, changed = train_two_steps(freeze=policy, precision=precision, **adapters, **dropout)
    assert changed == {name for name in names if not any(re.match(part, name) for part in stays)}


def test_gradual_unfreezing_reaches_what_it_has_unfrozen(train_two_steps):
    _, changed = train_two_steps(unfreeze="4")
    assert any("encoder.layers.1" in name for name in changed)
    names, changed = train_two_steps(unfreeze="1000")
    assert changed == {name for name in names if name.startswith("heads.")}
