"""The command `multitask download`: many files, and what is said of each.

Run: pytest tests/multitask/cli/test_download.py
"""

import json
from contextlib import contextmanager

import pytest

from minbert import CommandParser, InputError
from multitask.cli.download import add_download_options, download_command
from multitask.data import download as module
from multitask.data.download import SOURCE, Blob, download
from tests.multitask.data.course_server import (
    CONTENT,
    QUICK,
    Handler,
    free_port,
    git_id,
    names_in,
)

FILES = {"sts-dev.csv": CONTENT, "sts-train.csv": CONTENT[:5000], "quora-train.csv": CONTENT[:777]}


@pytest.fixture
def course(monkeypatch):
    """The table of the course's files with three small ones in it."""
    table = {name: Blob(git_id(content), len(content)) for name, content in FILES.items()}
    table["quora-train.csv"] = Blob(table["quora-train.csv"].id)
    monkeypatch.setattr(module, "COURSE_FILES", table)
    monkeypatch.setattr(download, "__defaults__", (SOURCE, QUICK, True))


@contextmanager
def serving(server, files):
    answers = {f"/{name}": {"content": content} for name, content in files.items()}

    class ByName(Handler):
        def do_GET(self):
            self.server.answers = [answers.get(self.path, {"status": 404})]
            super().do_GET()

    server.RequestHandlerClass = ByName
    yield server.url


def command(*words):
    parser = CommandParser(prog="multitask download")
    add_download_options(parser)
    return download_command(parser.parse_args([str(word) for word in words]))


def test_the_command_fetches_what_is_missing(server, course, tmp_path, capsys):
    with serving(server, FILES) as url:
        assert command("--data", tmp_path, "--mirror", url) == 0
        assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES
        assert capsys.readouterr().out.splitlines() == [f"{name}: fetched" for name in FILES]
        (tmp_path / "sts-dev.csv").unlink()
        asked = len(server.ranges)
        assert command("--data", tmp_path, "--mirror", url) == 0
        assert len(server.ranges) == asked + 1
        assert capsys.readouterr().out.splitlines() == [
            "sts-dev.csv: fetched",
            "sts-train.csv: there already",
            "quora-train.csv: there already",
        ]


def test_a_file_that_differs_is_kept_without_force(server, course, tmp_path, capsys):
    own = tmp_path / "quora-train.csv"
    own.write_bytes(b"a part of the rows")
    with serving(server, FILES) as url:
        assert command("--data", tmp_path, "--mirror", url) == 1
        assert own.read_bytes() == b"a part of the rows"
        assert "quora-train.csv: differs: " in capsys.readouterr().out
        assert command("quora-train.csv", "--data", tmp_path, "--mirror", url, "--force", "--json") == 0
        assert own.read_bytes() == FILES["quora-train.csv"]
        shown = json.loads(capsys.readouterr().out)
        assert shown == {"files": {own.name: {"status": "fetched", "path": str(own), "message": ""}}}


def test_a_file_that_differs_stays_where_its_download_fails(server, course, tmp_path):
    own = tmp_path / "quora-train.csv"
    own.write_bytes(b"a part of the rows")
    with serving(server, {}) as url:
        assert command(own.name, "--data", tmp_path, "--mirror", url, "--force") == 1
    assert own.read_bytes() == b"a part of the rows"


def test_a_missing_file_does_not_keep_the_others(server, course, tmp_path, capsys):
    with serving(server, {"sts-train.csv": FILES["sts-train.csv"]}) as url:
        assert command("sts-dev.csv", "sts-train.csv", "--data", tmp_path, "--mirror", url) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("sts-dev.csv: failed: http") and "no such file (404)" in first
    assert second == "sts-train.csv: fetched"


def test_offline_says_what_to_fetch_elsewhere(course, tmp_path, capsys):
    (tmp_path / "sts-dev.csv").write_bytes(CONTENT)
    url = f"http://127.0.0.1:{free_port()}/data"
    with pytest.raises(InputError, match="^offline: ") as raised:
        command("--data", tmp_path, "--mirror", url)
    message = str(raised.value)
    assert message.endswith(f"put them into {tmp_path}: {url}/sts-train.csv {url}/quora-train.csv")
    assert capsys.readouterr().out == "sts-dev.csv: there already\n"


def test_names_that_are_no_files_of_the_course(tmp_path):
    for name in ("../sts-dev.csv", "sts_dev.csv", "/etc/passwd"):
        with pytest.raises(InputError, match="is no file of the course.*choose from ids-sst-train.csv"):
            command(name, "--data", tmp_path)
    with pytest.raises(InputError, match="is no address"):
        command("--data", tmp_path, "--mirror", "here")
    assert names_in(tmp_path) == []
