"""Leases: one process gets a piece of work, a dead or silent one loses it, a result is kept once."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from minbert import InputError
from multitask.experiments.claims.claims import Claims, Holder, open_store
from multitask.experiments.claims.database import database_url, without_password

STORES = ["folder", "sqlite", "postgresql"]


@pytest.fixture(params=STORES)
def location(request, tmp_path) -> str:
    if request.param == "folder":
        return str(tmp_path / "claims")
    if request.param == "sqlite":
        pytest.importorskip("sqlalchemy")
        return f"sqlite:///{tmp_path / 'claims.db'}"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def key(request) -> str:
    """A key of the test's own: a database may be shared."""
    return f"{abs(hash(request.node.name)):x}-{time.monotonic_ns()}"


def elsewhere(process: int = 1) -> Holder:
    """A process of another machine, of which nothing can be known."""
    return Holder("elsewhere", "elsewhere", process, "0")


def test_work_is_claimed_once_and_done_once(location, key):
    one, other = Claims(open_store(location)), Claims(open_store(location))
    claim = one.claim(key)
    assert claim.before is None
    assert other.claim(key) is None and one.claim(key) is None
    assert other.holder(key) == Holder.this_process()
    assert claim.finish({"score": 0.5})
    assert other.results([key, "none"]) == {key: {"score": 0.5}}
    assert other.claim(key) is None
    assert not claim.finish({"score": 0.7}), "the first result stays"
    assert one.results([key])[key] == {"score": 0.5}
    one.forget(key)
    assert one.results([key]) == {}


def test_work_that_is_given_back_can_be_claimed(location, key):
    claims = Claims(open_store(location))
    with pytest.raises(RuntimeError), claims.claim(key):
        raise RuntimeError
    assert claims.holder(key) is None
    with claims.claim(key) as claim:
        claim.finish({})
    assert claims.claim(key) is None


def test_a_dead_process_loses_its_work_at_once(location, key):
    program = (
        "import os, sys; from multitask.experiments.claims.claims import Claims, open_store\n"
        "Claims(open_store(sys.argv[1])).claim(sys.argv[2]); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", program, location, key])
    assert died.returncode == -9
    claims = Claims(open_store(location), expiry=3600)
    assert claims.holder(key) is None
    claim = claims.claim(key)
    assert claim.number == 2 and claim.before.has_died


class Clock:
    """In the place of the module `time`, for tests that must not depend on how busy the machine is."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_silent_process_of_another_machine_loses_its_work_after_a_while(location, key, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("multitask.experiments.claims.claims.time", clock)
    store = open_store(location)
    assert store.add(key, 1, elsewhere())
    claims = Claims(store, expiry=90)
    assert claims.claim(key) is None and claims.silent_lease(key) is None
    clock.now += 60
    time.sleep(0.01)  # for the file system to see another time
    store.beat(key, 1)
    assert claims.claim(key) is None
    clock.now += 60
    assert claims.claim(key) is None, "the heartbeat starts the time anew"
    clock.now += 31
    silent = claims.silent_lease(key)
    assert silent[0] == 1
    fresh = Claims(store, expiry=90)
    assert fresh.claim(key) is None, "it has not watched"
    assert fresh.claim(key, (1, silent[1] - 1)) is None, "it has beaten since"
    claim = fresh.claim(key, silent)
    assert claim.number == 2 and claim.before == elsewhere()


def test_a_process_learns_that_its_work_was_taken_over(location, key):
    store = open_store(location)
    claims = Claims(store, expiry=0.6)
    with claims.claim(key) as claim:
        time.sleep(0.3)
        assert not claim.lost.is_set()
        assert store.add(key, 2, elsewhere())
        assert claim.lost.wait(5)


def test_heartbeats_keep_work_for_longer_than_the_expiry(location, key):
    """While the block runs the beat goes on; seen from another machine, where it is all that is known."""
    claims = Claims(open_store(location), expiry=0.6)
    with claims.claim(key):
        beats = set()
        end = time.monotonic() + 20
        while len(beats) < 4 and time.monotonic() < end:
            beats.add(claims.store.newest(key).beat)
            time.sleep(0.05)
    assert len(beats) == 4


def test_many_at_once_and_one_gets_it(location, key):
    def claim(_) -> bool:
        return Claims(open_store(location)).claim(key) is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(16))) == 1


PROGRAM = """
import sys
from pathlib import Path
from multitask.experiments.claims.claims import Claims, open_store
claims = Claims(open_store(sys.argv[1]))
for key in sys.argv[3:]:
    claim = claims.claim(key)
    if claim is not None:
        with claim, open(sys.argv[2], "a") as log:
            log.write(f"{key}\\n")
            log.flush()
            claim.finish({})
"""


def test_processes_that_share_work_do_each_piece_once(location, key, tmp_path):
    keys = [f"{key}-{number}" for number in range(20)]
    log = tmp_path / "log"
    workers = [subprocess.Popen([sys.executable, "-c", PROGRAM, location, str(log), *keys]) for _ in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    assert Counter(log.read_text().split()) == dict.fromkeys(keys, 1)


def test_a_process_number_that_was_used_again_is_another_process():
    ours = Holder.this_process()
    assert not ours.has_died
    assert replace(ours, started=f"{ours.started}0").has_died
    assert not elsewhere().has_died


def test_a_zombie_has_died():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    time.sleep(0.5)  # it has ended, and nobody has asked for its status
    state = Path(f"/proc/{child.pid}/stat")
    if state.exists():
        started = state.read_text().rpartition(")")[2].split()[19]
        assert replace(Holder.this_process(), process=child.pid, started=started).has_died
    child.wait()


def test_a_lease_is_never_seen_half_written(tmp_path, key):
    store = open_store(tmp_path)
    store.add(key, 1, Holder.this_process())
    store.record(key, json.dumps({"a": 1}))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{key}.1.lease", f"{key}.json"]
    assert os.stat(tmp_path / f"{key}.1.lease").st_nlink == 1


def test_addresses_of_databases():
    assert database_url("postgresql://h/db") == "postgresql+psycopg://h/db"
    assert database_url("sqlite:///x.db") == "sqlite:///x.db"
    assert without_password("postgresql://me:secret@host/db") == "postgresql://me@host/db"
    assert without_password("sqlite:///x.db") == "sqlite:///x.db"
    with pytest.raises(InputError, match="storage nosql://a@b/c cannot be opened"):
        open_store("nosql://a:secret@b/c")
