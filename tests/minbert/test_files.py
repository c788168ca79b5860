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


def stop_at_rename(monkeypatch, number, error):
    """Lets the `number`-th rename from now on raise instead."""
    replace, calls = os.replace, []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise error
        replace(*arguments)

    monkeypatch.setattr(files.os, "replace", stopping)


def test_error_between_the_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    fill(tmp_path / "run", "old")
    with monkeypatch.context() as patch:
        stop_at_rename(patch, 2, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path / "run", "new")
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["deep", "old"]


def killed_between_the_renames(folder):
    """What a kill leaves behind there: nothing in the folder's place, both contents beside it."""
    os.replace(folder, folder.with_name(f".{folder.name}.previous"))
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir()
    (partial / "half").write_text("")


def test_restore_folder_after_a_kill(tmp_path):
    folder = tmp_path / "run"
    restore_folder(folder)  # nothing there, nothing to do
    assert names(tmp_path) == []
    fill(folder, "old")
    restore_folder(folder)
    killed_between_the_renames(folder)
    assert not folder.exists()
    restore_folder(folder)
    assert names(folder) == ["deep", "old"] and ".run.previous" not in names(tmp_path)


def test_writing_after_a_kill(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    fill(folder, "old")
    killed_between_the_renames(folder)
    with pytest.raises(ValueError):
        with atomic_folder(folder) as partial:
            assert list(partial.iterdir()) == []
            raise ValueError
    assert names(folder) == ["deep", "old"] and names(tmp_path) == ["run"]
    killed_between_the_renames(folder)
    fill(folder, "new")
    assert names(folder) == ["deep", "new"] and names(tmp_path) == ["run"]


def test_kill_after_the_renames(tmp_path):
    """The new folder is in place, only the old one was not yet removed."""
    fill(tmp_path / ".run.previous", "old")
    fill(tmp_path / "run", "new")
    restore_folder(tmp_path / "run")
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["deep", "new"]
