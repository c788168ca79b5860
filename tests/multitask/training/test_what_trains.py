"""Every freezing policy with and without LoRA, in each precision: two steps of every task change the right
tensors, and no others by a single bit.
"""

import re
from collections import Counter

import pytest
import torch

from multitask.config.run_config import RunConfig
from multitask.data.sample import write_sample
from multitask.training.loop import train_loop
from multitask.training.trainer import Trainer

TASKS = ("sst", "paraphrase", "sts", "news", "ner", "simcse", "nli", "ranking", "masked_lm")
EMBEDDINGS, POOLER, LAYER = r"encoder\.embeddings\.", r"encoder\.pooler\.", r"encoder\.encoder\.layers\.{}\."
POLICIES = {  # what of the encoder and the heads stays as it is
    "none": (),
    "backbone": (r"encoder\.",),
    "embeddings": (EMBEDDINGS,),
    "pooler": (POOLER,),
    "first:1": (LAYER.format(0),),
    "last:1": (LAYER.format(1),),
    "layers:0-1": (LAYER.format("[01]"),),
    "embeddings,layers:1": (EMBEDDINGS, LAYER.format(1)),
    "head:sst": (r"heads\.sst\.",),
    "backbone,head:ner": (r"encoder\.", r"heads\.ner\."),
}
LORA = {
    "full": {},
    "lora": {"lora": {"rank": 2, "layers": "last:1"}},
    "dora, all linear": {"lora": {"rank": 2, "targets": ["all-linear"], "dora": True, "rslora": True}},
    "an adapter a task": {"lora": {"rank": 2}, "adapter_per_task": True},
}


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """The first rows of the bundled corpus."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    for path in folder.rglob("*.*"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[: 200 if "conll" in str(path) else 31]), encoding="utf-8")
    return folder


@pytest.fixture
def train_two_steps(tiny_folder, sample, said):
    """changes -> (names of all tensors, of those that changed) after two steps of every task."""

    def train(**changes):
        tasks = {name: {"batch_size": 4} for name in TASKS} | changes.pop("tasks", {})
        tasks["sst"] |= {"pooling": "pooler"}
        values = {
            "weights": str(tiny_folder),
            "data": str(sample),
            "limit": 8,
            "device": "cpu",
            "threads": 1,
            "sampling": "round-robin",
            "train": {"epochs": 1},
            "optim": {"lr": 1e-3, "head_lr": 1e-2, "weight_decay": 0.0, "warmup": 0.0},
            "tasks": tasks,
        }
        config = RunConfig.from_dict(values | changes)
        trainer = Trainer(config)
        trainer.setup(sample)
        model, parts = trainer.inputs.model, trainer.components
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.train()
        train_loop(
            model,
            parts.plan,
            parts.method,
            parts.gradients,
            parts.precision,
            parts.optimizer,
            lambda step, micro_batch, loss: None,
            parts.after_step,
        )
        after = model.state_dict()
        assert all(tensor.isfinite().all() for tensor in after.values())
        changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
        assert not [line for line in said if "without a gradient" in line]
        steps = Counter(name for _, names in parts.plan.task_order() for name in names)
        return set(before), changed, steps

    return train


@pytest.mark.parametrize(
    ("policy", "adapters", "precision"),
    [
        (policy, adapters, ("fp32", "bf16")[(i + j) % 2])
        for i, policy in enumerate(POLICIES)
        for j, adapters in enumerate(LORA)
    ],
)
def test_the_right_tensors_change(policy, adapters, precision, train_two_steps):
    changes = LORA[adapters] | {"frozen_dropout": True}  # simcse has no two views of a sentence without it
    names, changed, steps = train_two_steps(freeze=policy, precision=precision, **changes)
    frozen = POLICIES[policy]
    if adapters != "full":
        frozen = (*frozen, r"encoder\.(?!.*\.adapters\.)")  # the whole base
    stays = {
        name
        for name in names
        if any(re.match(part, name) and ".adapters." not in name for part in frozen)
        or (re.match(r"encoder\.pooler\.", name) and adapters != "full")
    }
    assert changed == names - stays
    learns = [task for task in TASKS if task != "sts" or "encoder" not in " ".join(frozen)]
    assert all(steps[task] == 2 for task in learns if task in steps)


def test_gradual_unfreezing_reaches_what_it_has_unfrozen(train_two_steps):
    names, changed, _ = train_two_steps(unfreeze="4", tasks={"sst": {"batch_size": 4}})
    assert any("encoder.layers.1" in name for name in changed)
    names, changed, _ = train_two_steps(unfreeze="1000")
    assert changed == {name for name in names if name.startswith("heads.")}
