"""`multitask submit`: what is in the zip, what is not, and that nothing invalid is packed.

Run: pytest tests/multitask/course/test_submit.py
"""

import os
import zipfile
from pathlib import Path

import pytest

from minbert import CommandParser, InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.course.submit import add_submit_options, submit_command
from multitask.tasks.predictions import prediction_path, write_predictions

FORMATS = {
    name: make_task(name, task_config(name, {})).format for name in ("sst", "paraphrase", "sts", "cfimdb")
}

TASKS = {
    "sst": ("ids-sst", "sentence"),
    "paraphrase": ("quora", "sentence1\tsentence2"),
    "sts": ("sts", "sentence1\tsentence2"),
}
FILES = {"sst": "sst", "paraphrase": "para", "sts": "sts"}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for stem, columns in TASKS.values():
        for ending in ("dev", "test-student"):
            texts = "\t".join(["good"] * (columns.count("\t") + 1))
            rows = [f"{number}\tid{number}{ending}\t{texts}" for number in range(3)]
            (folder / f"{stem}-{ending}.csv").write_text("\n".join([f"\tid\t{columns}", *rows]) + "\n")
    return folder


@pytest.fixture
def student(tmp_path, data):
    """A student's folder: code, predictions, and much that does not belong into the zip."""
    folder = tmp_path / "student"
    for name in FILES:
        for split, ending in (("dev", "dev"), ("test", "test-student")):
            path = prediction_path(folder / "predictions", FORMATS[name], split)
            write_predictions(path, [f"id{i}{ending}" for i in range(3)], [1, 0, 1], FORMATS[name])
    for name in (
        *(
            "bert.py",
            "optimizer.py",
            "extra/heads.py",
            "notes.txt",
            "predictions/README",
            "predictions/a/b.txt",
        ),
        *(".venv/lib/x.py", ".git/hook.py", ".hidden.py", "__pycache__/bert.py", "env/lib/x.py"),
        *("env/pyvenv.cfg", "node_modules/x.py", "data/quora.csv", "predictions/.DS_Store", "model.pt"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    return folder


EXPECTED = [
    *("bert.py", "extra/heads.py", "optimizer.py", "predictions/README", "predictions/a/b.txt"),
    *(
        f"predictions/{stem}-{split}-output.csv"
        for stem in ("para", "sst", "sts")
        for split in ("dev", "test")
    ),
]


def submit(*words):
    parser = CommandParser(prog="multitask submit")
    add_submit_options(parser)
    return submit_command(parser.parse_args([str(word) for word in words]))


def test_code_and_predictions_and_nothing_else(student, data, tmp_path, capsys):
    out = tmp_path / "out.zip"
    assert submit(student, "--data", data, out) is None
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == EXPECTED
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        for name in EXPECTED:
            assert archive.read(name) == (student / name).read_bytes()
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in shown[-len(EXPECTED) - 1 : -1]] == EXPECTED
    assert shown[-1] == f"wrote {out}" and not any(line.startswith("warning") for line in shown)


def test_the_same_files_give_the_same_bytes(student, data, tmp_path):
    submit(student, tmp_path / "a.zip", "--data", data)
    for number, path in enumerate(sorted(student.rglob("*.*"))):
        os.utime(path, (number * 10_000_000, number * 10_000_000))
        path.chmod(0o700)
    submit(student, tmp_path / "b.zip", "--data", data)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    for _ in range(2):  # the zip may lie among what it holds
        submit(student, student / "predictions" / "out.zip", "--data", data)
    assert (student / "predictions" / "out.zip").read_bytes() == (tmp_path / "a.zip").read_bytes()


def test_invalid_predictions_are_not_packed(student, data, tmp_path, capsys):
    out = tmp_path / "out.zip"
    path = student / "predictions" / "sts-test-output.csv"
    path.write_text(path.read_text().replace("1.0", "nan", 1))
    assert submit(student, out, "--data", data) == 1
    shown = capsys.readouterr().out
    assert "the value is nan" in shown and shown.endswith(f"{out} was not written: mend the errors first\n")
    path.unlink()
    assert submit(student, out, "--data", data) == 1
    assert "no predictions for sts test" in capsys.readouterr().out and not out.exists()
    assert submit(student, out, "--data", data, "--tasks", "sst,paraphrase") is None


def test_a_run_with_code_from_elsewhere(student, data, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (student / "predictions").rename(run / "predictions")
    submit(run, tmp_path / "bare.zip", "--data", data)
    assert f"warning: {run} has no .py file" in capsys.readouterr().out
    (student / "predictions").mkdir()
    (student / "predictions" / "old.py").write_text("# not of this run\n")
    submit(run, tmp_path / "out.zip", "--data", data, "--code", student)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == EXPECTED


def test_links_and_large_files_are_warned_of(student, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("multitask.course.submit.LARGE", 1000)
    (tmp_path / "secret.py").write_text("# elsewhere\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside.py").write_text("# inside\n")
    (student / "linked.py").symlink_to(tmp_path / "secret.py")
    (student / "gone.py").symlink_to(tmp_path / "nothing.py")
    (student / "predictions" / "gone.csv").symlink_to(tmp_path / "nothing.csv")
    (student / "folder").symlink_to(tmp_path / "folder")
    (student / "around").symlink_to(student)
    (student / "optimizer.py").write_text("#" * 2000)
    os.mkfifo(student / "pipe.py")
    submit(student, tmp_path / "out.zip", "--data", data)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == sorted([*EXPECTED, "linked.py"])
        assert archive.read("linked.py") == b"# elsewhere\n"
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        f"warning: {student}/around is a link to a folder; what is in it was left out",
        f"warning: {student}/folder is a link to a folder; what is in it was left out",
        f"warning: {student}/gone.py is a broken link or a device, and was left out",
        f"warning: linked.py is a link; the zip holds the content of {tmp_path}/secret.py",
        "warning: optimizer.py is large, 0 MB",
        f"warning: {student}/pipe.py is a broken link or a device, and was left out",
        f"warning: {student}/predictions/gone.csv is a broken link or a device, and was left out",
    ]


def test_what_is_refused(student, data, tmp_path):
    for words, message in (
        ((student, tmp_path / "out.tar"), "is not named as a zip"),
        ((student / "predictions", tmp_path / "out.zip"), "give the folder above it"),
        ((tmp_path, tmp_path / "out.zip"), "multitask predict RUN --out .* writes one"),
        ((student, tmp_path / "out.zip", "--code", tmp_path / "none"), "there is no folder"),
    ):
        with pytest.raises(InputError, match=message):
            submit(*words, "--data", data)
    (student / "notes.txt").rename(student / "predictions" / os.fsdecode(b"\xff.txt"))
    with pytest.raises(InputError, match="no zip can hold"):
        submit(student, tmp_path / "out.zip", "--data", data)
    assert not list(Path(tmp_path).glob("*.zip*")) and not list(tmp_path.glob(".*"))
