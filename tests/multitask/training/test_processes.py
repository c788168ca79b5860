"""A run in several processes equals the run in one: weights, losses, tokens, scores; exact resume; one end.

The processes are real, joined by gloo on this machine; those of one count train all runs.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert import InputError
from multitask import resume, train
from multitask.config.option_types import merge
from multitask.config.run_config import RunConfig
from multitask.runtime.tracking import read_metrics
from tests.multitask.runs import killed, ones_for

# With 22 rows a task, batches of 7 end with one example: in three processes two of them have none.
RAGGED = {"limit": 22, "train": {"batch_size": 7}}
THREE = {"sst": {}, "paraphrase": {}, "sts": {}}
ACCUMULATING = {"sst": {"accumulation": 2}, "paraphrase": {"accumulation": 3}, "sts": {"batch_size": 3}}
SAMPLE = {"data": "sample", "limit": 13}
WARM = {"temperature": 1.0}  # cosines are not magnified, their rounding neither
LORA = {"lora": {"rank": 2}}
SCORES = 1e-5  # correlations of predictions that are nearly equal magnify what is 1e-7 in these
CASES = {
    "default": {"tasks": THREE},
    "sequential-ner": SAMPLE | {"sampling": "sequential", "tasks": {"ner": {"batch_size": 4}, "sst": {}}},
    "round-robin-lora": LORA | {"sampling": "round-robin", "tasks": ACCUMULATING},
    "uniform-r-drop": {"sampling": "uniform", "r_drop": 1.0, "tasks": ACCUMULATING},
    "square-root-smart": {
        "sampling": "square-root",
        "smart": {"weight": 1.0, "bregman": 0.5, "noise": 1e-3, "radius": 1e-2},
        "tasks": {"sst": {"accumulation": 2}, "paraphrase": {}},
    },
    "temperature-adapters": LORA
    | {"sampling": "temperature:2", "adapter_per_task": True, "tasks": ACCUMULATING},
    "annealed-heads": {"sampling": "annealed", "freeze": "backbone", "tasks": ACCUMULATING},
    "together-pcgrad": {"sampling": "together", "gradients": {"surgery": "pcgrad"}, "tasks": ACCUMULATING},
    "together-plain": {"sampling": "together", "tasks": ACCUMULATING},
    "contrastive": {
        "tasks": {"ranking": WARM | {"learn_temperature": True, "batch_size": 6}, "sst": {}},
    },
    "grad-cache": {
        "tasks": {"ranking": WARM | {"chunk_size": 2, "batch_size": 8}, "sts": WARM | {"loss": "cosent"}}
    },
    "unfreezing": {"unfreeze": "2", "tasks": THREE},
    "cached": {"freeze": "embeddings,first:1", "tasks": {"sst": {}, "paraphrase": {"pooling": "cls"}}},
    "checkpointing": {"train": {"checkpointing": True}, "sampling": "together", "tasks": THREE},
}
SHARDED = {"parallel": "fsdp"}
FSDP = {
    "fsdp-plain": SHARDED | {"tasks": THREE},
    "fsdp-accumulation": SHARDED | {"sampling": "together", "tasks": ACCUMULATING},
    "fsdp-contrastive": SHARDED | {"tasks": {"ranking": WARM | {"batch_size": 6}, "sst": {}}},
    "fsdp-lora": SHARDED | LORA | {"sampling": "round-robin", "tasks": ACCUMULATING},
    "fsdp-frozen": SHARDED
    | {"freeze": "embeddings,first:1", "tasks": THREE, "train": {"checkpointing": True}},
}
QUICK = (
    "default",
    "round-robin-lora",
    "square-root-smart",
    "together-pcgrad",
    "together-plain",
    "grad-cache",
)
QUICK += ("unfreezing",)
HALF = {"precision": "bf16", "sampling": "together", "tasks": ACCUMULATING}
BF16 = {"bf16-step": merge(HALF, {"train": {"max_steps": 1}}), "bf16": HALF}
TWO = (*QUICK, *BF16, "stopped", "whole", "killed", "whole-fsdp", "killed-fsdp")
DROPPING = {"limit": 24, "tasks": THREE, "checkpoint": {"every_steps": 4}}
CODE = """
import json, sys, torch
from multitask import Callback, RunConfig, resume, train
from multitask.training.progress import Progress
from tests.multitask.runs import ones_for

configs = {name: RunConfig.from_dict(values) for name, values in json.loads(sys.argv[1]).items()}

class Stops(Callback):
    def on_step_end(self, step):
        return step == 3

class Killed(BaseException):
    pass

after_step = Progress.after_step

def dies(self, step):
    if step.number == 7:
        raise Killed
    after_step(self, step)

randn = torch.randn
torch.randn = ones_for(randn)  # SMART's first noise, by which tokens would be told apart
for name, config in configs.items():
    if "whole" in name or "killed" in name:
        torch.randn = randn
    if "killed" in name:
        Progress.after_step = dies
    try:
        train(config, callbacks=[Stops()] if name == "stopped" else [])
    except Killed:
        Progress.after_step = after_step
"""
RESUME = "import sys; from multitask import resume; resume(sys.argv[1])"


@pytest.fixture(scope="module")
def values(tiny_options):
    """The values of each run; those of CASES without dropout: it does not matter then who computes what."""
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    # An eps at which AdamW does not blow up the rounding of gradients that are nearly 0.
    optim = {"lr": 1e-3, "head_lr": 1e-3, "eps": 1e-3}
    same = merge(tiny_options, RAGGED | {"model": rates, "optim": optim, "eval": {"batch_tokens": 64}})
    found = {name: merge(same, changes) for name, changes in (CASES | FSDP | BF16).items()}
    for run in found.values():
        run["tasks"] = {task: {"dropout": 0.0, **own} for task, own in run["tasks"].items()}
    for name in ("whole", "killed"):
        found[name] = merge(tiny_options, DROPPING | {"unfreeze": "3"})
        found[f"{name}-fsdp"] = merge(tiny_options, DROPPING | SHARDED)
    found["stopped"] = merge(tiny_options, {"tasks": {"sst": {}}})
    return found


@pytest.fixture(scope="module")
def trained(values, run_processes, tmp_path_factory):
    """The function `trained(count, names)`: the folder with the runs of that many processes."""
    folders = {}

    def run(count: int, names: tuple[str, ...]) -> Path:
        if (count, names) not in folders:
            out = folders[count, names] = tmp_path_factory.mktemp(f"{count}-processes")
            runs = {name: values[name] | {"out": str(out / name)} for name in names}
            run_processes(count, "-c", CODE, json.dumps(runs))
        return folders[count, names]

    return run


@pytest.fixture(scope="module")
def alone(values, tmp_path_factory):
    """The function `alone(name)`: the folder of a run in this process."""
    out = tmp_path_factory.mktemp("alone")

    def run(name: str) -> Path:
        if not (out / name).exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch, "randn", ones_for(torch.randn))
                train(RunConfig.from_dict(values[name] | {"out": str(out / name), "parallel": "ddp"}))
        return out / name

    return run


def numbers(value):
    """The numbers of nested values, but those that measure time and memory, or count rows of embeddings."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if key not in ("seconds", "training_seconds", "peak_memory", "trained_parameters"):
                yield from numbers(entry)
    elif isinstance(value, float | int):
        yield value


def assert_equal_runs(ours: Path, theirs: Path) -> None:
    for part in ("model", "heads"):
        found, wanted = (load_file(run / "last" / f"{part}.safetensors") for run in (ours, theirs))
        for key, tensor in wanted.items():
            torch.testing.assert_close(found[key], tensor, rtol=0, atol=1e-6)
    records = [read_metrics(run / "metrics.jsonl") for run in (ours, theirs)]
    assert len(records[0]) == len(records[1]) > 2  # written once, by the first process
    for one, other in zip(*records, strict=True):
        assert (one["kind"], one["step"]) == (other["kind"], other["step"])
        near = 1e-6 if one["kind"] == "train" else SCORES
        assert list(numbers(one)) == pytest.approx(list(numbers(other)), rel=near, abs=near)
    scores = [json.loads((run / "scores.json").read_text(encoding="utf-8")) for run in (ours, theirs)]
    assert scores[0]["costs"]["tokens"] == scores[1]["costs"]["tokens"]
    assert list(numbers(scores[0])) == pytest.approx(list(numbers(scores[1])), rel=SCORES, abs=SCORES)


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_train_what_one_trains(trained, alone, name):
    assert_equal_runs(trained(2, TWO) / name, alone(name))


def test_in_bf16_one_steps_gradients_and_the_losses_are_near(trained, alone):
    """Their sums are rounded otherwise. AdamW's first moment is a tenth of the clipped gradient."""
    ours, theirs = (
        load_file(run / "last" / "training_state" / "tensors.safetensors")
        for run in (trained(2, TWO) / "bf16-step", alone("bf16-step"))
    )
    moments = [key for key in theirs if key.endswith("exp_avg")]
    assert len(moments) > 30
    for key in moments:
        assert (ours[key] - theirs[key]).norm() <= 2**-7 * theirs[key].norm(), key
    for one, other in zip(
        *(read_metrics(run / "metrics.jsonl") for run in (trained(2, TWO) / "bf16", alone("bf16"))),
        strict=True,
    ):
        assert one.get("loss", {}) == pytest.approx(other.get("loss", {}), abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", (*CASES, *FSDP))
def test_three_processes_train_what_one_trains(trained, alone, name):
    assert_equal_runs(trained(3, tuple(FSDP if name in FSDP else CASES)) / name, alone(name))


def test_a_callback_of_the_first_process_ends_all(trained):
    records = read_metrics(trained(2, TWO) / "stopped" / "metrics.jsonl")
    assert [(record["kind"], record["step"]) for record in records] == [("train", 3), ("evaluation", 3)]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_in_another_number_of_processes(
    trained, values, run_processes, tmp_path, said, before, after
):
    out = tmp_path / "run"
    if before == 2:
        shutil.copytree(trained(2, TWO) / "killed", out)
        resume(out)
        assert "the run was trained by 2 processes, this is 1: it goes on" in "".join(said)
    else:
        killed(lambda: train(RunConfig.from_dict(values["killed"] | {"out": str(out)})), after=7)
        run_processes(2, "-c", RESUME, str(out))
    found, wanted = (read_metrics(run / "metrics.jsonl") for run in (out, trained(2, TWO) / "whole"))
    assert [(r["kind"], r["step"], r.get("rate")) for r in found] == [
        (r["kind"], r["step"], r.get("rate")) for r in wanted
    ]


@pytest.mark.parametrize("kind", ["", "-fsdp"], ids=["ddp", "fsdp"])
def test_a_resumed_run_is_exact(trained, run_processes, kind):
    """With dropout, which each process draws for itself; unfrozen layers; sharded moments."""
    two = trained(2, TWO)
    run_processes(2, "-c", RESUME, str(two / f"killed{kind}"))
    for name in ("last/model", "last/heads", "best/model"):
        ours, theirs = (
            load_file(two / f"{run}{kind}" / f"{name}.safetensors") for run in ("killed", "whole")
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    shards = sorted(path.name for path in (two / "killed-fsdp/last/training_state").glob("shard*"))
    assert shards == ["shard-00001-of-00002.safetensors", "shard-00002-of-00002.safetensors"]


@pytest.mark.slow
def test_sharded_moments_go_on_in_another_number_of_processes(trained, run_processes, tmp_path):
    shutil.copytree(trained(2, TWO) / "killed-fsdp", tmp_path / "run")
    run_processes(3, "-c", RESUME, str(tmp_path / "run"))
    assert (
        json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8"))["costs"]["epochs"] == 2.0
    )


def test_a_process_alone_has_nothing_to_share(tiny_config):
    with pytest.raises(InputError, match="parallel fsdp shares the model among processes; start several"):
        train(tiny_config(parallel="fsdp"))
