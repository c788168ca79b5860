"""A search by several processes, some of which are killed: every point once, nothing lost."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import tomli_w

from minbert import InputError
from multitask.experiments.search.search import Workers, continue_search, search
from multitask.experiments.search.settings import Method
from multitask.experiments.search.space import read_space

PATIENCE = 300  # seconds that a test waits for a process before it fails
GRID = ("--sampler", "grid", "--pruner", "none")
DROPOUTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


@pytest.fixture
def hold(tmp_path) -> Path:
    """A folder in which `wait` stops all evaluations; each process that waits puts its number there."""
    folder = tmp_path / "hold"
    folder.mkdir()
    (folder / "wait").touch()
    return folder


@pytest.fixture
def space_file(planted, tmp_path):
    """The function `space_file(**others)` -> SPACE.toml: six points of the planted task."""

    def write(**others) -> Path:
        space = {"tasks.planted.dropout": {"choices": list(DROPOUTS)}}
        given = {"title": "Six", "base": planted, "space": space} | others
        (tmp_path / "space.toml").write_text(tomli_w.dumps(given), encoding="utf-8")
        return tmp_path / "space.toml"

    return write


def until(happened, *processes) -> None:
    """Waits, and fails where a process ends before."""
    end = time.monotonic() + PATIENCE
    while not happened():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)


def waiting(hold: Path) -> list[int]:
    return sorted(int(path.name) for path in hold.iterdir() if path.name != "wait")


def result_of(process) -> dict:
    """What `multitask search --json` printed."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return json.loads(out)


def points(found: dict, state: str) -> list[float]:
    trials = [trial for trial in found["trials"] if trial["state"] == state]
    return sorted(trial["parameters"]["tasks.planted.dropout"] for trial in trials)


def test_a_search_that_is_killed_continues(start_search, space_file, hold, tmp_path):
    """Killed in the middle of its first trial, which nobody but the continued search learns of."""
    words = ["--sampler", "random", "--trials", 2, "--out", tmp_path / "out"]
    process = start_search(space_file(), *words, hold=hold)
    until(lambda: waiting(hold), process)
    process.kill()
    process.wait()
    (hold / "wait").unlink()
    result = continue_search(tmp_path / "out")
    assert [trial.state for trial in result.trials] == ["failed", "complete", "complete"]
    killed, again, other = result.trials
    assert killed.error == "its process ended before the trial did" and killed.value is None
    assert again.parameters == killed.parameters

    # As if it had never been killed.
    whole = search(read_space(str(space_file())), tmp_path / "whole", Method("random", 2))
    assert [(t.parameters, t.value) for t in whole.trials] == [
        (t.parameters, t.value) for t in (again, other)
    ]


def test_others_take_over_what_a_killed_worker_had(start_search, space_file, hold, tmp_path):
    """Two workers on SQLite, one killed: each point is visited, and by one process to its end."""
    process = start_search(space_file(), *GRID, "--jobs", 2, "--out", tmp_path / "out", "--json", hold=hold)
    until(lambda: len(waiting(hold)) == 2, process)
    os.kill(waiting(hold)[0], signal.SIGKILL)
    (hold / "wait").unlink()
    found = result_of(process)
    assert points(found, "complete") == list(DROPOUTS)
    assert len(points(found, "failed")) == 1 and len(found["trials"]) == 7
    for number in range(7):
        environment = json.loads((tmp_path / f"out/trials/{number}/environment.json").read_text())
        assert environment["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)


@pytest.mark.slow
def test_two_searches_begun_at_once_in_one_folder(start_search, space_file, tmp_path):
    """They share the points of a random search, which do not depend on who takes them."""
    space = {"optim.lr": {"low": 1e-5, "high": 1e-2, "log": True}}
    words = [space_file(space=space), "--sampler", "random", "--trials", 6, "--json", "--out"]
    alone = start_search(*words, tmp_path / "alone")
    both = [start_search(*words, tmp_path / "out") for _ in range(2)]
    rates = [
        sorted(trial["parameters"]["optim.lr"] for trial in result_of(process)["trials"])
        for process in (alone, *both)
    ]
    assert rates[0] == rates[1] == rates[2] and len(set(rates[0])) == 6


def test_machines_share_a_search_on_postgresql(start_search, space_file, hold, tmp_path, postgresql_url):
    """Two processes with a folder each, one killed. The password is written down nowhere."""
    words = [space_file(), *GRID, "--storage", postgresql_url, "--json", "--out"]
    processes = [start_search(*words, tmp_path / name, hold=hold) for name in ("a", "b")]
    until(lambda: len(waiting(hold)) == 2, *processes)
    victim, other = processes
    victim.kill()
    (hold / "wait").unlink()
    out, err = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, err
    found = json.loads(out)
    assert points(found, "complete") == list(DROPOUTS)
    assert len(points(found, "failed")) == 1 and len(found["trials"]) == 7
    assert len(list((tmp_path / "b").glob("trials/*/scores.json"))) == 6

    with pytest.raises(InputError, match="give --storage with its password"):  # the folder has none
        continue_search(tmp_path / "a")
    again = continue_search(tmp_path / "a", workers=Workers(storage=postgresql_url))
    assert [vars(trial) for trial in again.trials] == found["trials"]

    password = postgresql_url.split(":")[2].split("@")[0]
    texts = [out.encode(), err.encode()]
    texts += [path.read_bytes() for name in "ab" for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert not any(password.encode() in text for text in texts)
    assert b"postgresql://minbert@127.0.0.1" in (tmp_path / "a" / "settings.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_search(start_search, space_file, hold, tmp_path, number):
    """After Ctrl-C, and where the search itself is killed; either is continued."""
    words = [*GRID, "--jobs", 2, "--out", tmp_path / "out"]
    process = start_search(space_file(), *words, hold=hold)
    until(lambda: len(waiting(hold)) == 2, process)
    workers = waiting(hold)
    process.send_signal(number)
    process.wait(timeout=PATIENCE)
    if number == signal.SIGINT:
        assert process.returncode == 130
    until(lambda: not any(is_running(worker) for worker in workers))
    (hold / "wait").unlink()
    result = continue_search(tmp_path / "out")
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert {trial.error for trial in failed} == {"interrupted"} and len(failed) == 2
    complete = [trial.parameters for trial in result.trials if trial.state == "complete"]
    assert sorted(point["tasks.planted.dropout"] for point in complete) == list(DROPOUTS)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
