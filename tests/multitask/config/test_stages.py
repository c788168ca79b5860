"""Stages: each starts from the best weights of the one before; an interrupted run goes on in its stage."""

import pytest
import torch
from safetensors.torch import load_file

from minbert import InputError
from multitask import load_run, resume, train
from multitask.config.run_config import RunConfig, read_config
from multitask.config.stages import stage_configs, stage_folder
from multitask.training.progress import Progress

STAGES = [
    {"tasks": ["sst"], "freeze": "backbone", "train": {"epochs": 1}},
    {"tasks": ["sst", "sts"], "sts": {"weight": 2.0}, "optim": {"lr": 1e-4}},
]


@pytest.fixture
def staged(tiny_config):
    return lambda **changes: tiny_config(**{"stages": STAGES, "tasks": {"sst": {}, "sts": {}}} | changes)


def test_a_stage_changes_what_it_names_and_nothing_else(staged, tmp_path, tiny_folder):
    first, second = stage_configs(staged())
    assert (first.freeze, first.train.epochs, list(first.tasks)) == ("backbone", 1, ["sst"])
    assert (second.freeze, second.train.epochs, list(second.tasks)) == ("none", 2, ["sst", "sts"])
    assert (second.tasks["sts"].weight, second.optim.lr, second.optim.head_lr) == (2.0, 1e-4, 1e-2)
    assert first.weights == str(tiny_folder)
    assert second.weights == str(stage_folder(tmp_path / "run", 1) / "best")
    assert stage_configs(staged(stages=[])) == [staged(stages=[])]
    assert (first.out, second.out) == (str(stage_folder(tmp_path / "run", 1)), str(tmp_path / "run"))


def test_the_stages_of_the_preset_are_three_runs():
    config = RunConfig.from_dict(read_config("stages") | {"weights": "folder", "out": "run"})
    stages = stage_configs(config)
    assert [list(stage.tasks) for stage in stages] == [["masked_lm"], *[["sst", "paraphrase", "sts"]] * 2]
    assert [stage.freeze for stage in stages] == ["none", "backbone", "none"]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"weights": "x"}, "stage 2: weights belongs to the whole run"),
        ({"tasks": ["paraphrase"]}, "stage 2: there is no task 'paraphrase' in the run; it has sst, sts"),
        ({"freeze": "all"}, "stage 2: freeze all leaves nothing to train"),
        ({"frieze": "none"}, "stage 2: there is no key frieze; did you mean 'freeze'"),
        ({"tasks": "sst"}, "stage 2: tasks is 'sst'; give a list"),
        ({"sst": {"pooling": "clss"}}, "stage 2: sst.pooling is 'clss'"),
    ],
)
def test_a_wrong_stage_is_refused_before_anything_is_written(staged, tmp_path, stage, message):
    with pytest.raises(InputError, match=message):
        train(staged(stages=[STAGES[0], stage]))
    assert not (tmp_path / "run").exists()


def test_the_second_stage_begins_where_the_first_one_ended(staged, tmp_path, tiny_folder, said):
    run = train(staged(stages=[STAGES[0], STAGES[1] | {"optim": {"lr": 0.0, "head_lr": 0.0}}]))
    first = stage_folder(tmp_path / "run", 1)
    heads, begun = (load_file(folder / "best" / "heads.safetensors") for folder in (first, tmp_path / "run"))
    assert heads and all(torch.equal(begun[name], tensor) for name, tensor in heads.items())
    assert any(line.startswith("stage 2 of 2: sst, sts") for line in said)
    assert set(run.scores["scores"]) == {"sst", "sts"}
    assert load_run(tmp_path / "run").predict("sst", ["good"])[0] in range(5)


@pytest.mark.parametrize("stage, step", [(1, 3), (2, 0)])
def test_a_killed_run_goes_on_in_its_stage(staged, tmp_path, monkeypatch, stage, step):
    whole = train(staged(out=str(tmp_path / "whole")))

    class Killed(BaseException):
        pass

    original = Progress.report

    def dies(self, *arguments):
        if self.plan.total_steps == totals[stage - 1] and self.plan.step > step:
            raise Killed
        return original(self, *arguments)

    totals = [6, 18]
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "report", dies)
        with pytest.raises(Killed):
            train(staged())
    run = resume(tmp_path / "run")
    assert run.scores["scores"] == whole.scores["scores"]
    for name in ("model", "heads"):
        ours, theirs = (
            load_file(folder / "best" / f"{name}.safetensors")
            for folder in (tmp_path / "run", tmp_path / "whole")
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_masked_lm_as_a_stage_before_fine_tuning(tiny_config, tiny_data, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(
        "the cat reads a good book\nwhat a great movie\nthe river is blue\n" * 4, encoding="utf-8"
    )
    tasks = {"masked_lm": {"train": str(text)}, "sst": {}}
    run = train(tiny_config(tasks=tasks, stages=[{"tasks": ["masked_lm"]}, {"tasks": ["sst"]}]))
    assert set(run.scores["scores"]) == {"sst"}
    best = load_file(stage_folder(tmp_path / "run", 1) / "best" / "model.safetensors")
    assert not torch.equal(
        best["embeddings.word_embeddings.weight"],
        load_file(tmp_path / "run" / "best" / "model.safetensors")["embeddings.word_embeddings.weight"],
    )
