"""Rows given in Python: the run on files with the same rows, and what is not a row."""

import csv
import json

import numpy as np
import pytest

from minbert import InputError
from multitask import load_run, resume, train
from tests.multitask.runs import killed, records

FILES = {"sst": "ids-sst", "paraphrase": "quora", "sts": "sts"}


@pytest.fixture
def rows(tiny_data):
    """The rows of the tiny data, as the csv module reads them, with numbers as labels."""

    def read(task: str, split: str) -> list[dict]:
        with open(tiny_data / f"{FILES[task]}-{split}.csv", encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file, delimiter="\t"))
        label = list(found[0])[-1]
        return [row | {label: float(row[label])} for row in found]

    return {task: {split: read(task, split) for split in ("train", "dev")} for task in FILES}


def weights(folder):
    return [(folder / "best" / name).read_bytes() for name in ("model.safetensors", "heads.safetensors")]


@pytest.mark.parametrize("form", ["dictionaries", "pandas", "pyarrow", "iterable"])
def test_a_run_on_rows_is_the_run_on_files(form, rows, tiny_config, tiny_run, tmp_path):
    if form == "pandas":
        make = pytest.importorskip("pandas").DataFrame
    elif form == "pyarrow":
        make = pytest.importorskip("pyarrow").Table.from_pylist
    else:
        make = {"dictionaries": list, "iterable": tuple}[form]
    given = {task: {split: make(part) for split, part in splits.items()} for task, splits in rows.items()}
    run = train(tiny_config(data=None), data=given)
    assert weights(tmp_path / "run") == weights(tiny_run) and records(tmp_path / "run") == records(tiny_run)
    # The rows are in the run's folder, also where that is moved.
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = load_run(tmp_path / "moved", device="cpu")
    assert moved.evaluate().scores == run.scores["scores"]
    assert moved.task("sst").config.train == "sst-train.jsonl" and moved.config.data == "<memory>"


def test_an_interrupted_run_on_rows_resumes(rows, tiny_config, tiny_run, tmp_path):
    stages = [{"tasks": ["sst"], "train": {"epochs": 1}}, {}]
    whole = train(tiny_config(data=None, stages=stages, out=str(tmp_path / "whole")), data=rows)
    config = tiny_config(data=None, stages=stages)
    killed(lambda: train(config, data=rows), 3)
    resume(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole.folder)


def test_kinds_that_read_lines_and_words(tiny_config, tmp_path):
    texts = ["the cat reads", "a good\nfilm", "dogs", "is it"] * 3
    words = [{"words": np.array(text.split()), "tags": ["O"] * len(text.split())} for text in texts]
    for row in words[::2]:
        row["tags"] = ["B-X", *row["tags"][1:]]
    given = {
        "simcse": {"train": texts},
        "masked_lm": {"train": [{"text": text} for text in texts]},
        "ner": {"train": words, "dev": words},
    }
    train(tiny_config(data=None, tasks={name: {} for name in given}, train={"epochs": 1}), data=given)
    kept = tmp_path / "run" / "data"
    assert (kept / "simcse-train.txt").read_text() == (kept / "masked_lm-train.txt").read_text()
    assert (kept / "simcse-train.txt").read_text().splitlines() == [text.replace("\n", " ") for text in texts]
    assert json.loads((kept / "ner-train.jsonl").read_text().splitlines()[0])["tags"] == ["B-X", "O", "O"]


def test_missing_values_of_pandas_are_rejects(tiny_config, tmp_path, said):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {"text": ["a"] * 30 + [None], "label": pandas.array([1, 2] * 15 + [None], "Int64")}
    )
    table.loc[len(table)] = ["b", pandas.NA]
    given = {"own": {"train": table}}
    train(tiny_config(data=None, tasks={"own": {"type": "classification"}}, train={"epochs": 1}), data=given)
    assert any("own-train.jsonl:31 rejected: the text 'text' is empty or not text" in line for line in said)
    assert any("own-train.jsonl:32 rejected: the label 'label' is empty" in line for line in said)
    assert "own: 2 classes: 1 15, 2 15" in said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sts": {"train": []}, "st": {}}, "task in data is 'st'; choose from sst, paraphrase, sts"),
        (
            {"sst": {"tran": []}},
            r"split in data\['sst'\] is 'tran'; choose from train, dev, test; did you mean",
        ),
        ({"sst": {"train": []}}, r"no rows of the task paraphrase; give data\['paraphrase'\]"),
        ({"sst": {"train": ["a"]}}, "row 0 of sst-train is of type str; give a list of dictionaries"),
        (
            {"sst": {"train": [{"sentence": {1, 2}}]}},
            r"row 0 of sst-train: .*of type set; give texts, numbers",
        ),
        ({"sst": {"train": [{"sentense": "a"}]}}, "no column 'sentence'; did you mean 'sentense'"),
    ],
)
def test_what_is_not_a_row_is_refused(data, message, rows, tiny_config, tmp_path):
    if "sst" in data and "paraphrase" not in message:
        data = rows | {"sst": data["sst"] | {"dev": rows["sst"]["dev"]}}
    with pytest.raises(InputError, match=message):
        train(tiny_config(data=None), data=data)
    assert not (tmp_path / "run").exists()


def test_rows_and_a_folder_are_refused_together(rows, tiny_config):
    with pytest.raises(InputError, match="data are given twice, as rows and as the folder"):
        train(tiny_config(), data=rows)
