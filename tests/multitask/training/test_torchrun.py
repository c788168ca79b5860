"""Runs under torchrun: processes are killed, stopped, interrupted, or fail; all end, or go on, together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from multitask.runtime.tracking import read_metrics

ROOT = Path(__file__).parents[3]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def options(tiny_folder):
    """A training of some 300 steps, with dropout; what the tests do comes within its first steps."""
    train = ["--train.epochs", "10", "--train.batch-size", "4", "--limit", "40", "--threads", "1"]
    return ["--weights", str(tiny_folder), "--data", "sample", "--checkpoint.every-steps", "5", *train]


def start(*words: str, launch: tuple[str, ...] = ()) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*TORCHRUN, *launch, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> str:
    try:
        return process.communicate(timeout=500)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def workers(process: subprocess.Popen) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait_for_steps(out: Path, steps: int) -> None:
    deadline = time.monotonic() + 300
    while max((record["step"] for record in read_metrics(out / "metrics.jsonl")), default=0) < steps:
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.05)


def tensors(run: Path) -> dict:
    return {
        part: load_file(run / f"{part}.safetensors") for part in ("last/model", "last/heads", "best/model")
    }


def assert_equal(run: Path, other: Path) -> None:
    ours, theirs = tensors(run), tensors(other)
    assert all((ours[part][key] == theirs[part][key]).all() for part in theirs for key in theirs[part])
    assert [record["step"] for record in read_metrics(run / "metrics.jsonl")] == [
        record["step"] for record in read_metrics(other / "metrics.jsonl")
    ]


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    process = start("-m", "multitask", "train", *options, "--out", str(out))
    said = finish(process)
    assert process.returncode == 0, said
    assert said.count("best step") == 1 and "Warning" not in said
    return out


def test_after_a_killed_process_torchrun_goes_on_from_the_last_checkpoint(options, whole, tmp_path):
    out = tmp_path / "run"
    process = start("-m", "multitask", "train", *options, "--out", str(out), launch=("--max-restarts", "1"))
    wait_for_steps(out, 20)
    os.kill(workers(process)[1], signal.SIGKILL)
    said = finish(process)
    assert process.returncode == 0, said
    assert "resumed after step" in said
    assert_equal(out, whole)


def test_a_stopped_process_is_waited_for(options, whole, tmp_path):
    out = tmp_path / "run"
    process = start("-m", "multitask", "train", *options, "--out", str(out))
    wait_for_steps(out, 10)
    stopped = workers(process)[1]
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(30)
    assert process.poll() is None
    os.kill(stopped, signal.SIGCONT)
    said = finish(process)
    assert process.returncode == 0, said
    assert_equal(out, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to_all", [True, False], ids=["all", "torchrun"])
def test_a_signal_ends_all_after_one_step_and_the_run_resumes(options, whole, tmp_path, number, to_all):
    """As the terminal sends Ctrl-C to all, a scheduler SIGTERM to torchrun."""
    out = tmp_path / "run"
    process = start("-m", "multitask", "train", *options, "--out", str(out))
    wait_for_steps(out, 20)
    (os.killpg if to_all else os.kill)(process.pid, number)
    said = finish(process)
    assert process.returncode != 0
    assert "gloo" not in said and not list(out.glob("rank-*.log")), said
    last = json.loads((out / "last" / "training_state" / "state.json").read_text(encoding="utf-8"))
    assert "plan" in dict(last["items"])
    process = start("-m", "multitask", "resume", str(out))
    said = finish(process)
    assert process.returncode == 0, said
    assert_equal(out, whole)


NAN = """
import sys
from multitask.training.methods.standard import StandardLoss
from multitask.cli.main import main

loss, steps = StandardLoss.loss, []

def broken(self, model, task, batch):
    steps.append(task)
    return loss(self, model, task, batch) * (float("nan") if len(steps) == 23 and RANK else 1.0)

import os
RANK = int(os.environ["RANK"])
StandardLoss.loss = broken
main(sys.argv[1:])
"""


def test_a_loss_that_is_not_finite_in_one_process_ends_all(options, tmp_path):
    out, program = tmp_path / "run", tmp_path / "broken.py"
    program.write_text(NAN, encoding="utf-8")
    process = start(str(program), "train", *options, "--out", str(out))
    said = finish(process)
    assert process.returncode != 0
    assert said.count("error: the loss of") == 1 and "is nan at step 23" in said, said
    assert "is nan at step 23" in (out / "rank-1.log").read_text(encoding="utf-8")
    assert all(tensor.isfinite().all() for tensor in load_file(out / "last" / "model.safetensors").values())


def test_processes_end_cleanly(options, tmp_path):
    for number in range(10):  # nothing is left to threads of gloo, nothing waits for a process that is gone
        words = [*options, "--train.max-steps", "3", "--out", str(tmp_path / str(number))]
        process = start("-m", "multitask", "train", *words)
        said = finish(process)
        assert process.returncode == 0 and "Traceback" not in said and "rror" not in said, said


def test_help_and_wrong_options_are_printed_once():
    for words, text in ((("--help",), "usage:"), (("--optim.lrr", "1"), "error: there is no option")):
        process = start("-m", "multitask", "train", *words)
        assert finish(process).count(text) == 1
        assert bool(process.returncode) is (words[0] != "--help")
