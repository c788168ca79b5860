"""Fixtures for the tests of experiments: a PostgreSQL server, a task of known score, records of cells."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from multitask.config.task_file import load_task_file, record_task_file
from multitask.config.task_kinds import KINDS

PASSWORD = "not-to-be-written-down"

# A task whose accuracy is 1 - dropout of its head, whatever is trained. Where HOLD names a folder with a file
# `wait`, each evaluation says so by a file of its process's number and waits for `wait` to go.
PLANTED = '''
import os
import time
from pathlib import Path

from multitask import register
from multitask.tasks.course import SST


class Planted(SST):
    """A score that the configuration decides."""

    def score(self, predictions, examples):
        hold = os.environ.get("HOLD")
        if hold and (Path(hold) / "wait").exists():
            (Path(hold) / str(os.getpid())).touch()
            while (Path(hold) / "wait").exists():
                time.sleep(0.01)
        return {"accuracy": 1 - self.config.dropout}


register("planted", Planted)
'''


@pytest.fixture(scope="session")
def postgresql_url():
    """The URL, with a password, of a PostgreSQL server that lives as long as the tests."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.skip("there is no PostgreSQL server on this machine (Debian's package postgresql)")
    programs = found[-1].parent
    # A server refuses to run as root. pytest's own folders could not be entered by another user.
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="minbert-postgresql-"))
    password = folder / "password"
    password.write_text(PASSWORD, encoding="utf-8")
    if user:
        for path in (folder, password):
            shutil.chown(path, "postgres", "postgres")

    def call(program: str, *words: str) -> None:
        # Into a file: a server keeps its end of a pipe open.
        with open(folder / "output", "ab") as output:
            subprocess.run(
                [programs / program, "-D", folder / "data", *words],
                check=True,
                cwd=folder,
                stdout=output,
                stderr=output,
                **user,
            )

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    call("initdb", "-U", "minbert", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    call("pg_ctl", "-w", "-o", options, "start")
    try:
        yield f"postgresql://minbert:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cell_record():
    """`cell_record(draw, shift=0.0, **changes)`: what a table's cell would have recorded.

    Predictions for 120 examples of SST, 90 pairs and 70 pairs with scores, right more often for a `shift`.
    """
    gold = np.random.default_rng(1).normal(size=70)

    def make(draw: np.random.Generator, shift: float = 0.0, **changes) -> dict:
        tasks = {}
        for name, size in (("sst", 120), ("paraphrase", 90)):
            right = (draw.random(size) < 0.5 + shift).astype(int)
            tasks[name] = {"metric": "accuracy", "kind": "mean", "values": [right.tolist()]}
            tasks[name] |= {"value": float(right.mean()), "examples": f"examples of {name}"}
        guess = gold + (1 - shift) * draw.normal(size=70)
        tasks["sts"] = {"metric": "pearson", "kind": "pearson", "values": [guess.tolist(), gold.tolist()]}
        tasks["sts"] |= {"value": float(np.corrcoef(guess, gold)[0, 1]), "examples": "examples of sts"}
        costs = {"epochs": 2.0, "training_seconds": 30.0, "tokens": 6000, "peak_memory": 10**8}
        costs |= {"trained_parameters": 10, "parameters": 40}
        facts = {"state": "finished", "error": None, "tasks": tasks, "seconds": 40.0, "costs": costs}
        environment = {"device": "cpu", "torch": "2", "threads": 1, "platform": "p"}
        return facts | {"environment": environment} | changes

    return make


@pytest.fixture
def planted(planted_values) -> dict:
    """The `base` of a search over the planted task; a trial takes a fraction of a second."""
    return deepcopy(planted_values)


@pytest.fixture(scope="session")
def planted_values(tiny_folder, tiny_data, tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("task") / "planted.py"
    path.write_text(PLANTED, encoding="utf-8")
    load_task_file(path)
    record_task_file(path)  # the user has trained with it before
    del KINDS["planted"]
    return {
        "weights": str(tiny_folder),
        "data": str(tiny_data),
        "device": "cpu",
        "task_file": str(path),
        "train": {"max_steps": 2, "batch_size": 8},
        "eval": {"every_steps": 1},
        "freeze": "backbone",
        "tasks": {"planted": {}},
    }


@pytest.fixture
def start_search():
    """The function `start_search(*words, hold=None)` -> a process of `multitask search WORDS`."""
    processes = []

    def start(*words, hold: Path | None = None) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "multitask", "search", *map(str, words)],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | ({"HOLD": str(hold)} if hold else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # a job in the background has Ctrl-C ignored, and hands that on
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
