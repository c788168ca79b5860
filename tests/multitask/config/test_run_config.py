"""RunConfig: complete, refused by name where it is wrong, the same after a round trip."""

import json
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path

import pytest

from minbert import InputError
from multitask.config.option_types import merge
from multitask.config.run_config import CacheConfig, RunConfig, TrainConfig, read_config
from multitask.config.task_config import DEFAULT_TASKS, TaskConfig, task_config
from multitask.config.task_kinds import KINDS

RICH = {
    "weights": "scratch",
    "data": "sample",
    "out": "run",
    "limit": 10,
    "sampling": "sequential:my_sts,sst",
    "threads": 2,
    "train": {"epochs": 7, "batch_tokens": 512},
    "optim": {"lr": 1, "correct_bias": False, "schedule": "cosine"},
    "eval": {"every_steps": 3},
    "checkpoint": {"every_steps": 4},
    "model": {"hidden_size": 24, "num_attention_heads": 3, "pad_token_id": None},
    "tasks": {
        "my_sts": {"type": "similarity", "train": "a.csv", "high": 5, "label_scale": [-1, 1]},
        "sst": {"hidden": [16, 8], "pooling": "pooler", "normalize": "l2", "lr": 0.5},
    },
}


def test_a_round_trip_through_json_changes_nothing_and_has_every_key(tmp_path):
    for number, values in enumerate(({}, RICH)):
        config, path = RunConfig.from_dict(values), tmp_path / f"{number}.json"
        path.write_text(json.dumps(config.to_dict(), allow_nan=False), encoding="utf-8")
        assert RunConfig.from_dict(read_config(str(path))) == config
    values = config.to_dict()
    assert list(values) == [f.name for f in fields(RunConfig)]
    assert list(values["tasks"]) == ["my_sts", "sst"]
    assert set(values["tasks"]["sst"]) == {f.name for f in fields(TaskConfig)}
    assert tuple(RunConfig().tasks) == DEFAULT_TASKS == ("sst", "paraphrase", "sts")


def test_values_take_the_types_of_their_fields():
    config = RunConfig.from_dict(RICH)
    task = config.tasks["my_sts"]
    assert config.optim.lr == 1.0 and isinstance(config.optim.lr, float)
    assert (task.label_scale, task.high, task.pairs, task.text2) == ((-1.0, 1.0), 5.0, "bi", "sentence2")
    assert config.tasks["sst"].hidden == (16, 8)


def test_an_instance_takes_the_defaults_of_its_kind():
    found = task_config("quora2", {"type": "paraphrase", "pooling": "cls"})
    assert found.train == "quora-train.csv" and found.pooling == "cls" and found.type == "paraphrase"
    for kind in KINDS:
        assert task_config(kind, {}) == task_config(kind, {"type": kind})
        assert task_config(kind, {"type": ""}).type == kind


WRONG = [
    ({"epochs": 3}, "there is no key epochs; did you mean 'train.epochs'"),
    ({"trian": {}}, "there is no key trian; did you mean 'train'"),
    ({"train": {"epoch": 3}}, "there is no key train.epoch; did you mean 'epochs'"),
    ({"optim": {"lr_head": 3}}, "there is no key optim.lr_head"),
    ({"tasks": {"sst": {"poolin": "cls"}}}, "there is no key sst.poolin; did you mean 'pooling'"),
    ({"model": {"hiden_size": 3}}, "model key is 'hiden_size'; .*did you mean 'hidden_size'"),
    ({"model": {"vocab_size": 3}, "weights": "scratch"}, "model key is 'vocab_size'"),
    ({"tasks": {"ssst": {}}}, "there is no task 'ssst'; did you mean 'sst'.*--task-file"),
    ({"tasks": {"mine": {"type": "similarty"}}}, "there is no task 'similarty'; did you mean 'similarity'"),
    ({"tasks": {"mine": {"type": 3}}}, "mine.type is 3; give a text"),
    ({"tasks": {"my-task": {"type": "sst"}}}, "task name 'my-task' is not a name"),
    ({"tasks": {"train": {"type": "sst"}}}, "task name 'train' is taken"),
    ({"tasks": ["sst"]}, r"tasks is \['sst'\]; it is a table of keys"),
    ({"tasks": {"sst": "cls"}}, "tasks.sst is 'cls'; it is a table of keys"),
    ({"model": 3}, "model is 3; it is a table of keys"),
    ({"train": 3}, "train is 3; it is a table of keys"),
    ({"train": {"epochs": "3"}}, "train.epochs is '3'; give a whole number"),
    ({"train": {"epochs": 3.0}}, "train.epochs is 3.0; give a whole number"),
    ({"train": {"epochs": True}}, "train.epochs is True; give a whole number"),
    ({"train": {"epochs": 0}}, "train.epochs is 0; it must be at least 1"),
    ({"train": {"seed": -1}}, "train.seed is -1"),
    ({"optim": {"lr": "high"}}, "optim.lr is 'high'; give a number"),
    ({"optim": {"lr": float("nan")}}, "optim.lr is nan; it must be a finite number"),
    ({"optim": {"lr": float("inf")}}, "optim.lr is inf; it must be a finite number"),
    ({"optim": {"layer_decay": 0}}, "optim.layer_decay is 0.0; it must be above 0 and at most 1"),
    ({"optim": {"schedule": "linaer"}}, "optim.schedule is 'linaer'; .*did you mean 'linear'"),
    ({"optim": {"correct_bias": 1}}, "optim.correct_bias is 1; give true or false"),
    ({"tasks": {"sst": {"hidden": 3}}}, "sst.hidden is 3; give a list"),
    ({"tasks": {"sst": {"hidden": [3.5]}}}, "sst.hidden is 3.5; give a whole number"),
    ({"tasks": {"sst": {"pooling": "clss"}}}, "sst.pooling is 'clss'; .*did you mean 'cls'"),
    ({"tasks": {"sst": {"dropout": 1}}}, "sst.dropout is 1.0; it must be a rate from 0 to below 1"),
    (
        {"tasks": {"sst": {"head": "cosine"}}},
        "head is 'cosine', .* pairs is None; give pairs bi, or all three",
    ),
    ({"tasks": {"sts": {"low": 5}}}, "sts.low is 5.0, high is 5.0; low must be the smaller one"),
    ({"tasks": {"sts": {"high": float("nan")}}}, "sts.low is 0.0, high is nan"),
    ({"tasks": {"sts": {"label_scale": [1, 0]}}}, "sts.label_scale is .*two numbers, the smaller one first"),
    ({"tasks": {"sts": {"label_scale": [1]}}}, "sts.label_scale is .*two numbers"),
    ({"precision": "int8"}, "precision is 'int8'; choose from auto, fp32, bf16, fp16"),
    ({"limit": 0}, "limit is 0; it must be at least 1"),
    ({"model": {"hidden_dropout_prob": 1.5}}, "model.hidden_dropout_prob is 1.5"),
    ({"weights": "scratch", "model": {"hidden_size": 25}}, "model.hidden_size 25 cannot be split"),
]


@pytest.mark.parametrize(("values", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(InputError, match=message) as error:
        RunConfig.from_dict(values)
    assert "\n" not in str(error.value)


def test_none_is_none_where_that_is_accepted():
    config = RunConfig.from_dict({"limit": "none", "tasks": {"sst": {"normalize": "none"}}})
    assert config.limit is None and config.tasks["sst"].normalize is None
    assert RunConfig.from_dict({"freeze": "none"}).freeze == "none"
    with pytest.raises(InputError):
        RunConfig.from_dict({"train": {"epochs": "none"}})


def test_merge_puts_changes_on_top_and_alters_nothing():
    base, changes = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4, "e": {"f": 5}}, "g": 6}
    before = json.dumps([base, changes])
    assert merge(base, changes) == {"a": {"b": 1, "c": 4, "e": {"f": 5}}, "d": 3, "g": 6}
    assert json.dumps([base, changes]) == before


def test_a_toml_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'sampling = "round-robin"\ntask-file = "none"\nlimit = 5\n[train]\nbatch-size = 4\n'
        '[tasks.my_sts]\ntype = "similarity"\nhigh = 5\n[tasks.sst]\nhidden = [8]\n',
        encoding="utf-8",
    )
    config = RunConfig.from_dict(read_config(str(path)))
    assert (config.sampling, config.task_file, config.limit, config.train.batch_size) == (
        "round-robin",
        None,
        5,
        4,
    )
    assert list(config.tasks) == ["my_sts", "sst"]
    assert config.tasks["my_sts"].high == 5.0 and config.tasks["sst"].hidden == (8,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", b"[train\n", "a.toml is not TOML .*; mend the file"),
        ("a.toml", b"\xff", "a.toml cannot be read .byte 0 is not UTF-8"),
        ("a.json", b"{", "a.json is not JSON .*; mend the file"),
        ("a.json", b"[1]", r"a.json is \[1\]; it is a table of keys"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_config(str(tmp_path / name))


def test_presets():
    with pytest.raises(InputError, match="presets: .*; did you mean 'paper-baseline'"):
        read_config("paper-basline")
    names = [path.name for path in (resources.files("multitask") / "config" / "presets").iterdir()]
    presets = [name.removesuffix(".toml") for name in names if name.endswith(".toml")]
    configs = {preset: RunConfig.from_dict(read_config(preset)) for preset in presets}
    assert configs["paper-baseline"].tasks["paraphrase"].features == ("u", "v")
    assert configs["sample"].data == "sample"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunConfig(track="wandb"), "track is 'wandb'; give a list"),
        (lambda: RunConfig(tasks={"sst": {}}), "tasks.sst is {}; give a TaskConfig; RunConfig.from_dict"),
        (
            lambda: RunConfig(train={"epochs": 1}),
            "train is {'epochs': 1}; give a TrainConfig; RunC",
        ),
        (lambda: TrainConfig(epochs="3"), "epochs is '3'; give a whole number"),
    ],
)
def test_wrong_types_in_python_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_paths_become_texts_and_absolute_where_they_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    config = RunConfig(data=Path("data"), weights="owner/name", data_cache="later", task_file=None)
    assert config.data == "data"
    expected = replace(config, data=str(tmp_path / "data"), data_cache=str(tmp_path / "later"))
    assert config.absolute() == expected
    sample = RunConfig(weights="scratch", data="sample", cache=CacheConfig(folder="kept"))
    (tmp_path / "sample").mkdir()
    assert sample.absolute() == replace(sample, cache=CacheConfig(folder=str(tmp_path / "kept")))
