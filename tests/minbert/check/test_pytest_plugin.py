"""`pytest --minbert-check=DIR` as a teacher runs it.

Run: pytest tests/minbert/check/test_pytest_plugin.py
"""

import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import torch  # noqa: F401  before pytester, which forgets modules that a run imports

import minbert.check.isolation.process
import minbert.cli.check  # noqa: F401
from minbert.check.parts import find_part, part_places
from tests.minbert.check.judging import TOY_STAGES, check_in_this_process

pytest_plugins = ["pytester"]
for place in part_places().values():
    find_part(place)

PARTS = f"""{TOY_STAGES}
STAGES = (stage("first"), stage("second", (DOUBLED,)), stage("third"), stage("fourth"))
NAMES = ("first", "second", "fourth")
TOY = Part("toy", "toy.py", STAGES, lambda module: module, lambda: None, NAMES)
"""
STUDENT = """
with open(__file__ + ".runs", "a") as runs:
    runs.write("x")

def first():
    return [1, 2]

def second():
    print("one & two")
    return [2, 4]

def fourth():
    return [1, 2]
"""
COURSES_TEST = "raise SystemExit('the course\\'s own test runs at import')\n"


@pytest.fixture
def folder(pytester, monkeypatch):
    """A folder with student/toy.py, and the part as an installed package would bring it."""
    for name, text in {
        "student/toy.py": STUDENT,
        "student/optimizer_test.py": COURSES_TEST,
        "installed/plugin_test_parts.py": PARTS,
        "installed/toy-1.dist-info/entry_points.txt": "[minbert.check]\ntoy = plugin_test_parts:TOY\n",
        "installed/toy-1.dist-info/METADATA": "Name: toy\nVersion: 1\n",
        "points.toml": "[toy]\nfirst = 5\nsecond = 2\nthird = 1\nfourth = 1\n",
    }.items():
        (pytester.path / name).parent.mkdir(parents=True, exist_ok=True)
        (pytester.path / name).write_text(text)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.syspath_prepend(pytester.path / "installed")
    return pytester.path


@pytest.fixture
def run_pytest(pytester, folder):
    """Runs pytest in `folder` with this plugin alone; the lines that it printed, and its status."""

    def run(*words):
        plugin = ["-p", "minbert.check.pytest_plugin", "-p", "no:cacheprovider", "--rootdir=."]
        found = pytester.runpytest_inprocess(*plugin, *map(str, words))
        return found.outlines + found.errlines, found.ret

    return run


@pytest.fixture
def in_this_process(monkeypatch, tmp_path_factory):
    check_in_this_process(monkeypatch, tmp_path_factory.mktemp("modules"))


def test_one_test_for_each_stage_with_points(folder, run_pytest):
    reports = ("--junitxml=junit.xml", "--minbert-check-json=points/check.json")
    lines, status = run_pytest(
        "--minbert-check=student/", "--minbert-check-points=points.toml", *reports, "-v"
    )
    text = "\n".join(lines)
    assert status == 1 and "collected 4 items" in text
    assert (folder / "student" / "toy.py.runs").read_text() == "x", "the process runs once"
    for outcome in ("first PASSED", "second FAILED", "third SKIPPED", "fourth PASSED"):
        assert any(line.startswith(f"student/toy.py::{outcome}") for line in lines), text
    assert "Likely mistake: doubled. It was doubled." in text and "Instead: Halve it." in text
    assert "the file has no function third" in text and "one & two" in text
    assert "points 6 / 9" in lines

    cases = {case.attrib["name"]: case for case in ElementTree.parse(folder / "junit.xml").iter("testcase")}
    assert list(cases) == ["first", "second", "third", "fourth"]
    assert {case.attrib["classname"] for case in cases.values()} == {"student.toy"}
    points = {
        name: {entry.attrib["name"]: entry.attrib["value"] for entry in case.iter("property")}
        for name, case in cases.items()
    }
    assert points["first"] == {"points": "5", "points_possible": "5"}
    assert points["second"] == {"points": "0", "points_possible": "2"}
    assert points["third"] == {"points": "0", "points_possible": "1"}
    assert "doubled" in cases["second"].find("failure").text

    report = json.loads((folder / "points" / "check.json").read_text())
    assert report["points"] == {"earned": 6, "possible": 9}
    assert [stage["status"] for stage in report["stages"]] == ["same", "different", "skipped", "same"]
    assert report["stages"][1]["mistakes"][0]["name"] == "doubled"


def test_a_file_without_anything_to_check_has_no_points(folder, run_pytest, in_this_process):
    (folder / "student" / "toy.py").write_text("")
    lines, status = run_pytest("--minbert-check=student")
    assert status == 0 and "points 0 / 0" in lines and any("4 skipped" in line for line in lines)


def test_with_tests_of_ones_own(folder, run_pytest, in_this_process):
    (folder / "test_own.py").write_text("def test_first():\n    pass\n")
    (folder / "student" / "test_inside.py").write_text("raise ValueError\n")
    lines, status = run_pytest("--minbert-check=student", "-k", "first or second", "-q", "-x")
    assert status == 1 and "points 1 / 2" in lines
    assert any("1 failed, 2 passed, 2 deselected" in line for line in lines), lines
    lines, status = run_pytest("--minbert-check=student", "student/test_inside.py", "-q")
    assert status == pytest.ExitCode.INTERRUPTED and "ERROR student/test_inside.py - ValueError" in lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minbert-check=nowhere"], "there is no folder"),
        (["--minbert-check=installed"], "has no file to check; these are looked for: bert.py"),
        (["--minbert-check=student", "--minbert-check-points=none.toml"], "there is no file"),
        (["--minbert-check=student", "--minbert-check-time-limit=0"], "the time limit is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(run_pytest, words, said):
    lines, status = run_pytest(*words)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert any(line.startswith("ERROR: ") and said in line for line in lines), lines


def test_without_the_option_nothing_is_imported(tmp_path):
    (tmp_path / "test_own.py").write_text(
        "import sys\ndef test_own():\n"
        "    assert not {'torch', 'numpy', 'minbert.check.isolation.process'} & set(sys.modules)\n"
    )
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "minbert.check.pytest_plugin", "test_own.py"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.returncode == 0 and "points" not in found.stdout, found.stdout
