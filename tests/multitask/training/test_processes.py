"""A run in two processes equals the run in one: the same weights, one folder, exact resume."""

import json

import pytest
import torch
from safetensors.torch import load_file

from minbert import InputError
from multitask import resume, train
from multitask.config.option_types import merge
from multitask.config.run_config import RunConfig

TASKS = {
    "plain": {"tasks": {"sst": {}, "paraphrase": {}, "sts": {"loss": "cosent"}}},
    "together": {
        "sampling": "together",
        "gradients": {"surgery": "pcgrad"},
        "tasks": {"sst": {"accumulation": 2}, "sts": {}},
    },
    "contrastive": {
        "tasks": {"ranking": {"chunk_size": 2, "learn_temperature": True, "batch_size": 8}, "sst": {}}
    },
    "cached": {"freeze": "backbone", "tasks": {"sst": {}, "paraphrase": {"pooling": "cls"}}},
}


@pytest.fixture
def values(tiny_values, tiny_folder):
    """Without dropout, so that it does not matter who computes what."""
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return tiny_values | {"model": rates, "optim": {"lr": 1e-3, "head_lr": 1e-3}}


@pytest.mark.parametrize("changes", TASKS)
def test_two_processes_train_what_one_trains(values, changes, tmp_path, run_processes):
    values = merge(values, TASKS[changes])
    for task in values["tasks"].values():
        task["dropout"] = 0.0
    train(RunConfig.from_dict(values | {"out": str(tmp_path / "one")}))
    (tmp_path / "run.json").write_text(json.dumps(values | {"out": str(tmp_path / "two")}), encoding="utf-8")
    run_processes(2, "-m", "multitask", "train", str(tmp_path / "run.json"))
    for name in ("model", "heads"):
        one, two = (
            load_file(tmp_path / folder / "last" / f"{name}.safetensors") for folder in ("one", "two")
        )
        for key, tensor in one.items():
            torch.testing.assert_close(two[key], tensor, rtol=0, atol=1e-5)
    records = [
        json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text("utf-8").splitlines()
    ]
    # Written once, by the first process.
    assert len({(record["kind"], record["step"]) for record in records}) == len(records)


@pytest.mark.slow
def test_a_resumed_run_needs_as_many_processes_and_is_exact(tiny_values, tmp_path, run_processes):
    """With dropout, which each process draws for itself."""
    values = merge(tiny_values, {"tasks": {"sst": {}, "sts": {}}, "checkpoint": {"every_steps": 4}})
    for name in ("whole", "killed"):
        content = json.dumps(values | {"out": str(tmp_path / name)})
        (tmp_path / f"{name}.json").write_text(content, encoding="utf-8")
    killed = tmp_path / "killed"
    run_processes(2, "-m", "multitask", "train", str(tmp_path / "whole.json"))
    run_processes(2, "-m", "multitask", "train", f"{killed}.json", until=(killed / "last").is_dir)
    assert not (killed / "scores.json").exists()
    with pytest.raises(InputError, match="was trained by 2 processes, this is 1; resume it with as many"):
        resume(killed)
    run_processes(2, "-m", "multitask", "resume", str(killed))
    for name in ("last/model", "last/heads", "best/model"):
        ours, theirs = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("killed", "whole"))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


STOPS = """
import json, sys
from multitask import RunConfig, train
from multitask import Callback

class Stops(Callback):
    def on_step_end(self, step):
        return step == 3

run = train(RunConfig.from_dict(json.loads(sys.argv[1])), callbacks=[Stops()])
assert run.scores["step"] == 3
"""


def test_a_callback_of_the_first_process_ends_all(values, tmp_path, run_processes):
    run_processes(2, "-c", STOPS, json.dumps(values | {"tasks": {"sst": {}}}))
    records = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [(r["kind"], r["step"]) for r in map(json.loads, records)] == [("train", 3), ("evaluation", 3)]
