"""A run that is given more epochs or steps goes on from its last step, at the rates of the new length."""

import json

import pytest
from safetensors.torch import load_file

from minbert import InputError, schedule_factor
from multitask import resume, train
from multitask.training import trainer
from tests.multitask.runs import Killed, assert_same_run, killed, records

STEADY = {"optim": {"schedule": "constant", "warmup": 0.0}}  # rates that do not depend on the length
NOTE = "after step {} the run was given {} steps in place of {}"


def tensors(folder):
    return {path.name: load_file(path) for path in folder.rglob("*.safetensors")}


@pytest.mark.parametrize(
    ("short", "more"),
    [({"epochs": 1}, {"epochs": 2}), ({"epochs": 3, "max_steps": 17}, {"max_steps": 28})],
)
def test_where_no_rate_depends_on_the_length_it_is_the_longer_run(tiny_config, tmp_path, said, short, more):
    out, whole = tmp_path / "run", tmp_path / "whole"
    train(tiny_config(train=short, **STEADY))
    run = resume(out, **more)
    train(tiny_config(out=str(whole), train=short | more, **STEADY))
    for name, expected in tensors(whole / "last").items():
        for key, value in tensors(out / "last")[name].items():
            assert value.equal(expected[key]), (name, key)
    before = 14 if "epochs" in more else 17
    note = NOTE.format(before, 28, before)
    assert sum(line.startswith(note) for line in said) == 1
    assert run.scores["notes"] == json.loads((out / "scores.json").read_text())["notes"]
    assert run.scores["notes"][0].startswith(note)
    assert note.capitalize() in (out / "README.md").read_text() and "max" not in run.scores["notes"][0]
    assert (
        json.loads((out / "config.json").read_text())["train"] | more
        == (json.loads((whole / "config.json").read_text())["train"])
    )
    content = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert resume(out, **more).scores["notes"] == run.scores["notes"]  # the same command again
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == content


def test_the_rates_are_those_of_the_new_length_from_the_step_reached(tiny_config, tmp_path):
    train(tiny_config(train={"epochs": 1}))
    resume(tmp_path / "run", epochs=2)
    found = {r["step"]: r["rate"] for r in records(tmp_path / "run") if r["kind"] == "train"}
    assert found.keys() == {10, 14, 20, 28}
    for step, rate in found.items():
        total, warmup = (14, 1) if step <= 14 else (28, 3)
        assert rate == pytest.approx(1e-3 * schedule_factor("linear", step - 1, total, warmup)), step


def test_an_extended_run_is_resumed_bit_by_bit(tiny_config, tmp_path):
    """Killed before its first checkpoint, after one, and while the folder is given the new length."""
    every = {"checkpoint": {"every_steps": 4}, "tasks": {"sst": {}, "sts": {}}, "lora": {"rank": 2}}
    for name in ("whole", "run"):
        train(tiny_config(out=str(tmp_path / name), train={"epochs": 1}, **every))
    resume(tmp_path / "whole", epochs=3)
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer, "write_json", lambda *arguments: (_ for _ in ()).throw(Killed))
        resume(out, epochs=3)
    assert resume(out).scores["notes"] == []  # a run of its old length, whole again
    killed(lambda: resume(out, epochs=3), 10)
    killed(lambda: resume(out), 19)
    resume(out, epochs=3)
    assert_same_run(out, tmp_path / "whole")


def test_a_run_that_patience_had_stopped_goes_on(tiny_config, tmp_path):
    train(tiny_config(train={"epochs": 9}, optim={"lr": 0.0, "head_lr": 0.0}, patience=1))
    assert json.loads((tmp_path / "run/scores.json").read_text())["costs"]["epochs"] == 2
    assert resume(tmp_path / "run", epochs=10).scores["costs"]["epochs"] == 3


def test_a_finished_run_without_its_state_is_not_begun_anew(tiny_config, tmp_path):
    out = tmp_path / "run"
    train(tiny_config(train={"epochs": 1}, tasks={"sst": {}}))
    (out / "last").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="run has no last/ to go on from; .*--weights .*run/best"):
        resume(out, epochs=2)
    assert (out / "scores.json").is_file() and resume(out).scores["step"] > 0


@pytest.mark.parametrize(
    ("config", "asked", "message"),
    [
        ({"train": {"epochs": 2}}, {"epochs": 1}, "--train.epochs is 1, and .*run has 2; give more"),
        (
            {},
            {"max_steps": 40},
            "--train.max-steps is 40, and .* no such limit: it ends after 1 epochs",
        ),
        (
            {"train": {"max_steps": 2}},
            {"epochs": 5},
            "has taken 2 steps, and 5 epochs and .* 2 are 2",
        ),
        (
            {"train": {"max_steps": 90}},
            {"max_steps": 99},
            "and 1 epochs and .* 99 are 6; give more --train.ep",
        ),
        ({"stages": [{}, {}]}, {"epochs": 5}, "has stages, .*multitask train --weights .*run/best"),
    ],
)
def test_a_length_that_cannot_be_is_refused(tiny_config, tmp_path, config, asked, message):
    out = tmp_path / "run"
    train(tiny_config(**{"train": {"epochs": 1} | config.pop("train", {}), "tasks": {"sst": {}}} | config))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        resume(out, **asked)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
