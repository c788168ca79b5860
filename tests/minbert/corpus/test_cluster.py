"""Encoding on a local Ray cluster: the same parts as one process makes, and an actor that dies.

Run: pytest tests/minbert/corpus/test_cluster.py
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.minbert.corpus.generated import read_parts, write_corpus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
TEXTS, PART = 60_000, 2000


@pytest.fixture
def command(tiny_folder, tmp_path) -> tuple:
    corpus = write_corpus(tmp_path / "corpus.txt", TEXTS)
    return ("encode", "--weights", tiny_folder, corpus, "--format", "npy", "--part-size", PART)


def actors(process) -> list[int]:
    """Returns the Ray Data actors, by their titles, that descend from a process."""
    parents, titles = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(path.name)] = (path / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue

    def descends(pid: int) -> bool:
        return pid == process.pid or (pid in parents and descends(parents[pid]))

    return [pid for pid, title in titles.items() if b"ray::MapWorker" in title and descends(pid)]


def test_ray_makes_the_same_parts_though_an_actor_is_killed(start, run, command, tmp_path):
    pytest.importorskip("ray")
    process = start(*command, tmp_path / "ray", "--engine", "ray", "--workers", 2)
    end = time.monotonic() + 180
    while len(list((tmp_path / "ray").glob("part-*.ids.npy"))) < 4:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)
    mine = actors(process)
    assert len(mine) == 2  # as many as there are workers, whatever Ray does with blocks
    os.kill(mine[0], signal.SIGKILL)
    process.communicate(timeout=300)  # Ray says there what died
    assert process.returncode == 0
    assert run(*command, tmp_path / "one")[0] == 0
    (ids, vectors), (_, expected) = read_parts(tmp_path / "ray"), read_parts(tmp_path / "one")
    assert ids.tolist() == list(range(TEXTS)) and np.array_equal(vectors, expected)


def test_wrong_clusters_are_refused(run, command, tmp_path):
    pytest.importorskip("ray")
    status, _, error = run(*command, tmp_path / "a", "--engine", "ray", "--workers", 4000)
    assert status == 2 and "workers of 1 CPUs each, and 4000 are asked for" in error
    status, _, error = run(*command, tmp_path / "a", "--engine", "ray", "--ray-address", "127.0.0.1:1")
    assert status == 2 and "the Ray cluster '127.0.0.1:1' cannot be reached" in error
