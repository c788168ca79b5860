"""The command `multitask check`.

Run: pytest tests/multitask/cli/test_check.py
"""

import json
import subprocess
import sys
from random import Random
from xml.etree import ElementTree

import pytest

from minbert import CommandParser, InputError
from multitask.cli.check import add_check_options, check_command
from tests.minbert.check.judging import check_in_this_process
from tests.multitask.check import right_files


@pytest.fixture
def in_this_process(monkeypatch, tmp_path):
    check_in_this_process(monkeypatch, tmp_path)


@pytest.fixture
def check(tmp_path, capsys):
    """check(arguments): the exit status and what was printed."""

    def run(*arguments):
        parser = CommandParser(prog="multitask check")
        add_check_options(parser)
        status = check_command(parser.parse_args([str(argument) for argument in arguments]))
        return status, capsys.readouterr().out

    return run


@pytest.fixture
def write(tmp_path):
    """write(kind, functions): a right file of losses or metrics, with these functions in place of its own."""

    def file(kind, functions=""):
        path = tmp_path / f"{kind}.py"
        right = right_files.random_file(getattr(right_files, kind.upper()), Random(0))
        path.write_text(f"{right}\n{functions}")
        return path

    return file


OWN_POSITIVE_MISSING = """
def mnrl(anchors, positives, scale):
    scores = scale * F.cosine_similarity(anchors[:, None], positives, dim=-1)
    own = torch.eye(len(scores)).bool()
    return (scores.masked_fill(own, -torch.inf).logsumexp(1) - scores[own]).mean()
"""
EXITS = """
def pearson(x, y):
    import sys
    sys.exit(3)
"""


def test_without_a_file_our_own_are_checked(check):
    status, printed = check("--json")
    report = json.loads(printed)
    assert (status, report["good"]) == (0, True)
    assert [(part["part"], part["source"]) for part in report["parts"]] == [
        ("losses", "our own code"),
        ("metrics", "our own code"),
    ]


@pytest.mark.usefixtures("in_this_process")
def test_a_mistake_in_a_file_is_named(check, write, tmp_path):
    junit = tmp_path / "report.xml"
    path = write("losses", OWN_POSITIVE_MISSING)
    status, printed = check("--losses", path, "--junit", junit)
    assert status == 1
    assert "Likely mistake: own positive missing in the denominator (mnrl)." in printed
    assert "'mnrl'" in printed and "metrics" not in printed
    cases = {case.get("name"): case for case in ElementTree.parse(junit).iter("testcase")}
    assert [name for name, case in cases.items() if case.find("failure") is not None] == ["mnrl"]
    assert cases["mnrl gradient"].find("skipped").get("message") == "follows from mnrl, costs nothing"


def test_a_file_is_run_by_a_process_of_its_own(check, write):
    status, printed = check("--metrics", write("metrics", EXITS), "--json", "--time-limit", 300)
    [report] = json.loads(printed)["parts"]
    assert status == 1 and sum(stage["status"] == "same" for stage in report["stages"]) == 8
    [stage] = [stage for stage in report["stages"] if stage["status"] != "same"]
    assert (stage["stage"], stage["status"]) == ("pearson", "failed") and "sys.exit(3)" in stage["detail"]


@pytest.mark.usefixtures("in_this_process")
def test_both_files_at_once(check, write):
    status, printed = check("--losses", write("losses"), "--metrics", write("metrics"))
    assert status == 0 and "points 31 / 31" in printed and "DIFFERENT" not in printed


def test_the_catalogue_is_printed(check):
    status, printed = check("--mistakes", "--json")
    names = [mistake["name"] for mistake in json.loads(printed)["mistakes"]]
    assert status == 0 and len(names) > 200 and "means not subtracted (pearson)" in names


def test_a_file_that_is_not_there_is_bad_input(check, tmp_path):
    with pytest.raises(InputError, match="there is no file .*none.py"):
        check("--losses", tmp_path / "none.py")


def test_judging_a_file_loads_no_torch():
    """The process that judges has no use for it; the one that runs the file loads its own."""
    code = (
        "import sys\n"
        "from minbert.check.judge import judge_all\n"
        "from multitask.check.losses import LOSSES\n"
        "from multitask.check.metrics import METRICS\n"
        "from minbert.check.stage import Outcome\n"
        "for part in (LOSSES, METRICS):\n"
        "    judge_all(part, {stage.name: Outcome(stage.expected()) for stage in part.stages})\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
