"""Fixtures for the tests of multitask: tiny data in the course's formats, and a tiny run's configuration."""

import csv
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from multitask import train
from multitask.config.option_types import merge
from multitask.config.run_config import RunConfig
from multitask.runtime.messages import show_messages

ROOT = Path(__file__).parents[2]
COLUMNS = {
    "ids-sst": ("sentence", "sentiment"),
    "quora": ("sentence1", "sentence2", "is_duplicate"),
    "sts": ("sentence1", "sentence2", "similarity"),
}
ROWS = {"train": {"ids-sst": 45, "quora": 39, "sts": 22}, "dev": dict.fromkeys(COLUMNS, 15)}


@pytest.fixture
def said():
    """The messages of the package so far, as a command line shows them."""
    lines: list[str] = []
    with show_messages(lines.append):
        yield lines


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Most of the time of a tiny run is fsync, which only a power cut can tell from nothing."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def draw_row(name: str, draw: random.Random, vocabulary: list[str]) -> list:
    words = [word for word in vocabulary if word.isalpha() and len(word) > 1]
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in COLUMNS[name][:-1]]
    labels = {"ids-sst": range(5), "quora": (0.0, 1.0), "sts": [i / 4 for i in range(21)]}
    return [*texts, draw.choice(labels[name])]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory, vocabulary):
    """A data folder: 45, 39 and 22 training rows of sst, paraphrase and sts, 15 of dev. To be read only."""
    folder = tmp_path_factory.mktemp("data")
    draw = random.Random(0)
    for split, counts in ROWS.items():
        for name, count in counts.items():
            with open(folder / f"{name}-{split}.csv", "w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, delimiter="\t", lineterminator="\n")
                table.writerow(["", "id", *COLUMNS[name]])
                table.writerows([i, f"{name}{i}", *draw_row(name, draw, vocabulary)] for i in range(count))
    return folder


@pytest.fixture(scope="session")
def tiny_options(tiny_folder, tiny_data):
    """Nested values of a configuration that trains in a fraction of a second, without `out`."""
    return {
        "weights": str(tiny_folder),
        "data": str(tiny_data),
        "device": "cpu",
        "threads": 1,
        "train": {"epochs": 2, "batch_size": 8},
        "optim": {"lr": 1e-3, "head_lr": 1e-2},
    }


@pytest.fixture
def tiny_values(tiny_options, tmp_path):
    """The same, into `tmp_path / "run"`."""
    return tiny_options | {"out": str(tmp_path / "run")}


@pytest.fixture
def tiny_config(tiny_values):
    """The function `tiny_config(**changes)` -> RunConfig, as `tiny_config(train={"epochs": 1})`."""
    return lambda **changes: RunConfig.from_dict(merge(tiny_values, changes))


@pytest.fixture(scope="session")
def tiny_run(tiny_options, tmp_path_factory):
    """The folder of a run of `tiny_config()`: 28 steps, 14 an epoch. To be read only."""
    out = tmp_path_factory.mktemp("tiny") / "run"
    train(RunConfig.from_dict(tiny_options | {"out": str(out)}))
    return out


@pytest.fixture(scope="session")
def run_processes():
    """The function `run_processes(count, *arguments)`."""
    return start_processes


def start_processes(count: int, *arguments: str) -> None:
    """Runs `python ARGUMENTS` in `count` processes as torchrun would; raises where one fails."""
    environment = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n".join(outputs)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
