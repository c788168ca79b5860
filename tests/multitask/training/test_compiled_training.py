"""`train.compile`: the same training, compiled once for all layers and batches.

Run: pytest tests/multitask/training/test_compiled_training.py
"""

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


def missing() -> str | None:
    """What torch.compile lacks to make code for the CPU."""
    if not shutil.which(os.environ.get("CXX", "g++")):
        return "torch.compile needs a C++ compiler here, such as g++"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "torch.compile needs Python's headers here"
    return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of which torch.compile has many, raised and hidden by itself
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_compiled_run_has_the_same_losses_and_weights(tiny_config, tmp_path):
    losses, weights = [], []
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for compiles in (False, True):
        folder = tmp_path / f"compile {compiles}"
        train(
            tiny_config(
                out=str(folder),
                model=NO_DROPOUT,
                train={"compile": compiles},
                tasks={"sst": {"dropout": 0.0}},
            )
        )
        records = read_metrics(folder / "metrics.jsonl")
        losses.append([record["loss"]["sst"] for record in records if record["kind"] == "train"])
        weights.append(load_file(folder / "last" / "model.safetensors"))
        counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        assert counted == (2 if compiles else 0)  # with gradients and without, for 2 layers and 12 batches
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 3
    torch.testing.assert_close(*weights, atol=1e-5, rtol=1e-4)
