"""Tiny runs to average."""

import os

import pytest

from multitask import RunConfig, train


@pytest.fixture(scope="module")
def data(tiny_data):
    """The runs' data."""
    return tiny_data


@pytest.fixture(scope="module")
def train_run(tiny_folder, data, tmp_path_factory):
    """The function train_run(name, **changes) -> the run's folder, as text."""
    folder = tmp_path_factory.mktemp("runs")

    def train_one(name, **changes):
        values = {
            "weights": str(tiny_folder),
            "data": str(data),
            "out": str(folder / name),
            "device": "cpu",
            "train": {"epochs": 2, "batch_size": 8, "seed": len(name)},
            "optim": {"lr": 1e-3, "head_lr": 1e-2},
            "max_rejected": 0.2,  # two of 17 rows of a dev split
            "tasks": {"sst": {}, "paraphrase": {}, "sts": {}},
        }
        return str(train(RunConfig.from_dict(values | changes)).folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield train_one
