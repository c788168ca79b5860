"""Encoding by several processes: the same parts, whatever dies; killed at random and continued.

Run: pytest tests/minbert/corpus/test_workers.py
"""

import os
import signal
import sys
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.minbert.corpus.generated import read_parts, write_corpus

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
TEXTS, PART = 24_000, 2000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.txt", TEXTS)


@pytest.fixture
def command(tiny_folder, corpus) -> tuple:
    return ("encode", "--weights", tiny_folder, corpus, "--format", "npy", "--part-size", PART)


def children(process) -> list[int]:
    """Returns the workers of a process; multiprocessing's tracker of resources is none."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids = [int(word) for word in path.read_text().split()]
    return [pid for pid in pids if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text()]


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def parts(folder: Path) -> int:
    return len([path for path in folder.glob("part-*.npy") if ".ids" not in path.name])


def wait_until(condition, process, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.005)


def whole(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vectors of a folder whose ids are each there once, and nothing else is."""
    ids, vectors = read_parts(folder)
    assert ids.tolist() == list(range(len(ids))) and not list(folder.glob(".part*"))
    return vectors


def test_a_killed_command_is_continued(start, run, command, tmp_path):
    """The command with two workers is killed at work; one process does the rest."""
    process = start(*command, tmp_path / "two", "--workers", 2)
    wait_until(lambda: parts(tmp_path / "two") >= 2, process)
    process.kill()
    process.communicate()
    assert 2 <= parts(tmp_path / "two") < TEXTS // PART
    assert run(*command, tmp_path / "two")[0] == run(*command, tmp_path / "one")[0] == 0
    assert np.array_equal(whole(tmp_path / "two"), whole(tmp_path / "one"))
    assert len(whole(tmp_path / "one")) == TEXTS


@pytest.mark.slow
def test_a_dead_worker_s_part_is_done_by_the_others(start, run, command, tmp_path):
    """One of two is killed at work; the command ends well, and the parts are those of one process."""
    process = start(*command, tmp_path / "two", "--workers", 2)
    wait_until(lambda: parts(tmp_path / "two") >= 2, process)
    os.kill(children(process)[0], signal.SIGKILL)
    assert process.wait(timeout=120) == 0, process.communicate()
    assert run(*command, tmp_path / "one")[0] == 0
    assert np.array_equal(whole(tmp_path / "two"), whole(tmp_path / "one"))


@pytest.mark.slow
def test_all_workers_dead(start, command, tmp_path):
    process = start(*command, tmp_path / "out", "--workers", 2)
    wait_until(lambda: parts(tmp_path / "out") >= 2, process)
    for pid in children(process):
        os.kill(pid, signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2 and error.count("\n") == 1
    assert "all worker processes ended, perhaps killed for lack of memory" in error
    assert not list((tmp_path / "out").glob(".part*"))


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_workers_end_with_their_command(start, command, tmp_path, sent, status):
    """Ctrl-C says so in one line; even a killed command leaves no process behind."""
    process = start(*command, tmp_path / "out", "--workers", 2)
    wait_until(lambda: parts(tmp_path / "out") >= 2, process)
    workers = children(process)
    assert len(workers) == 2
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    said = f"interrupted; the same command encodes what {tmp_path / 'out'} lacks\n"
    assert process.returncode == status and error == (said if sent == signal.SIGINT else "")
    end = time.monotonic() + 30
    while any(map(alive, workers)):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert parts(tmp_path / "out") < TEXTS // PART


def kill_at_random(start, command, folder: Path, kills: int, seed: int) -> int:
    """Kills the command, once while it starts, else while it encodes; returns how many parts were done."""
    draw, process = Random(seed), None
    for number in range(kills):
        process = start(*command, folder, *(["--workers", 2] if number % 2 else []))
        if number:
            done = parts(folder)
            wait_until(lambda done=done: parts(folder) > done, process)
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.communicate()
    return parts(folder)


@pytest.mark.slow
def test_killed_twenty_times_and_continued(start, tiny_folder, tmp_path):
    corpus = write_corpus(tmp_path / "corpus.txt", 12 * TEXTS, seed=1)
    command = ("encode", "--weights", tiny_folder, corpus, "--format", "npy", "--part-size", PART)
    done = kill_at_random(start, command, tmp_path / "killed", 20, seed=14)
    assert 19 <= done < 12 * TEXTS // PART
    for folder in (tmp_path / "killed", tmp_path / "one"):
        process = start(*command, folder)
        assert process.wait(timeout=300) == 0
    assert np.array_equal(whole(tmp_path / "killed"), whole(tmp_path / "one"))
    assert len(whole(tmp_path / "one")) == 12 * TEXTS
