"""Claims: one process gets a piece of work, one that dies loses it, a result is kept once."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from minbert import InputError
from multitask.experiments.claims import FolderClaims, database_url, open_claims, without_password


@pytest.fixture(params=["folder", "postgresql"])
def location(request, tmp_path) -> str:
    return (
        str(tmp_path / "claims") if request.param == "folder" else request.getfixturevalue("postgresql_url")
    )


@pytest.fixture
def key(request) -> str:
    """A key of the test's own: a database may be shared."""
    return f"{abs(hash(request.node.name)):x}-{time.monotonic_ns()}"


def test_work_is_claimed_once_and_done_once(location, key):
    one, other = open_claims(location), open_claims(location)
    with pytest.raises(RuntimeError), one.claim(key):
        raise RuntimeError
    with one.claim(key) as claim:  # it was given back
        assert other.claim(key) is None and one.claim(key) is None
        assert one.claim(f"{key} other") is not None
        claim.finish({"score": 0.5})
    assert other.results([key, "none"]) == {key: {"score": 0.5}}
    assert other.claim(key) is None
    one.forget(key)
    assert one.results([key]) == {} and other.claim(key) is not None


def test_whether_a_process_has_the_work(tmp_path):
    claims, other = FolderClaims(tmp_path), FolderClaims(tmp_path)
    assert not other.is_claimed("a")
    with claims.claim("a") as claim:
        assert other.is_claimed("a")
        claim.finish({})
    assert not other.is_claimed("a"), "it is done"


def test_many_at_once_and_one_gets_it(location, key):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: open_claims(location).claim(key), range(16)))
    assert sum(claim is not None for claim in found) == 1


def test_a_killed_process_loses_its_work_at_once(location, key):
    program = (
        "import os, sys; from multitask.experiments.claims import open_claims\n"
        "claim = open_claims(sys.argv[1]).claim(sys.argv[2]); assert claim; os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, location, key]).returncode == -9
    claims, end = open_claims(location), time.monotonic() + 60
    while (claim := claims.claim(key)) is None and time.monotonic() < end:
        time.sleep(0.05)  # a server hears of it a moment later
    assert claim is not None


def test_where_claims_are_kept(tmp_path):
    assert open_claims(f"sqlite:///{tmp_path / 'a.db'}?timeout=60").folder == tmp_path / "a.db.claims"
    pytest.importorskip("sqlalchemy")
    with pytest.raises(InputError, match="storage nosql://a@c/d cannot be opened"):
        open_claims("nosql://a:b@c/d")


def test_addresses_of_databases():
    assert database_url("postgresql://h/db") == "postgresql+psycopg://h/db"
    assert database_url("sqlite:///x.db") == "sqlite:///x.db"
    assert without_password("postgresql://me:secret@host/db") == "postgresql://me@host/db"
    assert without_password("sqlite:///x.db") == "sqlite:///x.db"
