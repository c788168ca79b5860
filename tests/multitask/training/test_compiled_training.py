"""`train.compile`: the same training, compiled once for all layers and batches."""

import os
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multitask import train
from multitask.runtime.tracking import read_metrics

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
HEADERS = (Path(sysconfig.get_path("include")) / "Python.h").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of which torch.compile has many, raised and hidden by itself
@pytest.mark.skipif(
    not (HEADERS and shutil.which(os.environ.get("CXX", "g++"))),
    reason="torch.compile needs a C++ compiler, such as g++, and Python's headers",
)
def test_a_compiled_run_has_the_same_losses_and_weights(tiny_config, tmp_path):
    losses, weights = [], []
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for compiles in (False, True):
        out = tmp_path / f"compile {compiles}"
        same = {"model": NO_DROPOUT, "tasks": {"sst": {"dropout": 0.0}}}
        train(tiny_config(out=str(out), train={"compile": compiles}, **same))
        records = read_metrics(out / "metrics.jsonl")
        losses.append([record["loss"]["sst"] for record in records if record["kind"] == "train"])
        weights.append(load_file(out / "last" / "model.safetensors"))
        counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        assert counted == (2 if compiles else 0)  # with gradients and without, for 2 layers and 12 batches
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 3
    torch.testing.assert_close(*weights, atol=1e-5, rtol=1e-4)
