"""A run in two processes equals the run in one: the same weights, one folder, exact resume, one end.

The processes train all runs of this file, joined by gloo on this machine.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert import InputError
from multitask import resume, train
from multitask.config.option_types import merge
from multitask.config.run_config import RunConfig
from multitask.runtime.tracking import read_metrics

TASKS = {
    "plain": {"tasks": {"sst": {}, "paraphrase": {}, "sts": {"loss": "cosent"}}},
    "together": {
        "sampling": "together",
        "gradients": {"surgery": "pcgrad"},
        "tasks": {"sst": {"accumulation": 2}, "sts": {"batch_size": 7}},  # the 22nd example: for one process
    },
    "contrastive": {
        "tasks": {"ranking": {"chunk_size": 2, "learn_temperature": True, "batch_size": 8}, "sst": {}}
    },
    "cached": {"freeze": "embeddings,first:1", "tasks": {"sst": {}, "paraphrase": {"pooling": "cls"}}},
}
DROPPING = {"limit": 24, "tasks": {"sst": {}, "sts": {}}, "checkpoint": {"every_steps": 4}}
CODE = """
import json, sys, torch
from pathlib import Path
from multitask import Callback, RunConfig, resume, train
from multitask.training.progress import Progress
from multitask.training.trainer import Trainer

out = Path(sys.argv[1])
configs = {name: RunConfig.from_dict(values) for name, values in json.loads(sys.argv[2]).items()}
for name in ("plain", "together", "contrastive", "cached", "whole"):
    train(configs[name])

after_step = Progress.after_step

class Killed(BaseException):
    pass

def dies(self, step):
    if step.number == 7:
        raise Killed
    after_step(self, step)

Progress.after_step = dies
try:
    train(configs["killed"])
except Killed:
    Progress.after_step = after_step

class Stops(Callback):
    def on_step_end(self, step):
        return step == 3

assert train(configs["stopped"], callbacks=[Stops()]).scores["step"] == 3

trainer = Trainer(configs["cached"])
trainer.setup(Path(configs["cached"].data))
model, ran = trainer.inputs.model, []
model.encoder.encoder.layers[0].register_forward_hook(lambda *_: ran.append(0))
trainer.open_cache(out / "cache")
rows = model.collate("sst", trainer.inputs.train["sst"][:5]).inputs.cached.rows
torch.save({"ran": len(ran), "rows": rows}, out / f"{trainer.group.rank}.pt")
trainer.group.barrier()
"""
RESUME = "import sys; from multitask import resume; resume(sys.argv[1])"


@pytest.fixture(scope="module")
def values(tiny_options, tmp_path_factory):
    """The values of each run, without dropout where it must not matter who computes what."""
    out = tmp_path_factory.mktemp("processes")
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    same = tiny_options | {"limit": 24, "model": rates, "optim": {"lr": 1e-3, "head_lr": 1e-3}}
    found = {name: merge(same, changes) for name, changes in TASKS.items()}
    for run in found.values():
        run["tasks"] = {task: {"dropout": 0.0, **own} for task, own in run["tasks"].items()}
    found |= {name: merge(tiny_options, DROPPING) for name in ("whole", "killed")}
    found["stopped"] = merge(tiny_options, {"tasks": {"sst": {}}})
    return {name: run | {"out": str(out / name)} for name, run in found.items()}


@pytest.fixture(scope="module")
def two(values, run_processes):
    """The folder with the runs of two processes."""
    out = Path(values["plain"]["out"]).parent
    run_processes(2, "-c", CODE, str(out), json.dumps(values))
    return out


@pytest.mark.parametrize("name", TASKS)
def test_two_processes_train_what_one_trains(values, name, two, tmp_path):
    train(RunConfig.from_dict(values[name] | {"out": str(tmp_path / "one")}))
    for part in ("model", "heads"):
        file = f"last/{part}.safetensors"
        ours, theirs = load_file(two / name / file), load_file(tmp_path / "one" / file)
        for key, tensor in theirs.items():
            torch.testing.assert_close(ours[key], tensor, rtol=0, atol=1e-5)
    records = read_metrics(two / name / "metrics.jsonl")  # written once, by the first process
    assert len({(record["kind"], record["step"]) for record in records}) == len(records) > 2


def test_a_callback_of_the_first_process_ends_all(two):
    records = read_metrics(two / "stopped" / "metrics.jsonl")
    assert [(record["kind"], record["step"]) for record in records] == [("train", 3), ("evaluation", 3)]


def test_the_first_process_computes_the_cache_for_all(two):
    first, second = (torch.load(two / f"{rank}.pt") for rank in range(2))
    assert first["ran"] > 0 and second["ran"] == 0
    assert torch.equal(first["rows"], second["rows"])
    assert len([*(two / "cache").iterdir()]) == 1


def test_a_resumed_run_needs_as_many_processes_and_is_exact(two, run_processes):
    """With dropout, which each process draws for itself."""
    with pytest.raises(InputError, match="was trained by 2 processes, this is 1; resume it with as many"):
        resume(two / "killed")
    run_processes(2, "-c", RESUME, str(two / "killed"))
    for name in ("last/model", "last/heads", "best/model"):
        ours, theirs = (load_file(two / run / f"{name}.safetensors") for run in ("killed", "whole"))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
