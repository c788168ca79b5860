"""Runs that SIGKILL or SIGTERM ends at random moments have at their end the bits of those that went on.

MINBERT_KILLS is the number of SIGKILLs in each slow test, a quarter of it that of SIGTERMs; default 20.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("MINBERT_KILLS", 20))
VARIANTS = {
    "dropout, several tasks": {},
    "LoRA": {"lora": {"rank": 2, "dropout": 0.1}},
    "surgery": {"sampling": "together", "gradients": {"surgery": "pcgrad"}},
    "accumulation": {"train": {"epochs": 2, "batch_size": 4, "accumulation": 2}},
    "SMART's teacher": {"smart": {"weight": 1.0, "bregman": 1.0}},
    "unfreezing": {"unfreeze": "3"},
    "cache": {"freeze": "embeddings,first:1"},
    "one checkpoint": {"checkpoint": {"every_steps": 2, "keep": 1}},
    "checkpoints by time": {"checkpoint": {"every_minutes": 1e-4}},
}


def run_killed(options: dict, folder: Path, kills: int, number: int, processes: int = 1, **changes) -> str:
    """Runs kills.py; returns what it says."""
    short = {"limit": 24, "checkpoint": {"every_steps": 2}, "tasks": {"sst": {}, "sts": {}}}
    (folder / "config.json").write_text(json.dumps(options | short | changes), encoding="utf-8")
    words = [folder / "config.json", folder, kills, int(number), processes, 16]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.kills", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_few_kills(tiny_options, tmp_path):
    assert run_killed(tiny_options, tmp_path, 3, signal.SIGKILL).startswith("3 signals")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("variant", VARIANTS)
def test_many_kills(tiny_options, tmp_path, variant, number):
    kills = KILLS if number == signal.SIGKILL else max(1, KILLS // 4)
    run_killed(tiny_options, tmp_path, kills, number, **VARIANTS[variant])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_many_kills_of_one_of_two_processes(tiny_options, tmp_path, number):
    """The other one ends too, and saves nothing by itself."""
    kills = KILLS if number == signal.SIGKILL else max(1, KILLS // 4)
    run_killed(tiny_options, tmp_path, kills, number, processes=2)
