"""Locks: had once, given back with the process; a folder's second writer is told who has it."""

import os
import subprocess
import sys

import pytest

from minbert import InputError
from multitask.runtime.locks import one_writer, take_lock


def test_a_lock_is_had_once_and_ends_with_its_process(tmp_path):
    path = tmp_path / "a.lock"
    program = (
        "import os, sys; from pathlib import Path\n"
        "from multitask.runtime.locks import take_lock\n"
        "lock = take_lock(Path(sys.argv[1])); print(lock is not None, flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(words, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "True\n"
        assert take_lock(path) is None and take_lock(tmp_path / "b.lock") is not None
        process.kill()
    with take_lock(path):
        assert take_lock(path) is None
    assert take_lock(path) is not None


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    import fcntl

    def flock(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(InputError, match="a.lock cannot be locked .*not implemented.*--engine ray"):
        take_lock(tmp_path / "a.lock")
    with take_lock(tmp_path / "a.lock", required=False):
        pass


def test_the_second_writer_is_told_who_is_there_and_a_killed_one_leaves_no_lock(tmp_path):
    folder, program = tmp_path / "run", "import sys; from pathlib import Path\n"
    program += "from multitask.runtime.locks import one_writer\n"
    program += "with one_writer(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(words, stdin=-1, stdout=-1, text=True) as process:
        process.stdout.readline()
        with pytest.raises(
            InputError, match=rf"run is in use by process {process.pid} on \S+ since 20.*; wait"
        ):
            with one_writer(folder):
                pass
        with one_writer(tmp_path / "other"):
            process.kill()
    with one_writer(folder):
        assert f"process {os.getpid()} " in (tmp_path / ".run.holder").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.lock", ".run.lock"]


def test_of_several_processes_the_first_one_locks(tmp_path, monkeypatch):
    with one_writer(tmp_path / "run"):
        monkeypatch.setenv("RANK", "1")
        with one_writer(tmp_path / "run"):
            pass


def test_a_folder_that_cannot_be_locked_has_a_warning(tmp_path, monkeypatch, caplog):
    import fcntl

    def flock(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with one_writer(tmp_path / "run"):
        assert "run.lock cannot be locked; let no other command write to" in caplog.text
