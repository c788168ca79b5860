"""Runs on token stores: the same tensors, losses, scores and predictions as on rows in memory."""

import json
from dataclasses import replace

import pytest

from multitask import load_run, train
from multitask.data import token_store
from multitask.tasks import splits
from tests.multitask.runs import assert_same_run


@pytest.fixture
def stores(monkeypatch, tmp_path):
    """Every split takes the way of a large one, in pieces; yields the folder where its tokens are kept."""
    monkeypatch.setattr(splits, "SMALL", 0)
    monkeypatch.setattr(token_store, "ROWS_AT_ONCE", 7)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "minbert" / "tokens"


def test_a_run_on_stores_is_the_run_in_memory(stores, tiny_config, tiny_run, tmp_path):
    train(tiny_config(out=str(tmp_path / "written")))
    kept = sorted(path.name for path in stores.iterdir() if path.is_dir())
    assert len(kept) == 6  # train and dev of three tasks
    train(tiny_config(out=str(tmp_path / "found")))
    assert sorted(path.name for path in stores.iterdir() if path.is_dir()) == kept
    for out in ("written", "found"):
        assert_same_run(tmp_path / out, tiny_run)


def test_scores_and_predictions_from_stores(stores, tiny_run, tiny_data, tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    for path in tiny_data.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        header = lines[0].split("\t")
        without_text = (
            "\t".join([f"no-text-{name}" if name == "id" else "" for name in header[:-1]]) + "\t1.0\n"
        )
        no_label = lines[2].rpartition("\t")[0] + "\t\n"
        lines[2:2] = [without_text, "\n", no_label.replace(lines[2].split("\t")[1], "no-label"), "\tshort\n"]
        (data / path.name).write_text("".join(lines), encoding="utf-8")
    run = load_run(tiny_run, device="cpu")
    run.config = replace(run.config, max_rejected=0.2)
    found = []
    for small, name in ((2**30, "memory"), (0, "written"), (0, "found")):
        monkeypatch.setattr(splits, "SMALL", small)
        evaluation = run.evaluate(data)
        files, notes = run.write_predictions(tmp_path / name, data)
        found.append((evaluation.as_dict(), notes, [(path.name, path.read_bytes()) for path in files]))
    assert len(found[0][2]) == 3 and any("has no text" in note for note in found[0][1])
    assert all(b"no-label" in content and b"no-text" in content for _, content in found[0][2])
    assert found[0] == found[1] == found[2]
    assert len([path for path in stores.iterdir() if path.is_dir()]) == 6  # to score, to predict


def test_a_split_of_several_files_is_hashed_file_by_file(stores, tiny_config, tiny_data, tmp_path):
    """And a run on the parts of a file is the run on the file, ids and hashes aside."""
    data = tmp_path / "data"
    (data / "parts").mkdir(parents=True)
    lines = (tiny_data / "ids-sst-train.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "whole.csv").write_text("".join(lines), encoding="utf-8")
    for number, part in enumerate((lines[1:20], lines[20:])):
        (data / "parts" / f"{number}.csv").write_text("".join([lines[0], *part]), encoding="utf-8")
    found = []
    for name in ("parts", "whole.csv", "parts/*.csv"):
        out = tmp_path / f"run{len(found)}"
        sst = {"train": name, "dev": None, "test": None}
        train(tiny_config(data=str(data), out=str(out), tasks={"sst": sst}))
        environment = json.loads((out / "environment.json").read_text(encoding="utf-8"))
        found.append((out / "best" / "model.safetensors").read_bytes())
        parts = {f"{name}/{number}.csv" for number in (0, 1)}
        assert environment["data"].keys() == ({name} if name == "whole.csv" else parts)
    assert found[0] == found[1] == found[2]
