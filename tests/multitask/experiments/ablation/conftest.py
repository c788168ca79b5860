"""Fixtures for the tests of ablate: a table in a file, computed once, and how often its cells were begun."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from minbert import CommandParser
from multitask.cli.ablate import add_ablate_options, read_options
from multitask.config.options import RunOptions
from multitask.experiments.ablation.ablate import ablate
from multitask.experiments.ablation.compute_cell import LOGS, compute_cell
from multitask.experiments.ablation.definition import Ablation
from multitask.experiments.executor.engine import Engine
from multitask.experiments.executor.job import Job

TABLE = """
title = "Two rates"
seeds = [1, 2]

[base]
device = "cpu"
threads = 1

[base.train]
epochs = 3
batch_size = 8

[base.optim]
lr = 1e-3
head_lr = 1e-2

[[rows]]
name = "slow"

[[rows]]
name = "fast"
set.optim.lr = 3e-3
"""
THIRD = """
[[rows]]
name = "frozen"
set.freeze = "backbone"
"""
BROKEN = """
[[rows]]
name = "broken"
set.optim.lr = 1e30
set.optim.clip = 0.0
"""
WAIT = 600  # seconds after which a test gives up


class Tables:
    """two.toml: two rows and two seeds; three.toml: a third row; broken.toml: one whose loss is no number."""

    def __init__(self, folder: Path, weights: Path, data: Path):
        self.folder = folder
        self.words = ["--weights", str(weights), "--data", str(data)]
        (folder / "two.toml").write_text(TABLE, encoding="utf-8")
        (folder / "three.toml").write_text(TABLE + THIRD, encoding="utf-8")
        (folder / "broken.toml").write_text(TABLE + BROKEN, encoding="utf-8")

    def command(self, *words: str, name: str = "two.toml") -> list[str]:
        return ["ablate", str(self.folder / name), *self.words, *words]

    def read(self, name: str, *words: str) -> Ablation:
        parser = CommandParser(prog="multitask ablate")
        add_ablate_options(parser)
        return read_options(RunOptions(parser, self.command(*words, name=name)[1:]))

    def start(self, out: Path, *words: str, name: str = "two.toml") -> subprocess.Popen:
        """`multitask ablate` of a table as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "multitask", *self.command("--out", str(out), *words, name=name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # a job in the background has Ctrl-C ignored, and hands that on
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    @staticmethod
    def logs(out: Path) -> str:
        """All that the cells' processes have printed."""
        return "".join(path.read_text(encoding="utf-8") for path in (out / LOGS).glob("*.txt"))

    @staticmethod
    def starts(out: Path) -> Counter[str]:
        """How often each cell was begun or taken up, by its log's name."""
        logs = sorted((out / LOGS).glob("*.txt"))
        return Counter({path.stem: path.read_text(encoding="utf-8").count(" computes ") for path in logs})

    @staticmethod
    def wait_for(happened) -> None:
        end = time.monotonic() + WAIT
        while not happened():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.02)

    @staticmethod
    def cells(summary: dict[str, Any], *seeds: int) -> list[dict[str, Any]]:
        """Results of the cells with these seeds, without what depends on interruptions."""
        kept = ("seed", "key", "state", "error", "scores")
        cells = [cell for row in summary["rows"] for cell in row["cells"] if cell["seed"] in seeds]
        return [{key: cell[key] for key in kept} for cell in cells]


@pytest.fixture(scope="session")
def tables(tmp_path_factory, tiny_folder, tiny_data) -> Tables:
    return Tables(tmp_path_factory.mktemp("tables"), tiny_folder, tiny_data)


class ThisProcess:
    """An executor that computes a cell in this process when it is asked what has ended."""

    threads = 1

    def __init__(self):
        self.job: Job | None = None

    @classmethod
    @contextmanager
    def executor(cls, engine: Engine):
        """Stands for `Engine.executor`."""
        yield cls()

    def submit(self, job: Job) -> bool:
        free = self.job is None
        self.job = self.job or job
        return free

    def poll(self) -> dict[str, None]:
        job, self.job = self.job, None
        if job is None:
            return {}
        Path(job.log).parent.mkdir(exist_ok=True)
        with open(job.log, "a") as log, redirect_stdout(log), redirect_stderr(log):
            compute_cell(job.argument)
        return {job.key: None}


@pytest.fixture
def in_process(monkeypatch) -> None:
    """Lets `ablate` compute its cells in this process."""
    monkeypatch.setattr(Engine, "executor", lambda self: ThisProcess.executor(self))


@pytest.fixture(scope="session")
def finished(tables, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """broken.toml computed without interruption, its weights kept: its folder and table.json's content."""
    out = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "executor", lambda self: ThisProcess.executor(self))
        patch.setattr(os, "fsync", lambda descriptor: None)
        return out, ablate(tables.read("broken.toml"), out, keep_weights=True)
