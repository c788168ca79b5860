"""A search by several processes, some of which are killed: every point once, nothing lost."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import tomli_w

from minbert import InputError
from multitask.experiments.search.search import Workers, continue_search
from multitask.experiments.search.settings import read_settings
from multitask.experiments.search.storage import Attempts, open_study

PATIENCE = 300  # seconds that a test waits for a process before it fails
GRID = ("--sampler", "grid", "--pruner", "none")
DROPOUTS = (0.1, 0.2, 0.3)


@pytest.fixture
def hold(tmp_path) -> Path:
    """A folder in which `wait` stops all evaluations; each process that waits puts its number there."""
    folder = tmp_path / "hold"
    folder.mkdir()
    (folder / "wait").touch()
    return folder


@pytest.fixture
def space_file(planted, tmp_path) -> Path:
    """SPACE.toml: three points of the planted task."""
    space = {"tasks.planted.dropout": {"choices": list(DROPOUTS)}}
    path = tmp_path / "space.toml"
    path.write_text(tomli_w.dumps({"base": planted, "space": space}), encoding="utf-8")
    return path


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


def points(trials: list[dict], state: str) -> list[float]:
    found = [trial for trial in trials if trial["state"] == state]
    return sorted(trial["parameters"]["tasks.planted.dropout"] for trial in found)


@pytest.fixture(autouse=True)
def no_pages(monkeypatch):
    monkeypatch.setattr("multitask.experiments.report.report.write_report", lambda folder: None)


def test_workers_end_with_their_search_which_continues(start_search, space_file, hold, tmp_path):
    """Two workers on SQLite: one of them is killed and replaced, then the search is killed."""
    out = tmp_path / "out"
    process = start_search(space_file, *GRID, "--jobs", 2, "--out", out, hold=hold)
    until(lambda: len(waiting(hold)) == 2, process)
    for folder in (out / "trials").glob("[!.]*"):
        environment = json.loads((folder / "environment.json").read_text())
        assert environment["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)
    os.kill(waiting(hold)[0], signal.SIGKILL)
    until(lambda: len(waiting(hold)) == 3, process)  # it is at the same trial again
    process.kill()
    until(lambda: not any(map(is_running, waiting(hold))))
    assert sorted(path.name for path in (out / "trials").glob("[!.]*")) == ["0", "1"]
    trials = continue_search(out).as_dict()["trials"]
    assert points(trials, "complete") == list(DROPOUTS) and len(trials) == 3
    study = open_study(read_settings(out), out)
    assert [len(attempts) for attempts in Attempts(study, 3).by_trial] in ([3, 2, 1], [2, 3, 1])


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_and_leaves_the_results(start_search, space_file, hold, tmp_path):
    out = tmp_path / "out"
    process = start_search(space_file, *GRID, "--jobs", 2, "--out", out, hold=hold)
    until(lambda: len(waiting(hold)) == 2, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and errors.endswith(f"interrupted; multitask search {out} goes on\n")
    assert not any(map(is_running, waiting(hold)))
    written = json.loads((out / "search.json").read_text())["trials"]
    assert {(trial["state"], trial["error"]) for trial in written} == {("failed", "interrupted")}
    assert points(continue_search(out).as_dict()["trials"], "complete") == list(DROPOUTS)


@pytest.mark.slow
def test_workers_on_ray(start_search, space_file, hold, tmp_path):
    """One is killed: Ray replaces it, and its trial has the same result."""
    out = tmp_path / "out"
    words = [*GRID, "--jobs", 2, "--engine", "ray", "--json", "--out", out]
    process = start_search(space_file, *words, hold=hold)
    until(lambda: len(waiting(hold)) == 2, process)
    os.kill(waiting(hold)[0], signal.SIGKILL)
    until(lambda: len(waiting(hold)) == 3, process)
    (hold / "wait").unlink()
    found, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert points(json.loads(found)["trials"], "complete") == list(DROPOUTS)


@pytest.mark.slow  # a lost machine is noticed after a minute
def test_machines_share_a_search_on_postgresql(start_search, space_file, hold, tmp_path, postgresql_url):
    """Two processes with a folder each, one killed. The password is written down nowhere."""
    words = [space_file, *GRID, "--storage", postgresql_url, "--json", "--out"]
    processes = [start_search(*words, tmp_path / name, hold=hold) for name in ("a", "b")]
    until(lambda: len(waiting(hold)) == 2, *processes)
    victim, other = processes
    victim.kill()
    (hold / "wait").unlink()
    out, err = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, err
    found = json.loads(out)
    assert points(found["trials"], "complete") == list(DROPOUTS) and len(found["trials"]) == 3
    assert len(list((tmp_path / "b").glob("trials/*/scores.json"))) == 3

    with pytest.raises(InputError, match="give --storage with its password"):  # the folder has none
        continue_search(tmp_path / "a")
    again = continue_search(tmp_path / "a", workers=Workers(storage=postgresql_url))
    assert [vars(trial) for trial in again.trials] == found["trials"]

    password = postgresql_url.split(":")[2].split("@")[0]
    texts = [out.encode(), err.encode()]
    texts += [path.read_bytes() for name in "ab" for path in (tmp_path / name).rglob("*") if path.is_file()]
    assert not any(password.encode() in text for text in texts)
    assert b"postgresql://minbert@127.0.0.1" in (tmp_path / "a" / "settings.json").read_bytes()


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
