"""Fixtures for the tests of multitask: tiny data in the course's formats, and a tiny run's configuration."""

import csv
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


@pytest.fixture
def tiny_values(tiny_folder, tiny_data, tmp_path):
    """Nested values of a configuration that trains in a fraction of a second, into `tmp_path / "run"`."""
    return {
        "weights": str(tiny_folder),
        "data": str(tiny_data),
        "out": str(tmp_path / "run"),
        "device": "cpu",
        "threads": 1,
        "train": {"epochs": 2, "batch_size": 8},
        "optim": {"lr": 1e-3, "head_lr": 1e-2},
    }


@pytest.fixture
def tiny_config(tiny_values):
    """The function `tiny_config(**changes)` -> RunConfig, as `tiny_config(train={"epochs": 1})`."""
    from multitask.config.option_types import merge

    return lambda **changes: RunConfig.from_dict(merge(tiny_values, changes))


@pytest.fixture(scope="session")
def run_processes():
    """The function `start_processes(count, *arguments, until=None)`."""
    return start_processes


def start_processes(count: int, *arguments: str, until=None) -> None:
    """Runs `python ARGUMENTS` in `count` processes as torchrun would; raises where one fails.

    `until()` says, again and again, whether it is time to kill them all.
    """
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
    if until is not None:
        while not until():
            assert all(process.poll() is None for process in processes), "ended before it was killed"
            time.sleep(0.005)
        for process in processes:
            process.kill()
            process.communicate()
        return
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n".join(outputs)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
