"""Two commands on one run: the second is told who is there, and nothing is mixed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minbert import InputError
from multitask import resume, train
from multitask.runtime.locks import one_writer
from tests.multitask.runs import killed, records

ROOT = Path(__file__).parents[2]


def test_train_and_resume_are_refused_while_another_command_writes(tiny_config, tmp_path):
    config = tiny_config(limit=16, tasks={"sst": {}})
    with one_writer(tmp_path / "run"):
        with pytest.raises(InputError, match=f"is in use by process {os.getpid()} on "):
            train(config)
        assert not (tmp_path / "run").exists()
    killed(lambda: train(config), 3)
    with one_writer(tmp_path / "run"):
        with pytest.raises(InputError, match="run is in use by process .*; wait for its end"):
            resume(tmp_path / "run")
    run = resume(tmp_path / "run")
    with one_writer(tmp_path / "predictions"):
        with pytest.raises(InputError, match="predictions is in use by process"):
            run.write_predictions(tmp_path / "predictions")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "resume"])
def test_two_commands_at_once(tiny_config, tmp_path, command):
    config, out = tiny_config(), tmp_path / "run"
    (tmp_path / "run.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    if command == "resume":
        killed(lambda: train(config), 2)
    given = out if command == "resume" else tmp_path / "run.json"
    words = [sys.executable, "-m", "multitask", command, str(given)]
    both = [
        subprocess.Popen(words, cwd=ROOT, stdout=-1, stderr=-1, text=True, env=os.environ) for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in both]
    (second,) = [error for error, process in zip(errors, both, strict=True) if process.returncode]
    assert sorted(process.returncode for process in both) == [0, 2]
    assert "is in use by process" in second or "exists already" in second, second
    steps = [(record["kind"], record["step"]) for record in records(out)]
    assert steps == sorted(set(steps), key=steps.index) and steps[-1] == ("evaluation", 28)
    assert signal.SIGKILL not in [-process.returncode for process in both]
