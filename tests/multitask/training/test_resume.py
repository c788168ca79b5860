"""Resuming is exact: whatever stops a run, going on gives the bits of the run that nothing stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert import InputError
from multitask import resume, train
from multitask.runtime.messages import show_messages
from multitask.training.progress import Progress

TENSORS = (
    "best/model.safetensors",
    "best/heads.safetensors",
    "last/model.safetensors",
    "last/heads.safetensors",
    "last/training_state/tensors.safetensors",
)


def assert_same_run(folder: Path, other: Path):
    """Every tensor, score and record the same; only seconds and memory may differ."""
    for name in TENSORS:
        if not (folder / name).is_file():
            name = name.replace("model.", "minbert.")  # a variant that BERT cannot express
        ours, theirs = load_file(folder / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert torch.equal(ours[key], theirs[key]), f"{name}: {key}"
    assert records(folder) == records(other)
    assert repeatable_scores(folder) == repeatable_scores(other)
    assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()}


def repeatable_scores(folder: Path) -> dict:
    """scores.json without what the machine decides."""
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    for measured in ("training_seconds", "peak_memory"):
        assert scores["costs"].pop(measured) > 0
    return scores | {"seconds": 0}


def records(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


class Killed(BaseException):
    """In the place of a kill: nothing of the training sees it."""


def train_killed(run, *, after: int, monkeypatch, where="after_step"):
    """Trains or resumes by `run()`, and dies at step `after`: before its bookkeeping or its evaluation."""
    original = getattr(Progress, where)

    def dies(self, *arguments):
        if self.plan.step == after:
            raise Killed
        return original(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Progress, where, dies)
        run()


def resumed(folder: Path) -> int:
    """Resumes a run and says after which step; from the start it would give the same bits."""
    said: list[str] = []
    with show_messages(said.append):
        resume(folder)
    (line,) = [line for line in said if line.startswith("resumed")] or ["resumed after step 0"]
    return int(line.split()[3])


@pytest.mark.parametrize(
    ("sampling", "changes"),
    [
        ("sequential:sts,sst,paraphrase", {"train": {"batch_size": 4, "accumulation": 3}}),
        ("round-robin", {"train": {"batch_tokens": 90}, "freeze": "backbone"}),
        ("round-robin", {"freeze": "embeddings,first:1", "cache": {"precision": "fp16"}}),
        (
            "proportional",
            {
                "precision": "bf16",
                "tasks": {"sst": {"pooling": "pooler", "hidden": [7]}, "sts": {"weight": 2.0}},
            },
        ),
        ("temperature:3", {"sampling_cap": 4, "train": {"checkpointing": True}}),
        ("annealed", {"smart": {"weight": 1.0, "bregman": 1.0, "momentum": 0.5}}),
        ("together", {"gradients": {"surgery": "gradvac", "conflicts_every": 2}, "r_drop": 1.0}),
        ("proportional", {"unfreeze": "3", "tasks": {"sst": {"encoder_lr": 1e-4}, "sts": {}}}),
        ("proportional", {"lora": {"rank": 2, "dropout": 0.1, "targets": ["all-linear"], "dora": True}}),
        (
            "proportional",
            {"lora": {"rank": 2}, "adapter_per_task": True, "checkpoint": {"best_per_task": True}},
        ),
        ("proportional", {"model": {"projected_attention_size": 12, "attention_head_layers": 1}}),
        (
            "proportional",
            {"extra_layers": 1, "tasks": {"sts": {"loss": "cosent"}, "sst": {"loss": "ordinal"}}},
        ),
    ],
    ids=str,
)
def test_every_order_killed_twice(tiny_config, tmp_path, monkeypatch, sampling, changes):
    """Killed in the middle of the first epoch and of the second, at steps without a checkpoint."""
    changes = {"sampling": sampling, "checkpoint": {"every_steps": 4}, **changes}
    whole, killed = (tiny_config(out=str(tmp_path / name), **changes) for name in ("whole", "killed"))
    train(whole)
    total = json.loads((tmp_path / "whole/last/training_state/state.json").read_text())
    steps = dict(dict(total["items"])["plan"]["items"])["step"]
    assert steps >= 12
    train_killed(lambda: train(killed), after=steps // 2 - 1, monkeypatch=monkeypatch)
    train_killed(lambda: resume(tmp_path / "killed"), after=steps - 2, monkeypatch=monkeypatch)
    assert steps - 2 > resumed(tmp_path / "killed") >= steps // 2 - 1
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.fixture(scope="module")
def whole_run(tiny_folder, tiny_data, tmp_path_factory):
    """An uninterrupted run of 28 steps, 14 an epoch, evaluated every 5; to be read only."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(exact_config(tiny_folder, tiny_data, folder))
    return folder


def exact_config(weights, data, out):
    from multitask.config.run_config import RunConfig

    return RunConfig.from_dict(
        {
            "weights": str(weights),
            "data": str(data),
            "out": str(out),
            "device": "cpu",
            "threads": 1,
            "train": {"epochs": 2, "batch_size": 8},
            "optim": {"lr": 1e-3, "head_lr": 1e-2},
            "checkpoint": {"every_steps": 3},
            "eval": {"every_steps": 5},
        }
    )


@pytest.fixture
def config(tiny_folder, tiny_data, tmp_path):
    return exact_config(tiny_folder, tiny_data, tmp_path / "run")


@pytest.mark.parametrize(
    ("where", "step"),
    [("after_step", step) for step in (1, 14, 15, 28)] + [("_evaluate", step) for step in (5, 14, 28)],
)
def test_killed_at_any_kind_of_step(config, whole_run, monkeypatch, where, step):
    """Before the first checkpoint, at an evaluation, at the end of an epoch, after it, at the very end."""
    train_killed(lambda: train(config), after=step, monkeypatch=monkeypatch, where=where)
    assert resumed(Path(config.out)) == {1: 0, 5: 3, 14: 12, 15: 14, 28: 27}[step]
    assert_same_run(Path(config.out), whole_run)


def test_killed_between_an_evaluation_and_the_checkpoint_after_it(config, whole_run, monkeypatch):
    """best/ and the log are then ahead of last/."""
    save = Progress._evaluate

    def dies(self, step, epoch):
        save(self, step, epoch)
        if step == 14:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Progress, "_evaluate", dies)
        train(config)
    assert records(Path(config.out))[-1]["step"] == 14
    resume(config.out)
    assert_same_run(Path(config.out), whole_run)


def test_killed_between_the_two_renames_of_a_checkpoint(config, whole_run, monkeypatch):
    train_killed(lambda: train(config), after=17, monkeypatch=monkeypatch)
    out = Path(config.out)
    for name in ("best", "last"):
        (out / name).rename(out / f".{name}.previous")
        shutil.copytree(out / f".{name}.previous", out / f".{name}.partial")
        (out / f".{name}.partial" / "config.json").unlink()
    (out / ".metrics.jsonl.123.partial").write_text("{")
    assert resumed(out) == 15
    assert_same_run(out, whole_run)


def test_resuming_a_finished_run_writes_nothing(whole_run, said):
    def contents():
        return {path: path.read_bytes() for path in whole_run.rglob("*") if path.is_file()}

    before = contents()
    run = resume(whole_run)
    assert said == [f"{whole_run} is finished; nothing is left to train"]
    assert run.scores == json.loads((whole_run / "scores.json").read_text()) and contents() == before


def test_a_cut_off_last_line_of_the_log_is_dropped(config, whole_run, monkeypatch):
    train_killed(lambda: train(config), after=17, monkeypatch=monkeypatch)
    with open(Path(config.out) / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"kind": "train", "st')
    resume(config.out)
    assert_same_run(Path(config.out), whole_run)


def test_patience_is_remembered(tiny_config, tmp_path, monkeypatch):
    changes = {"patience": 2, "train": {"epochs": 6}, "optim": {"lr": 0.0, "head_lr": 0.0}}
    train(tiny_config(out=str(tmp_path / "whole"), **changes))
    train_killed(lambda: train(tiny_config(**changes)), after=30, monkeypatch=monkeypatch)
    resume(tmp_path / "run")
    assert records(tmp_path / "run")[-1]["step"] == 42  # the best is the first, then 2 that are no better
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_scratch_goes_on_with_its_own_vocabulary(tiny_config, tmp_path, monkeypatch):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    sizes["max_position_embeddings"] = 32
    changes = {"weights": "scratch", "model": sizes, "vocab_size": 200, "checkpoint": {"every_steps": 4}}
    train(tiny_config(out=str(tmp_path / "whole"), **changes))
    train_killed(lambda: train(tiny_config(**changes)), after=10, monkeypatch=monkeypatch)
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_the_number_of_threads_is_that_of_the_run(tiny_config, tmp_path, monkeypatch):
    """Sums depend on it; it is that of the machine at first, unless the configuration says."""
    train_killed(lambda: train(tiny_config(threads=None)), after=3, monkeypatch=monkeypatch)
    path = tmp_path / "run" / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threads": 7}))
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    resume(tmp_path / "run")
    assert asked == [7]


# What cannot be resumed.


@pytest.fixture
def stopped(config, monkeypatch):
    train_killed(lambda: train(config), after=4, monkeypatch=monkeypatch)
    return Path(config.out)


@pytest.mark.parametrize("damage", ["changed", "new", "gone"])
def test_data_that_changed_are_refused_by_name(tiny_config, tiny_data, tmp_path, monkeypatch, damage):
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    dev = data / "sts-dev.csv"
    if damage == "new":
        dev.unlink()
    train_killed(lambda: train(tiny_config(data=str(data))), after=4, monkeypatch=monkeypatch)
    if damage == "gone":
        dev.unlink()
    else:
        shutil.copy(data / "sts-train.csv", dev)
    with pytest.raises(InputError, match="sts-dev.csv changed since the run began; put the old file back"):
        resume(tmp_path / "run")


def test_a_folder_that_is_no_run_is_refused(tmp_path, tiny_folder):
    with pytest.raises(InputError, match="is not the folder of a run; give the folder"):
        resume(tmp_path / "nothing")
    with pytest.raises(InputError, match="is not the folder of a run; give it as --weights"):
        resume(tiny_folder)


def test_damaged_files_are_refused_by_name(stopped):
    state = stopped / "last" / "training_state" / "state.json"
    content = state.read_text()
    state.write_text(content[:100])
    with pytest.raises(InputError, match="state.json is damaged"):
        resume(stopped)
    state.write_text(content)
    for text in ("{", "[]", "{}", '{"data": 3}'):
        (stopped / "environment.json").write_text(text)
        with pytest.raises(InputError, match="environment.json is damaged"):
            resume(stopped)


# Real processes.


def start(*arguments) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "multitask", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(process: subprocess.Popen, condition, seconds=120):
    """Waits until `condition()` holds while the process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


def last_record(out: Path) -> dict:
    try:
        return json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    except (FileNotFoundError, IndexError, json.JSONDecodeError):
        return {"step": 0, "kind": None}


@pytest.fixture
def long_arguments(tiny_folder, tiny_data):
    """84 steps with dropout, an evaluation every 25 and a checkpoint every 10; evaluations take long."""
    options = {
        "--weights": tiny_folder,
        "--data": tiny_data,
        "--device": "cpu",
        "--threads": 1,
        "--train.epochs": 6,
        "--train.batch-size": 8,
        "--optim.lr": 1e-3,
        "--eval.every-steps": 25,
        "--eval.batch-tokens": 1,
        "--checkpoint.every-steps": 10,
    }
    return [str(word) for option in options.items() for word in option]


@pytest.fixture
def long_run(long_arguments, tmp_path):
    """The same run, uninterrupted and in this process."""
    from multitask.cli.main import build_parser
    from multitask.config.options import read_run_options

    _, parsers, _ = build_parser()
    arguments = [*long_arguments, "--out", str(tmp_path / "whole")]
    train(read_run_options(parsers["train"][1], arguments)[0])
    return tmp_path / "whole"


def test_real_processes_killed_and_interrupted(long_arguments, long_run, tmp_path):
    """SIGKILL, Ctrl-C in training, Ctrl-C in an evaluation; then the run ends as if nothing was."""
    out = tmp_path / "run"
    process = start("train", *long_arguments, "--out", out)
    wait_for(process, lambda: last_record(out)["step"] > 15)
    kill(process, signal.SIGKILL, -signal.SIGKILL)
    process = start("resume", out)
    wait_for(process, lambda: last_record(out)["step"] > 35)
    assert "resumed after step" in kill(process, signal.SIGINT, 130)
    assert (out / "last").is_dir() and not list(out.glob(".*"))
    process = start("resume", out)
    # The losses of a step that is evaluated are logged just before its evaluation.
    wait_for(
        process, lambda: last_record(out)["step"] in (50, 56, 70, 75) and last_record(out)["kind"] == "train"
    )
    kill(process, signal.SIGINT, 130)
    assert resumed(out) >= 50
    assert_same_run(out, long_run)


def kill(process: subprocess.Popen, number: int, status: int) -> str:
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    if number == signal.SIGINT:
        assert errors.splitlines()[-1] == "interrupted"
    return errors
