"""Files and folders are whole or not there, whatever interrupts their writing.

Run: pytest tests/minbert/test_files.py
"""

import errno
import json
import math
import os
import shutil
import subprocess

import numpy as np
import pytest

from minbert import (
    TEXT,
    InputError,
    atomic_folder,
    atomic_write,
    by_key,
    by_name,
    files,
    list_of,
    optional,
    restore_folder,
    whole,
)
from minbert.files import WriteError


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


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSPC, r"its disk is full \([\d,]+ bytes free\); make room there"),
        (errno.EDQUOT, "the quota of its disk is used up"),
        (errno.EROFS, "its file system is read-only; choose another place"),
        (errno.EACCES, "its folder does not allow it; choose another place"),
        (errno.EFBIG, "it is larger than its file system or `ulimit -f` allows"),
    ],
)
def test_what_keeps_a_file_from_being_written(tmp_path, monkeypatch, code, reason):
    def fails(*arguments, **options):
        raise OSError(code, os.strerror(code), str(arguments[0]))

    monkeypatch.setattr(files.os, "replace", fails)
    with pytest.raises(WriteError, match=rf"file\.txt cannot be written: {reason}") as error:
        with atomic_write(tmp_path / "file.txt") as file:
            file.write("x")
    assert error.value.errno == code and names(tmp_path) == []
    monkeypatch.undo()
    with pytest.raises(OSError, match="other"), atomic_write(tmp_path / "file.txt"):
        raise OSError(code, "of another file", "other")


def tmpfs(folder, size):
    """Mounts a small file system, where the process may."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
    )
    if done.returncode:
        pytest.skip("file systems cannot be mounted here; run as root for it")
    return folder


@pytest.fixture
def small_disk(tmp_path):
    yield tmpfs(tmp_path / "disk", "64k")
    subprocess.run(["umount", tmp_path / "disk"], check=True)


def test_a_folder_has_one_writer(tmp_path):
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "first").write_text("")
        with pytest.raises(InputError, match="folder is being written by another process; wait for its end"):
            with atomic_folder(tmp_path / "folder"):
                pass
        (folder / "second").write_text("")
    assert names(tmp_path / "folder") == ["first", "second"] and names(tmp_path) == ["folder"]


@pytest.mark.parametrize("write", ["text", "bytes", "array"])
def test_a_full_disk_says_how_much_is_missing(small_disk, write):
    path = small_disk / "file"
    with atomic_write(path) as file:
        file.write("old")
    missing = r", [\d,]+ more needed" if write != "array" else ""  # numpy does not say it
    with pytest.raises(WriteError, match=rf"file cannot be written: its disk is full \(.* free{missing}\)"):
        with atomic_write(path, "w" if write == "text" else "wb") as file:
            if write == "array":
                np.save(file, np.zeros(100_000))
            else:
                file.write("x" * 800_000 if write == "text" else b"x" * 800_000)
    assert path.read_text() == "old" and names(small_disk) == ["file"]
    with atomic_write(path) as file:
        file.write("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("write", ["file", "copied file", "copied folder"])
def test_a_full_disk_in_a_folder(small_disk, tmp_path, write):
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(bytes(800_000))
    with pytest.raises(WriteError, match="^[^,]+ cannot be written: its disk is full"):
        with atomic_folder(small_disk / "folder") as folder:
            if write == "copied folder":
                shutil.copytree(source, folder, dirs_exist_ok=True)
            elif write == "copied file":
                shutil.copyfile(source / "file", folder / "file")
            else:
                with atomic_write(folder / "file", "wb") as file:
                    file.write(bytes(800_000))
    assert names(small_disk) == []


def test_mounted_files_and_folders_are_filled_in_place(small_disk, tmp_path):
    """A rename cannot replace them."""
    fill(tmp_path / "run", "older")
    (tmp_path / "file").write_text("older")
    (small_disk / "file").write_text("old")
    subprocess.run(["mount", "--bind", small_disk / "file", tmp_path / "file"], check=True)
    (small_disk / "inside").mkdir()
    (small_disk / "inside" / "old").write_text("")
    subprocess.run(["mount", "--bind", small_disk / "inside", tmp_path / "run"], check=True)
    try:
        with atomic_write(tmp_path / "file") as file:
            file.write("new")
        fill(tmp_path / "run", "new")
        assert names(small_disk / "inside") == ["deep", "new"]
        assert (small_disk / "file").read_text() == "new"
    finally:
        subprocess.run(["umount", tmp_path / "run", tmp_path / "file"], check=True)
    assert names(tmp_path) == ["disk", "file", "run"]


def test_a_folder_that_cannot_be_renamed_keeps_its_content_on_an_error(tmp_path, monkeypatch):
    """As in the lower layer of a container."""
    fill(tmp_path / "run", "old")
    replace = os.replace

    def across(source, target):
        if source == tmp_path / "run" or target == tmp_path / "run":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", across)
    fill(tmp_path / "run", "new")
    assert names(tmp_path / "run") == ["deep", "new"] and names(tmp_path) == ["run"]
    copytree = shutil.copytree

    def killed(source, target, *more, **options):
        copytree(source, target, *more, **options)
        if target == tmp_path / "run":
            raise KeyboardInterrupt

    monkeypatch.setattr(files.shutil, "copytree", killed)
    monkeypatch.setattr(files, "restore_folder", lambda path, keep: None)  # a kill runs nothing after it
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "run", "never")
    monkeypatch.undo()
    assert names(tmp_path) == [".run.kept", "run"]
    restore_folder(tmp_path / "run")
    assert names(tmp_path / "run") == ["deep", "new"] and names(tmp_path) == ["run"]


def test_links_are_followed_and_modes_kept(tmp_path):
    """The temporary file stands beside the target; a linked folder can be written any number of times."""
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").write_text("old")
    (there / "file").chmod(0o600)
    (tmp_path / "file").symlink_to(there / "file")
    with atomic_write(tmp_path / "file") as file:
        file.write("new")
        assert len(names(there)) == 2 and (there / names(there)[0]).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "file").is_symlink() and (there / "file").read_text() == "new"
    assert (there / "file").stat().st_mode & 0o777 == 0o600
    (tmp_path / "last").symlink_to("there/last")  # which does not exist yet
    for content in ("a", "b", "c"):
        fill(tmp_path / "last", content)
        assert (tmp_path / "last").is_symlink() and names(there / "last") == [content, "deep"]
        (there / "last").chmod(0o700)
        (there / "last" / "deep" / "file").chmod(0o640)
    fill(tmp_path / "last", "d")
    modes = [path.stat().st_mode & 0o777 for path in (there / "last", there / "last" / "deep" / "file")]
    assert modes == [0o700, 0o640] and names(there) == ["file", "last"]
    os.replace(there / "last", there / ".last.previous")
    restore_folder(tmp_path / "last")
    assert names(there / "last") == ["d", "deep"]
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop is a link that leads to itself"):
        with atomic_write(tmp_path / "loop"):
            raise AssertionError("nothing may be computed for it")
    (tmp_path / "null").symlink_to("/dev/null")
    with pytest.raises(InputError, match="is a folder or a device"), atomic_write(tmp_path / "null"):
        raise AssertionError("nothing may be computed for it")


def test_a_temporary_file_is_never_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / f".file.{os.getpid()}.partial").symlink_to("precious")
    with atomic_write(tmp_path / "file") as file:
        file.write("new")
    assert (tmp_path / "precious").read_text() == "x" and names(tmp_path) == ["file", "precious"]


def test_names_in_files_lead_nowhere_else(tmp_path):
    """But in a snapshot of the hub's cache to its blobs."""
    folder, index = tmp_path / "model", tmp_path / "model" / "index.json"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "in").symlink_to("file")
    for name in ("", "/etc/passwd", "../secret", "out", "a\0b"):
        with pytest.raises(InputError, match="index.json names .* which leads out of"):
            files.within(folder, name, index)
    assert files.within(folder, "in", index) == folder / "in"
    snapshot = tmp_path / "cache" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "blob").symlink_to("../../blobs/1")
    assert files.within(snapshot, "blob", index) == snapshot / "blob"


DEEP = {"lists": "[" * 100_000, "objects": '{"a":' * 100_000, "closed": "[" * 102 + "]" * 102}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "not JSON.*nested deeper than 100") for text in DEEP.values()),
        ("1" * 5000, "has 5000 digits, at most 40 are read"),
        ("NaN", "NaN is not a finite number"),
        ("1e999", "1e999 is not a finite number"),
        ('"\\ud800"', "not JSON .*surrogates not allowed"),
        ("{", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_json_that_is_not_read(tmp_path, text, reason):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"a.json.*{reason}.*; fetch it again") as error:
        files.read_json(path)
    assert len(str(error.value)) < 500


def test_json_within_the_limits(tmp_path):
    for text in (
        "[" * 100 + "]" * 100,
        '{"a": [1, -2.5e3, "\\ud83d\\ude00", null, true]}',
        str(10**30),
        '{"a": 1, "a": 2}',
    ):
        assert files.parse_json(text) == json.loads(text)
    assert math.isnan(files.parse_json("NaN", strict=False))


def test_files_that_are_too_large_or_no_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "JSON_SIZE", 10)
    (tmp_path / "a.json").write_text("[1, 2, 3, 4]")
    with pytest.raises(InputError, match="a.json has more than 10 bytes"):
        files.read_json(tmp_path / "a.json")
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path, tmp_path / "pipe.json"):
        with pytest.raises(InputError, match="cannot be read .it is a folder or a device"):
            files.read_json(path)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "9" * 5000, "a = ", "\udcff"])
def test_toml_that_is_not_read(tmp_path, text):
    path = tmp_path / "a.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"a\.toml .*; mend the file"):
        files.read_toml(path)


def test_rules_name_the_key(tmp_path):
    rules = {"tasks": by_name(by_key({"step": whole(0), "note": optional(TEXT), "parts": list_of(TEXT, 1)}))}
    path = tmp_path / "a.json"
    for entry, message in (
        (
            {"step": -1, "parts": ["a"]},
            "tasks.sst.step is -1; it must be a whole number of at least 0; again",
        ),
        ({"parts": ["a"]}, "tasks.sst.step is missing; it must be"),
        ({"step": 1, "parts": ["a", 2]}, "tasks.sst.parts.1 is 2; it must be a string"),
        ({"step": 1, "parts": []}, r"tasks.sst.parts is \[\]; it must be a list of 1 or more"),
        ({"step": 1, "parts": ["a"], "note": None}, "tasks.sst.note is None"),
        ([], r"tasks.sst is \[\]; it must be a dictionary"),
        ("x" * 10**6, "tasks.sst is 'xxx"),
    ):
        path.write_text(json.dumps({"tasks": {"sst": entry}}))
        with pytest.raises(InputError, match=f"a.json: {message}") as error:
            files.read_json_object(path, rules, "again")
        assert len(str(error.value)) < 500
    path.write_text(json.dumps({"tasks": {"sst": {"step": 2**62, "parts": ["a"]}}}))
    assert files.read_json_object(path, rules)["tasks"]["sst"]["step"] == 2**62


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
