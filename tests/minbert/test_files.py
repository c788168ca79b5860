"""Files and folders are whole or not there, whatever interrupts their writing.

Run: pytest tests/minbert/test_files.py
"""

import errno
import os

import pytest

from minbert import InputError, atomic_folder, atomic_write, files, restore_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_atomic_write_keeps_the_old_file_on_an_error(tmp_path, error):
    path = tmp_path / "sub" / "file.txt"
    with atomic_write(path) as file:
        file.write("old \u00e9\r\n\n")
    assert path.read_bytes() == b"old \xc3\xa9\r\n\n"
    with pytest.raises(error):
        with atomic_write(path) as file:
            file.write("new")
            file.flush()
            assert path.read_bytes() == b"old \xc3\xa9\r\n\n"  # nobody sees the unfinished file
            raise error
    assert path.read_bytes() == b"old \xc3\xa9\r\n\n" and names(path.parent) == ["file.txt"]
    with atomic_write(path, "wb") as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and names(path.parent) == ["file.txt"]


def test_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*file\.txt'"):
        with atomic_write(tmp_path / "file.txt"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_targets_that_are_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(InputError, match="is a folder or a device"):
            with atomic_write(tmp_path / name):
                raise AssertionError("nothing may be computed for it")
    assert names(tmp_path) == ["folder", "pipe"] and (tmp_path / "pipe").is_fifo()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file; give the name of a folder"):
        with atomic_folder(tmp_path / "file"):
            raise AssertionError("nothing may be computed for it")
    for write in (atomic_write, atomic_folder):
        for path in (tmp_path / "file" / "sub", tmp_path / "file" / "sub" / "sub"):
            with pytest.raises(InputError, match="a file is in the way"):
                with write(path):
                    raise AssertionError("nothing may be computed for it")
    assert (tmp_path / "file").read_text() == "x"


def fill(folder, content):
    with atomic_folder(folder) as partial:
        (partial / "deep").mkdir()
        (partial / "deep" / "file").write_text(content)
        (partial / content).write_text("")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_folder_keeps_the_old_folder_on_an_error(tmp_path, error):
    folder = tmp_path / "sub" / "run"
    with pytest.raises(error):
        with atomic_folder(folder) as partial:
            (partial / "file").write_text("never")
            raise error
    assert names(tmp_path / "sub") == []
    fill(folder, "old")
    with pytest.raises(error):
        with atomic_folder(folder) as partial:
            (partial / "file").write_text("never")
            raise error
    assert names(folder) == ["deep", "old"] and names(tmp_path / "sub") == ["run"]
    fill(folder, "new")
    assert names(folder) == ["deep", "new"] and names(tmp_path / "sub") == ["run"]
    assert (folder / "deep" / "file").read_text() == "new"


def test_an_error_between_the_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    fill(tmp_path / "run", "old")
    replace = os.replace

    def stopping(source, target):
        if source.name == ".run.partial":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", stopping)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "run", "new")
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["deep", "old"]


@pytest.mark.parametrize(("then", "content"), [("restore", "old"), ("fail", "old"), ("write", "new")])
def test_after_a_kill_between_the_renames(tmp_path, then, content):
    """It leaves nothing in the folder's place, and both contents beside it."""
    folder = tmp_path / "run"
    fill(folder, "old")
    fill(tmp_path / ".run.partial", "half")
    os.replace(folder, tmp_path / ".run.previous")
    if then == "restore":
        restore_folder(folder)
    elif then == "write":
        fill(folder, "new")
    else:
        with pytest.raises(ValueError), atomic_folder(folder) as partial:
            assert list(partial.iterdir()) == []
            raise ValueError
    assert names(folder) == ["deep", content]
    assert names(tmp_path) == ([".run.partial", "run"] if then == "restore" else ["run"])


def test_after_a_kill_behind_the_renames(tmp_path):
    """The new folder is in place, only the old one was not yet removed."""
    restore_folder(tmp_path / "run")  # nothing there, nothing to do
    assert names(tmp_path) == []
    fill(tmp_path / "run", "new")
    fill(tmp_path / ".run.previous", "old")
    restore_folder(tmp_path / "run")
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["deep", "new"]
