"""The model card: its header is the Hub's, its numbers are the run's, and it stays out of everyone's way."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from multitask import train
from multitask.config.task_kinds import find_kind
from multitask.inference.model_card import changed_keys, is_hub_name, yaml_scalar
from multitask.runtime.tracking import read_metrics


def card_of(folder: Path) -> ModelCard:
    return ModelCard.load(folder / "README.md", ignore_metadata_errors=False)


def tables_of(text: str) -> list[list[str]]:
    """The cells of every table's rows."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows]


def test_the_hub_reads_the_scores_of_the_run(run):
    card, scores = card_of(run.folder), json.loads((run.folder / "scores.json").read_text())
    found = {(r.task_name, r.metric_type): r.metric_value for r in card.data.eval_results}
    expected = {
        (task, name): value for task, values in scores["scores"].items() for name, value in values.items()
    }
    expected |= {(None, name): value for name, value in scores["overall"].items()}
    assert {(None if t == "all tasks" else t, name): v for (t, name), v in found.items()} == expected
    assert {r.dataset_split for r in card.data.eval_results} == {"dev"}
    kinds = {r.task_name: r.task_type for r in card.data.eval_results}
    assert kinds["sst"] == kinds["paraphrase"] == "text-classification"
    assert kinds["sts"] == "sentence-similarity"
    assert card.data.library_name == "transformers" and card.data.model_name == "run"
    assert {"sst", "paraphrase", "sts", "bert"} <= set(card.data.tags)
    assert card.data.language is None and card.data.license is None and card.data.base_model is None
    assert set(card.data.metrics) >= {"accuracy", "pearson", "overall_2024", "mean_raw"}


def test_the_text_says_what_was_measured(run, data):
    text, scores = (run.folder / "README.md").read_text(), run.scores
    assert (run.folder / "best" / "README.md").read_text() == text
    rows = tables_of(text)
    for task, values in scores["scores"].items():
        for name, value in values.items():
            assert [task, "dev", "15", name, f"{value:.3f}".replace("-", "−")] in rows
    for name, value in scores["overall"].items():
        assert ["all", "dev", "", name, f"{value:.3f}".replace("-", "−")] in rows
    for task, file, count in (("sst", "ids-sst", 45), ("paraphrase", "quora", 39), ("sts", "sts", 22)):
        for split, size in (("train", count), ("dev", 15)):
            digest = hashlib.sha256((data / f"{file}-{split}.csv").read_bytes()).hexdigest()
            assert [task, split, str(size), f"`{file}-{split}.csv`", f"`{digest}`"] in rows
    costs = scores["costs"]
    assert ["tokens read", f"{costs['tokens']:,}"] in rows
    assert ["trained parameters", f"{costs['trained_parameters']:,} of {costs['parameters']:,}"] in rows
    assert ["`train.epochs`", "2", "3"] in rows and ["`optim.lr`", "0.001", "5e-05"] in rows
    assert ["torch", torch.__version__] in rows
    evaluations = [r for r in read_metrics(run.folder / "metrics.jsonl") if r["kind"] == "evaluation"]
    assert f"best of {len(evaluations)} by its dev scores (step {scores['step']}" in text
    assert "one seed (11711)" in text


def test_no_path_and_no_sentence_gets_out(run, data, tiny_folder):
    text = (run.folder / "README.md").read_text()
    for path in (data, tiny_folder, run.folder):
        assert str(path) not in text and str(path.parent) not in text
    for file in data.glob("*.csv"):
        with open(file, encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows, delimiter="\t"):
                sentences = [row[key] or "" for key in row if key.startswith("sentence")]
                assert not [s for s in sentences if len(s.split()) > 3 and s in text]


def test_a_variant_without_dev_scores_on_few_examples_says_so(tiny_config, tiny_data, tmp_path):
    for name in ("ids-sst", "quora", "sts"):
        (tmp_path / f"{name}-train.csv").write_bytes((tiny_data / f"{name}-train.csv").read_bytes())
    changes = {"model": {"attention_head_layers": 1}, "limit": 5, "train": {"max_steps": 1}}
    card = card_of(train(tiny_config(data=str(tmp_path), **changes)).folder)
    assert card.data.eval_results is None
    assert "There was no dev split to score." in card.text and "best of" not in card.text
    assert card.data.library_name == "minbert"
    assert "AutoModel" not in card.text and "only minBERT can load it" in card.text
    assert "Only 5 random examples of each split were used." in card.text
    assert ["`limit`", "5", "none"] in tables_of(card.text)


def test_names_that_the_hub_may_know(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "best").mkdir(parents=True)
    assert is_hub_name("bert-base-uncased") and is_hub_name("sentence-transformers/all-MiniLM-L6-v2")
    for name in ("runs/best", "scratch", "../weights", "/weights", "a/b/c", "./a", "a b"):
        assert not is_hub_name(name)


def test_weights_found_by_name_are_the_base(tiny_config, tiny_folder, tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "bert-tiny").symlink_to(tiny_folder)
    monkeypatch.chdir(tmp_path)
    run = train(tiny_config(weights="bert-tiny", train={"max_steps": 1}))
    assert card_of(run.folder).data.base_model == "bert-tiny"


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        (("cfimdb", "mrpc"), "text-classification"),
        (("similarity",), "sentence-similarity"),
        (("ner", "tokens"), "token-classification"),
        (("masked_lm",), "other"),
    ],
)
def test_kinds_of_tasks_as_the_hub_calls_them(kinds, name):
    assert {find_kind(kind).hub_task for kind in kinds} == {name}


def test_settings_that_differ(tiny_config):
    config = tiny_config(tasks={"sst": {"pooling": "cls"}, "sts": {}}, lora={"rank": 4}, track=["wandb"])
    found = {key: (value, usual) for key, value, usual in changed_keys(config)}
    assert found == {
        "lora.rank": (4, 0),
        "train.epochs": (2, 3),
        "train.batch_size": (8, 32),
        "optim.lr": (1e-3, 5e-5),
        "optim.head_lr": (1e-2, 3e-4),
        "sst.pooling": ("cls", "mean"),
    }


@pytest.mark.parametrize(
    "value",
    [
        "x: y",
        'quotes " and \\ and # and \n',
        "äöü",
        "\x7f \x9b31m \udc80",
        "null",
        "yes",
        "1.0",
        1e-05,
        1.5e-07,
        1e22,
        1.0,
        7,
    ],
)
def test_yaml_is_read_back(value):
    read = yaml.safe_load(f"key: {yaml_scalar(value)}")["key"]
    assert read == value and type(read) is type(value)
