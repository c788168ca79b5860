"""Plots of a run: which files, how large, with little to draw, and without matplotlib."""

import json
import struct
import sys
from pathlib import Path

import pytest

from multitask.inference.plots import write_plots
from multitask.inference.run import open_source

matplotlib = pytest.importorskip("matplotlib")


def size_of(path: Path) -> tuple[int, int]:
    """Width and height, from a PNG's header."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    return struct.unpack(">II", content[16:24])


@pytest.fixture
def run(tiny_folder, tiny_data, tmp_path):
    """As after training: a folder with metrics, scores of sst and sts."""
    run = open_source(tiny_folder, ["sst", "sts"])
    run.trained = ("sst", "sts")
    run.folder = tmp_path
    run.scores = {"scores": {"sst": {"accuracy": 0.4}, "sts": {"pearson": 0.3}}}
    object.__setattr__(run.config, "data", str(tiny_data))
    records = [{"kind": "train", "step": i, "loss": {"sst": 2 / i, "sts": 0.1 / i}} for i in range(1, 40)]
    records.append({"kind": "evaluation", "step": 39, "scores": run.scores["scores"]})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return run


def test_both_plots_are_written_without_choosing_a_window_system(run):
    before = matplotlib.rcParams._get_backend_or_none()
    folder = run.folder / "plots"
    assert write_plots(run) == [f"wrote {folder / 'loss.png'}", f"wrote {folder / 'sst-confusion.png'}"]
    assert size_of(folder / "loss.png") == (840, 480)
    assert size_of(folder / "sst-confusion.png") == (600, 528)
    run.scores = {}  # no task sst, and no records
    (run.folder / "metrics.jsonl").unlink()
    assert write_plots(run) == [f"wrote {folder / 'loss.png'}"]  # over the old one
    assert matplotlib.rcParams._get_backend_or_none() == before


def test_without_matplotlib_one_line_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert write_plots(run) == ['no plots: they need matplotlib; pip install "minbert[plots]"']
    assert not (run.folder / "plots").exists()
