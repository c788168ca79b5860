"""`minbert check --class`: the folders of a class, bad ones too, and what is written for whom.

Run: pytest tests/minbert/cli/test_check_class.py
"""

import csv
import json
import os
from xml.etree import ElementTree

import pytest

from minbert import CommandParser, InputError
from minbert.check.parts import OWN_PARTS, find_part
from minbert.cli.check import add_check_options, check_command
from tests.minbert.check.judging import check_in_this_process, source_of
from tests.minbert.check.students import model, optimizer

EVIL = '=HYPERLINK("http:evil")<img onerror=x>\x1b[31m'
POINTS = {
    name: sum(stage.points for stage in find_part(OWN_PARTS[name]).stages) for name in ("model", "optimizer")
}
RIGHT = source_of(model)
UNSCALED = source_of(model, **model.WRONG["scores without 1/sqrt(d)"])
TWO_LOSSES = """from torch.nn.functional import cross_entropy, mse_loss as mean_squared_error
"""


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch, tmp_path_factory):
    check_in_this_process(monkeypatch, tmp_path_factory.mktemp("modules"))


@pytest.fixture
def submissions(tmp_path):
    """Folders of students: right, one mistake, half, without files, with odd files, with an odd name."""
    folder = tmp_path / "submissions"
    for name, text in {
        "ada/bert.py": RIGHT,
        "ada/optimizer.py": source_of(optimizer),
        "bob/project-main/src/bert.py": UNSCALED,
        "bob/project-main/src/optimizer.py": source_of(optimizer),
        "bob/project-main/.venv/lib/bert.py": "",
        "cyd/bert.py": RIGHT.replace(
            "return ln_layer(input + dropout(dense_layer(output)))", "raise NotImplementedError"
        ),
        "cyd/tokenizer.py": "class BertTokenizer:\n    pass\n",
        "dan/notes.txt": "",
        f"{EVIL}/bert.py": UNSCALED,
        f"{EVIL}/optimizer.py": source_of(optimizer),
        ".git/bert.py": "",
    }.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    os.mkfifo(folder / "dan" / "bert.py")  # no file
    (folder / "dan" / "optimizer.py").symlink_to("optimizer.py")
    (folder / "read me.txt").touch()
    return folder


def check(*words):
    parser = CommandParser(prog="minbert check")
    add_check_options(parser)
    return check_command(parser.parse_args(list(map(str, words))))


def test_a_class_with_bad_folders(submissions, tmp_path, capsys):
    out = tmp_path / "grades"
    assert check("--class", submissions, "--out", out, "--jobs", 2) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "scores without 1/sqrt(d)" in printed
    assert "   2 of 5: scores without 1/sqrt(d)" in printed.splitlines()

    with open(out / "grades.csv", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    evil = "'" + EVIL.replace("\x1b", "\\x1b")
    assert list(rows) == [evil, "ada", "bob", "cyd", "dan"]
    points = {name: (int(row["points"]), int(row["possible"])) for name, row in rows.items()}
    every = sum(POINTS.values())
    assert points[evil] == points["bob"] == (every - 1, every)
    assert points["ada"] == (every, every) and points["dan"] == (0, every)
    assert 0 < points["cyd"][0] < 20, "no optimizer.py, and what is not written"
    assert rows["bob"]["what cost points"] == "scores without 1/sqrt(d)"
    assert rows["dan"]["what cost points"] == (
        "model: there is no file bert.py; optimizer: there is no file optimizer.py"
    )

    assert {path.name for path in (out / "students").iterdir()} == {EVIL, "ada", "bob", "cyd", "dan"}
    for name, row in {"bob": rows["bob"], "dan": rows["dan"], EVIL: rows[evil]}.items():
        own = out / "students" / name
        suites = ElementTree.parse(own / "junit.xml").getroot()
        assert [suite.attrib["name"] for suite in suites] == [
            "minbert check model",
            "minbert check optimizer",
        ]
        results = json.loads((own / "results.json").read_text())
        assert results["score"] == sum(test["score"] for test in results["tests"]) == int(row["points"])
        assert sum(test["max_score"] for test in results["tests"]) == int(row["possible"])
        assert (own / "report.txt").read_text().endswith(f"points {row['points']} / {row['possible']}")
    tests = {
        test["name"]: test for test in json.loads((out / "students/bob/results.json").read_text())["tests"]
    }
    assert tests["model: scaled scores"]["status"] == "failed"
    assert "Likely mistake: scores without 1/sqrt(d)" in tests["model: scaled scores"]["output"]
    assert tests["model: mask"]["status"] == "passed" and "follows from" in tests["model: mask"]["output"]

    page = (out / "index.html").read_text()
    assert "<img" not in page and "\x1b" not in page and "&lt;img onerror=x&gt;" in page
    assert page.count("<details") == 5 and "scores without 1/sqrt(d)</th>" in page


def test_losses_count_where_they_are_there_and_points_say_what_is_asked(submissions, tmp_path, capsys):
    (submissions / "ada" / "losses.py").write_text(TWO_LOSSES)
    points = tmp_path / "points.toml"
    points.write_text('[model]\n"scaled scores" = 4\n[losses]\nmnrl = 2\n')
    folders = (submissions / "ada", submissions / "bob")
    assert check("--class", *folders, "--out", tmp_path / "grades", "--json") == 0
    ada, bob = json.loads(capsys.readouterr().out)["students"]
    by_part = {part["part"]: part["points"] for part in ada["parts"]}
    assert by_part["losses"] == {"earned": 5, "possible": 5}, "two values, two gradients, large logits"
    assert by_part.keys() == {"model", "optimizer", "losses"} == {part["part"] for part in bob["parts"]}
    check("--class", *folders, "--out", tmp_path / "grades", "--json", "--points", points)
    ada, bob = json.loads(capsys.readouterr().out)["students"]
    assert [part["part"] for part in ada["parts"]] == ["model", "losses"]
    of_model = POINTS["model"] + 3
    assert ada["points"] == {"earned": of_model + 5, "possible": of_model + 5 + 2}, (
        "mnrl is asked for by name"
    )
    assert bob["points"]["earned"] == of_model - 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class", "."], "--class and --out belong together"),
        (["--out", "g"], "--class and --out belong together"),
        (["--class", ".", "--out", "g", "--model", "bert.py"], "--model does not go with --class"),
        (["--class", "nowhere", "--out", "g"], "there is no folder nowhere"),
        (["--class", "empty", "--out", "g"], "empty has no folder in it"),
        (["--class", "a/same", "b/same", "--out", "g"], "a/same and b/same have one name"),
        (["--class", "a", "--out", "g"], "no folder has a file to check"),
        (["--class", "a", "--out", "g", "--jobs", "0"], "--jobs is 0; give a number from 1"),
    ],
)
def test_what_makes_no_class_is_refused(tmp_path, monkeypatch, words, said):
    for folder in ("empty", "a/same", "b/same"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        check(*words)
    assert not (tmp_path / "g").exists()


def test_a_link_that_leads_out_of_a_folder_is_not_followed(submissions, tmp_path, capsys):
    (submissions / "eve").mkdir()
    (submissions / "eve" / "bert.py").symlink_to(submissions / "ada" / "bert.py")
    check("--class", submissions / "ada", submissions / "eve", "--out", tmp_path / "grades")
    report = (tmp_path / "grades" / "students" / "eve" / "report.txt").read_text()
    assert "eve/bert.py is a link that leads out of" in " ".join(report.split()), report
    with pytest.raises(InputError, match="bert.py is a link that leads out of .*eve; put the file itself"):
        check("--folder", submissions / "eve")
