"""The course's files from a local server: whole or not there, whatever the server does; the command."""

import json
import random
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from minbert import CommandParser, InputError, git_blob_id
from multitask.cli.download import add_download_options, download_command
from multitask.data import download as module
from multitask.data.download import (
    COURSE_FILES,
    SOURCE,
    Blob,
    Patience,
    Unreachable,
    download,
    file_url,
    is_right,
)

NAME = "sts-dev.csv"
CONTENT = random.Random(0).randbytes(300_000)
QUICK = Patience(attempts=3, timeout=5, pause=0.001)
FILES = {NAME: CONTENT, "sts-train.csv": CONTENT[:5000], "quora-train.csv": CONTENT[:777]}


class Server(ThreadingHTTPServer):
    """Serves FILES. `answers` change one request after the other, the last one all that follow; keys: status,
    content, ranges, cut, length, silent, headers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.ranges, self.missing = [{}], [], set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.released = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        asked, name = self.headers.get("Range"), self.path.rpartition("/")[2]
        self.server.ranges.append(asked)
        if answer.get("silent"):
            self.server.released.wait(20)
            return
        status = 404 if name in self.server.missing else answer.get("status", 200)
        content, headers = answer.get("content", FILES[name]), dict(answer.get("headers", {}))
        if status == 200 and asked and answer.get("ranges", True):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[start:]
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        if answer.get("length", True):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: answer.get("cut", len(content))])
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture(params=["sized", "unsized"])
def blob(request, tmp_path):
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return Blob(git_blob_id(path), len(CONTENT) if request.param == "sized" else None)


@pytest.fixture
def fetch(server, blob, tmp_path):
    """Downloads the file from the server's `answers` into a folder that it alone may be in."""

    def run(*answers, patience=QUICK):
        server.answers = list(answers) or [{}]
        folder = tmp_path / f"{len(server.ranges)}"
        try:
            return download(NAME, folder, blob, server.url, patience).read_bytes()
        finally:
            assert {path.name for path in folder.iterdir()} <= {NAME}

    return run


def test_ids_are_those_of_git(tmp_path):
    (tmp_path / "file").write_bytes(b"hello\n")
    assert git_blob_id(tmp_path / "file") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_the_table_is_right_about_the_files_that_are_here(shared):
    here = [name for name in COURSE_FILES if (shared / "data" / name).is_file()]
    assert len(here) >= 10
    for name in here:
        whole = is_right(shared / "data" / name, COURSE_FILES[name])
        assert whole == (name != "quora-train.csv"), name  # of which a part is here


def test_a_dropped_connection_is_taken_up_where_it_broke(server, fetch):
    drops = [{"cut": 50_000}] * 5  # more than attempts, each with news
    assert fetch(*drops, {}) == CONTENT
    assert server.ranges == [None, *(f"bytes={i * 50_000}-" for i in range(1, 6))]
    assert fetch({"cut": 1000}, {"ranges": False}) == CONTENT
    elsewhere = {"status": 206, "headers": {"Content-Range": "bytes 0-299999/300000"}}
    assert fetch({"cut": 1000}, elsewhere) == CONTENT


@pytest.mark.parametrize(
    "answers", [[(True, 1000), (True, 0)], [(False, 1000)], [(False, 1000), (False, 500)] * 5]
)
def test_drops_without_news_come_to_an_end(server, fetch, answers):
    with pytest.raises(InputError, match="the connection ended after 1000 of 300000 bytes, 3 times in a row"):
        fetch(*({"ranges": ranges, "cut": cut} for ranges, cut in answers))
    assert len(server.ranges) == 3


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"?", b"<html>log in</html>", CONTENT + b"more"], ids=len)
def test_other_content_is_refused_and_a_length_is_not_needed(server, fetch, blob, content):
    with pytest.raises(InputError, match=f"{len(content)} bytes with blob id .*, expected .* with {blob.id}"):
        fetch({"content": content})
    assert len(server.ranges) == 1
    assert fetch({"length": False}) == CONTENT
    if blob.size:
        assert fetch({"cut": 50_000, "length": False}, {}) == CONTENT
    else:
        with pytest.raises(InputError, match="50000 bytes with blob id"):
            fetch({"cut": 50_000, "length": False})


def test_errors_that_pass_are_waited_for_as_the_server_asks(server, fetch, monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    asking = [{"status": 503, "headers": {"Retry-After": seconds}} for seconds in ("7", "100000")]
    failing = [{"status": status} for status in (500, 429, 408)]
    answers = [*failing[:2], asking[0], failing[2], asking[1], {}]
    assert fetch(*answers, patience=Patience(9, 5, 0.5)) == CONTENT
    assert pauses == [0.5, 1, 7, 4, 60]
    with pytest.raises(InputError, match="the server answers 500, 3 times in a row"):
        fetch(failing[0])


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "no such file .404.; check --mirror"),
        (403, "access refused .403."),
        (418, "answers 418 .*--mirror"),
    ],
)
def test_errors_that_stay_are_said_at_once(server, fetch, status, message):
    with pytest.raises(InputError, match=message):
        fetch({"status": status})
    assert len(server.ranges) == 1


def test_a_server_that_says_nothing_is_left(fetch):
    assert fetch({"silent": True}, {}, patience=Patience(2, 0.1, 0.001)) == CONTENT
    with pytest.raises(InputError, match="timed out.*2 times in a row"):
        fetch({"silent": True}, patience=Patience(2, 0.1, 0.001))


def test_no_server_and_no_such_host(tmp_path, blob, monkeypatch):
    def lookup(*arguments, **settings):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with pytest.raises(Unreachable, match="cannot be reached .*refused"):
        download(NAME, tmp_path, blob, nobody(), QUICK)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pytest.fail("waits for a name to appear"))
    with pytest.raises(Unreachable, match="nowhere.invalid is not found .Temporary failure"):
        download(NAME, tmp_path, blob, "http://nowhere.invalid/data", QUICK)


def nobody() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/data"


def test_addresses():
    assert file_url(NAME) == f"{SOURCE}/{NAME}"
    assert file_url("a b.csv", "https://example.org/däta/") == "https://example.org/d%C3%A4ta/a%20b.csv"
    for base in ("file:///etc", "data", "http://", "http://a:b/", "http://a/b c", "http://me:pw@a/"):
        with pytest.raises(InputError, match="is not the address of a folder"):
            file_url(NAME, base)


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture
def command(server, monkeypatch, tmp_path):
    """Runs `multitask download` where the course has the three files, with the server as its mirror."""
    table = {}
    for name, content in FILES.items():
        (tmp_path / "content").write_bytes(content)
        table[name] = Blob(git_blob_id(tmp_path / "content"), len(content))
    monkeypatch.setattr(module, "COURSE_FILES", table)
    monkeypatch.setattr(download, "__defaults__", (SOURCE, QUICK))

    def run(*words, mirror=server.url):
        parser = CommandParser(prog="multitask download")
        add_download_options(parser)
        given = [*words, "--data", str(tmp_path / "data"), "--mirror", mirror]
        return download_command(parser.parse_args(given))

    return run


def test_the_command_fetches_what_is_missing(server, command, tmp_path, capsys):
    assert command() == 0
    assert {name: (tmp_path / "data" / name).read_bytes() for name in FILES} == FILES
    assert capsys.readouterr().out.splitlines() == [f"{name}: fetched" for name in FILES]
    (tmp_path / "data" / NAME).unlink()
    assert command() == 0 and len(server.ranges) == 4
    there = [f"{name}: there already" for name in FILES if name != NAME]
    assert capsys.readouterr().out.splitlines() == [f"{NAME}: fetched", *there]


def test_a_file_that_differs_is_kept_without_force(server, command, tmp_path, capsys):
    own = tmp_path / "data" / "quora-train.csv"
    own.parent.mkdir()
    own.write_bytes(b"a part of the rows")
    assert command() == 1 and "quora-train.csv: differs: " in capsys.readouterr().out
    server.missing = {own.name}
    assert command(own.name, "--force") == 1 and own.read_bytes() == b"a part of the rows"
    server.missing = set()
    capsys.readouterr()
    assert command(own.name, "--force", "--json") == 0 and own.read_bytes() == FILES[own.name]
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"files": {own.name: {"status": "fetched", "path": str(own), "message": ""}}}


def test_a_file_that_fails_does_not_keep_the_others(server, command, tmp_path, capsys):
    (tmp_path / "data" / "quora-train.csv").mkdir(parents=True)
    server.missing = {NAME}
    assert command("--force") == 1
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{NAME}: failed: http") and "no such file (404)" in first
    assert second == "sts-train.csv: fetched"
    assert re.fullmatch("quora-train.csv: failed: .* is a folder; remove it.*", third)


def test_offline_says_what_to_fetch_elsewhere(command, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / NAME).write_bytes(CONTENT)
    url = nobody()
    with pytest.raises(InputError, match="^offline: ") as raised:
        command(mirror=url)
    wanted = f"put them into {tmp_path / 'data'}: {url}/sts-train.csv {url}/quora-train.csv"
    assert str(raised.value).endswith(wanted) and capsys.readouterr().out == f"{NAME}: there already\n"


def test_the_command_refuses_wrong_names(command, tmp_path):
    for name in ("../sts-dev.csv", "sts_dev.csv", "/etc/passwd"):
        with pytest.raises(InputError, match="is not a file of the course.*choose from sts-dev.csv"):
            command(name)
    with pytest.raises(InputError, match="is not the address"):
        command(mirror="here")
    assert not (tmp_path / "data").exists()
