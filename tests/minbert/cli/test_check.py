"""`minbert check`: what is checked, what is printed, the exit status.

Run: pytest tests/minbert/cli/test_check.py
"""

import json
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from minbert import CommandParser, InputError
from minbert.check.course_files import fitted_weight
from minbert.check.parts import OWN_PARTS, find_part, part_places
from minbert.cli.check import Check, add_check_options, add_limit_options, check_command, run_checks
from minbert.optim import AdamW
from tests.minbert.check.judging import TOY_STAGES, check_in_this_process, source_of
from tests.minbert.check.students import optimizer

# A part with our own code that is right, and a mistake that is known.
PARTS = f"""{TOY_STAGES}
NAMES = ("first", "second")
OWN = SimpleNamespace(first=lambda: [1, 2], second=lambda: [1, 2])
STAGES = (stage("first"), stage("second", (DOUBLED,)))
TOY = Part("toy", "toy.py", STAGES, lambda module: module, lambda: OWN, NAMES)
PLAY = Part("play", "play.py", (stage("first"),), lambda module: module, lambda: OWN, NAMES)
"""
TOY, PLAY = "command_test_parts:TOY", "command_test_parts:PLAY"
RIGHT = "def first():\n    return [1, 2]\n\nsecond = first\n"
WRONG = "def first():\n    return [1, 2]\n\ndef second():\n    return [2, 4]\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files toy.py (right) and wrong.py; the parts can be imported."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "command_test_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path / "parts")
    (tmp_path / "toy.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    return tmp_path


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch, tmp_path_factory):
    check_in_this_process(monkeypatch, tmp_path_factory.mktemp("modules"))


def limits(*words):
    parser = CommandParser(prog="test check")
    add_limit_options(parser)
    return parser.parse_args(list(map(str, words)))


def options(*words):
    parser = CommandParser(prog="minbert check")
    add_check_options(parser)
    return parser.parse_args(list(map(str, words)))


def test_files_and_our_own_code_in_one_report(folder, capsys):
    points = folder / "points.toml"
    points.write_text('[toy]\nfirst = 3\nsecond = 5\n[unchecked]\n"any stage" = 1\n')
    junit = folder / "reports" / "junit.xml"
    checks = [(TOY, None), (TOY, folder / "wrong.py"), (PLAY, str(folder / "toy.py"))]
    status = run_checks(limits("--json", "--points", points, "--junit", junit), checks)
    assert status == 1
    report = json.loads(capsys.readouterr().out)
    assert report["points"] == {"earned": 12, "possible": 17} and report["good"] is False
    sources = [(part["part"], part["source"], part["points"]["earned"]) for part in report["parts"]]
    wrong, right = str(folder / "wrong.py"), str(folder / "toy.py")
    assert sources == [("toy", "our own code", 8), ("toy", wrong, 3), ("play", right, 1)]
    (mistake,) = report["parts"][1]["stages"][1]["mistakes"]
    assert mistake == {"name": "doubled", "cause": "It was doubled.", "remedy": "Halve it."}
    suites = ElementTree.parse(junit).getroot()
    assert (suites.attrib["tests"], suites.attrib["failures"]) == ("5", "1")


def test_the_status_is_0_where_all_agrees_and_the_report_is_text(folder, capsys):
    assert run_checks(limits(), [(TOY, None)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "toy: our own code" and printed.endswith("points 2 / 2\n")
    assert "\033" not in printed


def test_a_file_without_anything_to_check(folder, capsys):
    (folder / "toy.py").write_text("")
    assert run_checks(limits(), [(TOY, folder / "toy.py")]) == 1, "it was named"
    printed = capsys.readouterr().out
    assert ".py has none of the names that are looked for: first, second; it has no class" in printed
    assert printed.count("looked for") == 1 and "points 0 / 0" in printed
    with pytest.raises(InputError, match="there is nothing to check in .*toy.py"):
        run_checks(limits(), [Check(TOY, folder / "toy.py", found=True)])
    unwritten = "def first():\n    raise NotImplementedError\n\nsecond = first\n"
    (folder / "toy.py").write_text(unwritten)
    assert run_checks(limits(), [Check(TOY, folder / "toy.py", found=True)]) == 1
    printed = capsys.readouterr().out
    assert "first is not written yet (NotImplementedError)" in printed and "points 0 / 2" in printed


def test_mistakes_are_listed_without_a_check(folder, capsys):
    checks = [(TOY, folder / "wrong.py"), (PLAY, None)]
    assert run_checks(limits("--mistakes"), checks) == 0
    assert capsys.readouterr().out == "toy, second: doubled\n  It was doubled.\n  Instead: Halve it.\n"
    assert run_checks(limits("--mistakes", "--json"), checks) == 0
    (entry,) = json.loads(capsys.readouterr().out)["mistakes"]
    assert (entry["part"], entry["stage"], entry["name"]) == ("toy", "second", "doubled")


@pytest.mark.parametrize(
    ("words", "points", "said"),
    [
        (["--time-limit", 0], "", "the time limit is 0; give seconds above 0"),
        (["--time-limit", "nan"], "", "the time limit is nan"),
        (["--memory-limit", -1], "", "the memory limit is -1"),
        ([], '[toy]\n"secnd" = 1', "part 'toy' has no stage 'secnd'; did you mean 'second'"),
        ([], "first = 1", "first stands outside of a part"),
        ([], "[toy]\nfirst = 1.5", "'first' has 1.5 points; give a whole number from 0"),
        ([], "[toy]\nfirst = true", "'first' has True points"),
        ([], "[toy]\nfirst = -1", "'first' has -1 points"),
        ([], "[toy", "is not TOML"),
    ],
)
def test_limits_and_points_that_make_no_sense_are_refused(folder, words, points, said):
    if points:
        (folder / "points.toml").write_text(points)
        words = [*words, "--points", folder / "points.toml"]
    with pytest.raises(InputError, match=said):
        run_checks(limits(*words), [(TOY, None)])


def test_a_students_optimizer_with_the_courses_file(tmp_path, capsys):
    data = tmp_path / "optimizer_test.npy"
    np.save(data, fitted_weight(AdamW))
    (tmp_path / "optimizer.py").write_text(source_of(optimizer))
    (tmp_path / "tokenizer.py").write_text("class BertTokenizer:\n    pass\n")  # the starter's
    words = ("--folder", tmp_path, "--optimizer-data", data, "--json")
    status = check_command(options(*words))
    report = json.loads(capsys.readouterr().out)
    assert (status, report["good"]) == (0, True), report
    assert [part["part"] for part in report["parts"]] == ["optimizer", "course files"]
    assert {part["source"] for part in report["parts"]} == {str(tmp_path / "optimizer.py")}
    (tmp_path / "tokenizer.py").unlink()
    wrong = tmp_path / "wrong.py"
    wrong.write_text(source_of(optimizer, c1="1.0"))
    assert check_command(options("--optimizer", wrong, "--folder", tmp_path)) == 1, "the file that is named"
    printed = capsys.readouterr().out
    assert printed.startswith(f"optimizer: {wrong}\n") and "Likely" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sanity-data", "d"], "--sanity-data and --weights belong together"),
        (["--weights", "w"], "--sanity-data and --weights belong together"),
        (["--folder", "nowhere"], "there is no folder nowhere"),
        (["--folder", "."], "has no file to check; these are looked for: bert.py, optimizer.py"),
        (["--lora", "l.py", "--optimizer-data", "d"], "--optimizer-data goes with --optimizer"),
        (["--model", "none.py"], "there is no file .*none.py"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        check_command(options(*words))


def test_our_own_code_is_right(capsys):
    status = check_command(options("--json"))
    report = json.loads(capsys.readouterr().out)
    assert (status, report["good"]) == (0, True)
    assert [part["part"] for part in report["parts"]] == list(OWN_PARTS)
    assert {part["source"] for part in report["parts"]} == {"our own code"}
    assert report["points"]["earned"] == report["points"]["possible"] > 20


def test_parts_are_found_by_name():
    places = part_places()
    assert OWN_PARTS.items() <= places.items()
    assert all(find_part(place).name == name for name, place in OWN_PARTS.items())


def test_the_options_need_no_torch():
    code = """
import sys
from minbert.cli.check import add_check_options
from minbert.cli.command_line import CommandParser
add_check_options(CommandParser())
assert not {"torch", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
