"""benchmarks/encode.py, scaling.py, start.py, memory.py: run through on a tiny model and the bundled sample.

Run: pytest tests/benchmarks/test_encoding_commands.py
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, arguments), "--threads", "1"],
        capture_output=True,
        text=True,
    )


def results(name: str, *arguments: object) -> dict:
    done = run(name, *arguments, "--repetitions", 1, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["machine"]["threads"] == 1
    return found


@pytest.mark.slow
def test_encode(tiny_folder):
    found = results("encode", tiny_folder, "--sentences", 12, "--long", 3)
    rows = found["rows"]
    assert [(row["floor"], row["aim"]) for row in rows] == [
        *((1.5, 2.0), (2.6, 4.0), (1.35, 2.0)),
        *((1.6, 1.9), (2.6, 3.5)),
    ]
    assert [row["peer"].split()[-1] for row in rows] == ["fp32", "fp32", "bf16", "fp32", "fp32"]
    for row in (rows[0], rows[3]):  # the same vectors as the peer's
        assert "goal held" in row["difference"] and row["ratio"]["median"] > 0
    for row in (rows[1], rows[2], rows[4]):  # near to fp32, and not fp32 itself
        assert row["difference"].startswith("least cosine to fp32 0.99")
    assert "at most 64 tokens" in rows[3]["work"]  # the tiny model's positions
    long = [entry for entry in found["measured"] if "long" in entry["texts"]]
    assert len(long) == 4 and len(found["measured"]) == 8
    tokens = {round(entry["tokens/s"] * entry["seconds, median"]) for entry in long}
    assert tokens == {3 * 64}  # real tokens, the same for each contender: reviews fill what they may


def test_scaling(tiny_folder):
    (row,) = results("scaling", tiny_folder, "--sentences", 4)["rows"]
    assert row["floor"] == 0.95 and "40 sentences" in row["work"]
    assert float(row["difference"].rpartition(" ")[2]) < 1e-5


def test_weights_that_are_not_there_are_one_line(tmp_path):
    done = run("scaling", tmp_path / "none")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_start(tiny_folder):
    found = results("start", tiny_folder)
    (row,) = found["rows"]
    assert row["floor"] == 3.0 and row["difference"].startswith("cosine of both vectors 1.0000000")
    processes = {entry["process"]: entry for entry in found["measured"]}
    assert processes["import torch alone"]["peak MB"] < processes["ours"]["peak MB"]


@pytest.mark.slow
def test_memory(tiny_folder):
    measured = results("memory", tiny_folder, "--sentences", 20, "--steps", 2)["measured"]
    assert [entry["whose"] for entry in measured] == ["ours", "ours", "ours", "transformers"]
    assert [entry["found"].partition(" vectors")[0] for entry in measured[:2]] == ["20", "200"]
    assert "goal held" in measured[1]["found"]
    losses = [float(entry["found"].split()[5].rstrip(";")) for entry in measured[2:]]
    assert all(0 < loss < 10 for loss in losses)
    assert all(entry["peak MB"] > 100 for entry in measured)
