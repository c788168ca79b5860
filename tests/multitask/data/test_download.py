"""The course's files from a local server: whole or not there, whatever the server does.

Run: pytest tests/multitask/data/test_download.py
"""

import socket
import subprocess

import pytest

from minbert import InputError
from multitask.data import download as module
from multitask.data.download import (
    COURSE_FILES,
    SOURCE,
    Patience,
    Unreachable,
    blob_id,
    download,
    file_url,
    is_right,
)
from tests.multitask.data.course_server import (
    BLOB,
    CONTENT,
    NAME,
    QUICK,
    UNSIZED,
    free_port,
    names_in,
)


def fetch(server, folder, blob=BLOB, patience=QUICK):
    return download(NAME, folder, blob, server.url, patience, quiet=True)


def test_ids_are_those_of_git(tmp_path):
    for content in (b"", b"hello\n", CONTENT):
        path = tmp_path / "file"
        path.write_bytes(content)
        told = subprocess.run(["git", "hash-object", "--no-filters", path], capture_output=True, text=True)
        assert blob_id(path) == told.stdout.strip()


def test_the_table_is_right_about_the_files_that_are_here(shared):
    here = [name for name in COURSE_FILES if (shared / "data" / name).is_file()]
    assert len(here) >= 10
    for name in here:
        whole = is_right(shared / "data" / name, COURSE_FILES[name])
        assert whole == (name != "quora-train.csv"), name  # of which a part is here


def test_a_file_comes_whole(server, tmp_path):
    path = fetch(server, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT and names_in(path.parent) == [NAME]
    assert server.ranges == [None]


@pytest.mark.parametrize("blob", [BLOB, UNSIZED])
def test_a_part_is_continued(server, tmp_path, blob):
    (tmp_path / f"{NAME}.partial").write_bytes(CONTENT[:1234])
    assert fetch(server, tmp_path, blob).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234-"] and names_in(tmp_path) == [NAME]


@pytest.mark.parametrize("blob", [BLOB, UNSIZED])
def test_a_server_that_ignores_ranges_sends_all_again(server, tmp_path, blob):
    (tmp_path / f"{NAME}.partial").write_bytes(CONTENT[:1234])
    server.answer({"ranges": False})
    assert fetch(server, tmp_path, blob).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234-"]


@pytest.mark.parametrize(
    ("status", "part"), [(206, "bytes 0-299999/300000"), (200, "bytes 1234-299999/300000"), (206, "")]
)
def test_an_answer_that_goes_on_elsewhere_is_not_appended(server, tmp_path, status, part):
    (tmp_path / f"{NAME}.partial").write_bytes(CONTENT[:1234])
    server.answer({"status": status, "headers": {"Content-Range": part}, "ranges": False})
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234-"]


@pytest.mark.parametrize("blob", [BLOB, UNSIZED])
@pytest.mark.parametrize(
    "part", [b"x" * 1234, b"x" * len(CONTENT), CONTENT + b"more", b"x" * 400_000], ids=len
)
def test_a_part_of_another_file_is_begun_anew(server, tmp_path, blob, part):
    (tmp_path / f"{NAME}.partial").write_bytes(part)
    assert fetch(server, tmp_path, blob).read_bytes() == CONTENT
    assert server.ranges[-1] is None and names_in(tmp_path) == [NAME]


def test_a_whole_part_needs_no_server(server, tmp_path):
    (tmp_path / f"{NAME}.partial").write_bytes(CONTENT)
    assert fetch(server, tmp_path, UNSIZED).read_bytes() == CONTENT
    assert server.ranges == []


@pytest.mark.parametrize("blob", [BLOB, UNSIZED])
def test_a_dropped_connection_is_taken_up_again(server, tmp_path, blob):
    server.answer(*({"cut": 50_000} for _ in range(5)), {})
    assert fetch(server, tmp_path, blob).read_bytes() == CONTENT  # more drops than attempts, each with news
    starts = [None, *(f"bytes={i * 50_000}-" for i in range(1, 6))]
    assert server.ranges == starts


def test_an_answer_without_a_length_that_ends_early_is_taken_up_again(server, tmp_path):
    server.answer({"cut": 50_000, "length": False}, {})
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_an_answer_without_a_length_for_a_file_without_a_size_is_judged_by_its_id(server, tmp_path):
    server.answer({"length": False})
    assert fetch(server, tmp_path, UNSIZED).read_bytes() == CONTENT
    server.answer({"cut": 50_000, "length": False})
    with pytest.raises(InputError, match="50000 bytes with blob id"):
        fetch(server, tmp_path / "other", UNSIZED)
    assert names_in(tmp_path / "other") == []


def test_drops_without_news_come_to_an_end_and_keep_what_came(server, tmp_path):
    server.answer({"cut": 1000}, {"cut": 0})
    with pytest.raises(InputError, match="3 times in a row; 1000 bytes are kept: run the command again"):
        fetch(server, tmp_path)
    assert names_in(tmp_path) == [f"{NAME}.partial"]
    assert (tmp_path / f"{NAME}.partial").read_bytes() == CONTENT[:1000]
    server.answer({})
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=1000-"


def test_a_server_without_ranges_that_always_drops_comes_to_an_end(server, tmp_path):
    server.answer({"ranges": False, "cut": 1000})
    with pytest.raises(InputError, match="the connection ended after 1000 of 300000 bytes, 3 times"):
        fetch(server, tmp_path)
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_errors_that_pass_are_waited_for(server, tmp_path, status):
    server.answer({"status": status}, {"status": status}, {})
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    server.answer({"status": status})
    with pytest.raises(InputError, match=f"the server answers {status}, 3 times in a row"):
        fetch(server, tmp_path / "other")
    assert len(server.ranges) == 6


def test_pauses_double_and_follow_the_server(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    asking = {"status": 503, "headers": {"Retry-After": "7"}}
    server.answer({"status": 503}, {"status": 503}, asking, {"status": 503}, {})
    assert fetch(server, tmp_path, patience=Patience(9, 5, 0.5)).read_bytes() == CONTENT
    assert pauses == [0.5, 1, 7, 4]
    server.answer({"status": 429, "headers": {"Retry-After": "100000"}}, {})
    fetch(server, tmp_path / "other")
    assert pauses[-1] == 60


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "no such file .404.; check --mirror"),
        (401, "access refused .401."),
        (403, "access refused .403."),
    ],
)
def test_errors_that_stay_are_said_at_once(server, tmp_path, status, message):
    server.answer({"status": status})
    with pytest.raises(InputError, match=message):
        fetch(server, tmp_path)
    assert len(server.ranges) == 1 and not (tmp_path / NAME).exists()


@pytest.mark.parametrize("blob", [BLOB, UNSIZED])
def test_other_content_of_the_same_size_is_refused(server, tmp_path, blob):
    server.answer({"content": CONTENT[:-1] + b"?"})
    with pytest.raises(InputError, match="other content than the course's file") as raised:
        fetch(server, tmp_path, blob)
    assert BLOB.id in str(raised.value) and len(server.ranges) == 1
    assert names_in(tmp_path) == []


def test_other_content_is_fetched_once_though_a_part_was_there(server, tmp_path):
    (tmp_path / f"{NAME}.partial").write_bytes(CONTENT[:1234])
    server.answer({"content": CONTENT[:-1] + b"?", "ranges": False})
    with pytest.raises(InputError, match="other content"):
        fetch(server, tmp_path)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("content", [b"<html>log in</html>", CONTENT + b"more"], ids=len)
def test_other_sizes_are_refused_before_they_are_fetched(server, tmp_path, content):
    server.answer({"content": content})
    with pytest.raises(InputError, match=f"has {len(content)} bytes, the course's file 300000"):
        fetch(server, tmp_path)
    server.answer({"content": content, "length": False})
    with pytest.raises(InputError, match="more than the 300000 bytes|ended after 19 of 300000"):
        fetch(server, tmp_path / "other")
    assert not (tmp_path / NAME).exists() and not (tmp_path / "other" / NAME).exists()


def test_a_server_that_says_nothing_is_left(server, tmp_path):
    server.answer({"silent": True}, {})
    assert fetch(server, tmp_path, patience=Patience(2, 0.1, 0.001)).read_bytes() == CONTENT
    server.answer({"silent": True})
    with pytest.raises(InputError, match="timed out.*2 times in a row"):
        fetch(server, tmp_path / "other", patience=Patience(2, 0.1, 0.001))


def test_a_full_disk_is_said(server, tmp_path):
    (tmp_path / f"{NAME}.partial").symlink_to("/dev/full")
    with pytest.raises(InputError, match="No space left on device.*make room on the disk"):
        fetch(server, tmp_path)
    assert len(server.ranges) == 1 and not (tmp_path / NAME).exists()


def test_two_downloads_do_not_write_one_file(server, tmp_path):
    with module._locked(tmp_path / f"{NAME}.partial"), pytest.raises(InputError, match="another download"):
        fetch(server, tmp_path)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_what_another_download_finishes_meanwhile_is_left_alone(server, tmp_path, monkeypatch):
    partial = tmp_path / f"{NAME}.partial"
    partial.write_bytes(CONTENT)
    flock = module.fcntl.flock

    def finished_just_before(*arguments):
        if partial.exists() and not (tmp_path / NAME).exists():
            partial.rename(tmp_path / NAME)
        flock(*arguments)

    monkeypatch.setattr(module.fcntl, "flock", finished_just_before)
    server.answer({"content": CONTENT[:-1] + b"?"})
    with pytest.raises(InputError, match="other content"):
        fetch(server, tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_no_server(tmp_path):
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match="cannot be reached .*refused"):
        download(NAME, tmp_path, BLOB, nobody, QUICK, quiet=True)


def test_no_such_host(tmp_path, monkeypatch):
    def lookup(*arguments, **settings):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pytest.fail("waits for a name to appear"))
    with pytest.raises(Unreachable, match="nowhere.invalid is not found .Temporary failure"):
        download(NAME, tmp_path, BLOB, "http://nowhere.invalid/data", QUICK, quiet=True)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "base", ["file:///etc", "data", "http://", "http://a:b/", "http://a/b c", "ftp://a/", "http://me:pw@a/"]
)
def test_what_is_no_address(base):
    with pytest.raises(InputError, match="is no address of a folder"):
        file_url(NAME, base)


def test_addresses():
    assert file_url(NAME) == f"{SOURCE}/{NAME}"
    assert file_url("a b.csv", "https://example.org/däta/") == "https://example.org/d%C3%A4ta/a%20b.csv"


def test_a_folder_in_the_files_place(server, tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError, match="is a folder; remove it"):
        fetch(server, tmp_path)
