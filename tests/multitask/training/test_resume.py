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

from minbert import InputError
from multitask import RunConfig, resume, train
from multitask.config.option_types import merge
from multitask.runtime.callbacks import Callback
from multitask.runtime.messages import show_messages
from multitask.training.progress import Progress
from tests.multitask.runs import Killed, assert_same_run, killed, records


def resumed(folder: Path) -> int:
    """Resumes a run and says after which step; from the start it would give the same bits."""
    said: list[str] = []
    with show_messages(said.append):
        resume(folder)
    (line,) = [line for line in said if line.startswith("resumed")] or ["resumed after step 0"]
    return int(line.split()[3])


SCRATCH = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
LORA = {"rank": 2, "dropout": 0.1, "targets": ["all-linear"], "dora": True}


@pytest.mark.parametrize(
    ("sampling", "changes"),
    [
        (
            "sequential:sts,sst,paraphrase",
            {"train": {"batch_size": 4, "accumulation": 2}, "tasks": {"paraphrase": {}}},
        ),
        ("round-robin", {"freeze": "embeddings,first:1", "cache": {"precision": "fp16"}}),
        (
            "proportional",
            {
                "precision": "bf16",
                "unfreeze": "3",
                "tasks": {
                    "sst": {"pooling": "pooler", "hidden": [7], "encoder_lr": 1e-4},
                    "sts": {"weight": 2.0},
                },
            },
        ),
        ("uniform", {"weights": "scratch", "model": SCRATCH, "vocab_size": 200}),
        ("square-root", {"lora": LORA, "train": {"batch_tokens": 90}}),
        (
            "temperature:3",
            {"sampling_cap": 4, "train": {"checkpointing": True}, "r_drop": 1.0, "extra_layers": 1},
        ),
        ("annealed", {"smart": {"weight": 1.0, "bregman": 1.0, "momentum": 0.5}}),
        (
            "together",
            {
                "gradients": {"surgery": "gradvac", "conflicts_every": 2},
                "tasks": {"sst": {"loss": "ordinal"}},
            },
        ),
        (
            "proportional",
            {"lora": {"rank": 2}, "adapter_per_task": True, "checkpoint": {"best_per_task": True}},
        ),
        ("proportional", {"model": {"projected_attention_size": 12, "attention_head_layers": 1}}),
    ],
    ids=str,
)
def test_every_order_killed_twice(tiny_config, tmp_path, sampling, changes):
    """Killed in the middle of the first epoch and of the second, at steps without a checkpoint."""
    short = {"sampling": sampling, "limit": 24, "checkpoint": {"every_steps": 2}}
    changes = merge(short, changes) | {"tasks": {"sst": {}, "sts": {}} | changes.get("tasks", {})}
    config = tiny_config(**changes)
    train(tiny_config(**changes | {"out": str(tmp_path / "whole")}))
    total = json.loads((tmp_path / "whole/last/training_state/state.json").read_text())
    steps = dict(dict(total["items"])["plan"]["items"])["step"]
    assert steps >= 6
    middle, late = steps // 2 - 1, steps - 1
    killed(lambda: train(config), middle)
    killed(lambda: resume(tmp_path / "run"), late)
    assert late > resumed(tmp_path / "run") >= middle
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.fixture(scope="module")
def exact(tiny_options):
    """exact(out) -> a run of 28 steps, 14 an epoch, saved every 3 and evaluated every 5."""
    often = {"checkpoint": {"every_steps": 3}, "eval": {"every_steps": 5}}
    return lambda out: RunConfig.from_dict(tiny_options | often | {"out": str(out)})


@pytest.fixture(scope="module")
def whole_run(exact, tmp_path_factory):
    """That run, uninterrupted; to be read only."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(exact(folder))
    return folder


@pytest.mark.parametrize(
    ("where", "step", "last"),
    [("after_step", 1, 0), ("after_step", 14, 12), ("after_step", 28, 27), ("_evaluate", 5, 3)],
)
def test_killed_at_any_kind_of_step(exact, whole_run, tmp_path, where, step, last):
    """Before the first checkpoint, at the end of an epoch, at the very end, at an evaluation."""
    killed(lambda: train(exact(tmp_path / "run")), step, where)
    assert resumed(tmp_path / "run") == last
    assert_same_run(tmp_path / "run", whole_run)


def test_killed_between_an_evaluation_and_the_checkpoint_after_it(exact, whole_run, tmp_path, monkeypatch):
    """best/ and the log are then ahead of last/."""
    evaluate = Progress._evaluate

    def dies(self, step, epoch):
        evaluate(self, step, epoch)
        if step == 14:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Progress, "_evaluate", dies)
        train(exact(tmp_path / "run"))
    assert records(tmp_path / "run")[-1]["step"] == 14
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole_run)


def test_killed_between_the_two_renames_of_a_checkpoint_and_while_it_wrote_a_record(
    exact, whole_run, tmp_path
):
    out = tmp_path / "run"
    killed(lambda: train(exact(out)), 17)
    for name in ("best", "last"):
        (out / name).rename(out / f".{name}.previous")
        shutil.copytree(out / f".{name}.previous", out / f".{name}.partial")
        (out / f".{name}.partial" / "config.json").unlink()
    (out / ".metrics.jsonl.123.partial").write_text("{")
    with open(out / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"kind": "train", "st')
    assert resumed(out) == 15
    assert (out / "metrics.jsonl.damaged").read_text() == '{"kind": "train", "st'
    (out / "metrics.jsonl.damaged").unlink()
    assert_same_run(out, whole_run)


def test_resuming_a_finished_run_writes_nothing(whole_run, said):
    def contents():
        return {path: path.read_bytes() for path in whole_run.rglob("*") if path.is_file()}

    before = contents()
    run = resume(whole_run)
    assert said == [f"{whole_run} is finished; nothing is left to train"]
    assert run.scores == json.loads((whole_run / "scores.json").read_text()) and contents() == before


def test_patience_is_remembered(tiny_config, tmp_path):
    changes = {"limit": 24, "patience": 2, "train": {"epochs": 6}, "optim": {"lr": 0.0, "head_lr": 0.0}}
    killed(lambda: train(tiny_config(**changes)), 20)
    resume(tmp_path / "run")
    assert records(tmp_path / "run")[-1]["step"] == 27  # the best is the first, then 2 that are no better


def test_the_number_of_threads_is_that_of_the_run(tiny_config, tmp_path, monkeypatch):
    """Sums depend on it; it is that of the machine at first, unless the configuration says."""
    killed(lambda: train(tiny_config(threads=None)), 3)
    path = tmp_path / "run" / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threads": 7}))
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    resume(tmp_path / "run")
    assert asked == [7]


# What cannot be resumed.


@pytest.mark.parametrize("damage", ["changed", "new", "gone"])
def test_data_that_changed_are_refused_by_name(tiny_config, tiny_data, tmp_path, damage):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    dev = data / "sts-dev.csv"
    if damage == "new":
        dev.unlink()
    killed(lambda: train(tiny_config(data=str(data))), 1)
    if damage == "gone":
        dev.unlink()
    else:
        shutil.copy(data / "sts-train.csv", dev)
    with pytest.raises(InputError, match="sts-dev.csv changed since the run began; put the old file back"):
        resume(tmp_path / "run")


def test_folders_that_cannot_be_resumed_are_refused_by_name(exact, tmp_path, tiny_folder):
    with pytest.raises(InputError, match="is not the folder of a run; it does not exist; give the"):
        resume(tmp_path / "nothing")
    with pytest.raises(
        InputError,
        match="is not the folder of a run; it holds weights, from which",
    ):
        resume(tiny_folder)
    killed(lambda: train(exact(tmp_path / "run")), 4)
    state = tmp_path / "run" / "last" / "training_state" / "state.json"
    text = state.read_text()
    state.write_text(text[:100])
    with pytest.raises(InputError, match="state.json differs from its checksum, and no former"):
        resume(tmp_path / "run")
    (tmp_path / "run" / "last" / "checksums.json").unlink()
    state.write_text(text.replace('"best_scores"', '"other"'))
    with pytest.raises(InputError, match="training_state has no 'best_scores', as one that another version"):
        resume(tmp_path / "run")
    for text in ("{", "[]", "{}", '{"data": 3}'):
        (tmp_path / "run" / "environment.json").write_text(text)
        with pytest.raises(InputError, match="environment.json.*(is not JSON|holds a|must be)"):
            resume(tmp_path / "run")


def test_sigusr1_ends_nothing_before_and_after_the_steps(tiny_config):
    class Sends(Callback):
        def on_start(self, step, total_steps):
            os.kill(os.getpid(), signal.SIGUSR1)

        def on_end(self, scores):
            os.kill(os.getpid(), signal.SIGUSR1)

    train(tiny_config(limit=8, tasks={"sst": {}}, train={"epochs": 1}), callbacks=[Sends()])
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


# Real processes.


def start(*arguments) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "multitask", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def kill(process: subprocess.Popen, out: Path, step: int, number: int, status: int) -> str:
    """Sends a signal when the log is beyond a step -> the messages."""
    end = time.monotonic() + 600
    while (
        not (out / "metrics.jsonl").is_file() or f'"step": {step}' not in (out / "metrics.jsonl").read_text()
    ):
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)
    process.send_signal(number)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    return errors


def test_real_processes_killed_and_interrupted(tiny_config, tmp_path):
    """SIGKILL, then Ctrl-C; then the run ends as if nothing was. Evaluations take long."""
    changes = {"train": {"epochs": 4}, "eval": {"batch_tokens": 1}, "checkpoint": {"every_steps": 5}}
    train(tiny_config(out=str(tmp_path / "whole"), **changes))
    out = tmp_path / "run"
    (tmp_path / "run.json").write_text(json.dumps(tiny_config(**changes).to_dict()), encoding="utf-8")
    kill(start("train", tmp_path / "run.json"), out, 14, signal.SIGKILL, -signal.SIGKILL)
    errors = kill(start("resume", out), out, 28, signal.SIGINT, 130)
    assert "resumed after step" in errors and "saved after step" in errors
    assert errors.endswith(f"interrupted; multitask resume {out} goes on from {out}/last\n")
    assert (out / "last").is_dir() and not list(out.glob(".*"))
    assert resumed(out) >= 25
    assert_same_run(out, tmp_path / "whole")
