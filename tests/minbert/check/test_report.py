"""Findings as text, JSON and JUnit XML.

Run: pytest tests/minbert/check/test_report.py
"""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from minbert.check.judge import judge_all
from minbert.check.report import PartReport, as_json, catalogue_text, explain, junit_xml, text_report
from minbert.check.stage import Mistake, Outcome, Part, Stage

RIGHT = np.array([[1.0, 2.0], [3.0, 4.0]])


def mistake(name: str, values: np.ndarray) -> Mistake:
    return Mistake(name, f"{name} was done.", f"Do not do {name}.", predict=lambda: {"out": values})


def stage(name: str, mistakes=(), builds_on=(), points=1) -> Stage:
    return Stage(name, lambda given: given, lambda: {"out": RIGHT}, mistakes, builds_on, points)


PART = Part(
    "toy",
    "toy.py",
    (
        stage("scores"),
        stage("mask", (mistake("sign", -RIGHT), mistake("half", RIGHT / 2)), points=3),
        stage("context", (mistake("turned", RIGHT.T), mistake("swapped", RIGHT.T)), points=2),
        stage("layer", builds_on=("mask",)),
        stage("pooler"),
        stage("gradients"),
        stage("odd"),
    ),
    load=lambda module: module,
    own=lambda: None,
)
OUTCOMES = {
    "scores": Outcome({"out": RIGHT + 1e-7}),
    "mask": Outcome({"out": -RIGHT}, printed="a \x1b[31mword\x00\n"),
    "context": Outcome({"out": RIGHT.T}),
    "layer": Outcome({"out": RIGHT * 2}),
    "pooler": Outcome(problem="missing", detail="the file has\nno pooler"),
    "gradients": Outcome(problem="time", detail="it did not end within 20 s", printed="<round & round>"),
    "odd": Outcome({"out": RIGHT * np.nan}),
}


@pytest.fixture
def report():
    return PartReport("toy", "student/toy.py", tuple(judge_all(PART, OUTCOMES)))


@pytest.fixture
def good():
    outcomes = {stage.name: Outcome({"out": RIGHT}) for stage in PART.stages}
    return PartReport("toy", "our own code", tuple(judge_all(PART, outcomes)))


def test_the_text_says_what_differs_first_and_why(report):
    lines = text_report([report]).splitlines()
    assert lines[:8] == [
        "toy: student/toy.py",
        "  scores     same       1 / 1  within 5.0e-08",
        "  mask       DIFFERENT  0 / 3",
        "  context    DIFFERENT  0 / 2",
        "  layer      DIFFERENT  0 / 1  it builds on mask",
        "  pooler     skipped    0 / 1  the file has no pooler",
        "  gradients  FAILED     0 / 1",
        "  odd        DIFFERENT  0 / 1",
    ]
    assert lines[-1] == "points 1 / 10"
    text = "\n".join(lines[8:])
    first, *others = text.split("Another difference: ")
    assert first.strip().splitlines() == [
        "First difference: stage 'mask', by 1.6 (allowed 2e-05), output 'out' at index (1, 1): "
        "given -4, expected 4",
        "  Likely mistake: sign. sign was done.",
        "  Instead: Do not do sign.",
        "  It printed:",
        "    a \\x1b[31mword\\x00",
    ]
    assert len(others) == 3, "the layer is explained by the mask"
    assert (
        "which give the same numbers here:\n  - turned: turned was done. Instead: Do not do turned." in text
    )
    assert "- swapped: " in others[0]
    assert "stage 'gradients' gave nothing to compare: it did not end within 20 s" in others[1]
    assert "<round & round>" in others[1]
    assert "by inf" in others[2] and "given nan" in others[2]
    assert "No known mistake gives these numbers." in others[2]
    assert "\033" not in text


def test_colour_changes_nothing_else(report):
    coloured = text_report([report], colour=True)
    assert "\033[31mDIFFERENT\033[0m" in coloured and "\033[32msame     \033[0m" in coloured
    for code in ("\033[31m", "\033[32m", "\033[33m", "\033[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == text_report([report])


def test_what_keeps_all_stages_from_running_is_said_once():
    outcome = Outcome(problem="raised", detail="the file cannot be loaded: SyntaxError", printed="oh")
    findings = judge_all(PART, {stage.name: outcome for stage in PART.stages})
    text = text_report([PartReport("toy", "toy.py", tuple(findings))])
    assert text.count("SyntaxError") == 1 and text.count("oh") == 1
    assert "Nothing could be compared: the file cannot be loaded: SyntaxError" in text


def test_a_different_shape_is_explained_in_words():
    (finding,) = judge_all(PART, {"scores": Outcome({"out": RIGHT[0]})})
    assert "output 'out': the shape is (2,); it has to be (2, 2)" in explain(finding)


@pytest.mark.parametrize(
    ("outcomes", "is_good"),
    [
        ({"scores": Outcome({"out": RIGHT})}, True),
        ({"scores": Outcome({"out": RIGHT}), "mask": OUTCOMES["pooler"]}, True),
        ({"scores": Outcome({"out": RIGHT}), "mask": OUTCOMES["mask"]}, False),
        ({"scores": Outcome({"out": RIGHT}), "mask": OUTCOMES["gradients"]}, False),
        ({"scores": OUTCOMES["pooler"]}, False),  # nothing was compared
    ],
)
def test_good_is_what_agrees_where_something_was_compared(outcomes, is_good):
    report = PartReport("toy", "toy.py", tuple(judge_all(PART, outcomes)))
    assert report.is_good is is_good
    assert as_json([report])["good"] is is_good


def test_json_holds_everything_in_standard_numbers(report, good):
    values = json.loads(
        json.dumps(as_json([report, good]), allow_nan=False),
        parse_constant=lambda name: pytest.fail(f"{name} is no JSON"),
    )
    assert values["points"] == {"earned": 11, "possible": 20} and values["good"] is False
    first, second = values["parts"]
    assert (first["part"], first["source"], first["first_difference"]) == ("toy", "student/toy.py", "mask")
    assert first["points"] == {"earned": 1, "possible": 10} and second["first_difference"] is None
    stages = {entry["stage"]: entry for entry in first["stages"]}
    assert list(stages) == list(OUTCOMES)
    assert stages["mask"]["index"] == [1, 1]
    assert (stages["mask"]["given"], stages["mask"]["expected"]) == (-4, 4)
    assert stages["mask"]["points"] == {"earned": 0, "possible": 3}
    assert stages["mask"]["mistakes"] == [
        {"name": "sign", "cause": "sign was done.", "remedy": "Do not do sign."}
    ]
    assert [entry["name"] for entry in stages["context"]["mistakes"]] == ["turned", "swapped"]
    assert (stages["layer"]["follows"], stages["layer"]["mistakes"]) == (["mask"], [])
    assert (stages["odd"]["difference"], stages["odd"]["given"]) == ("inf", "nan")
    assert stages["gradients"]["detail"] == "it did not end within 20 s"
    assert stages["gradients"]["output"] is None


def test_junit_has_what_its_readers_ask_for(report, good):
    text = junit_xml([report, good])
    root = ElementTree.fromstring(text)  # control characters and & would not parse
    assert root.tag == "testsuites" and root.attrib["tests"] == "14"
    suites = root.findall("testsuite")
    assert [suite.attrib["name"] for suite in suites] == ["minbert check toy"] * 2
    counts = {name: suites[0].attrib[name] for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "7", "failures": "5", "errors": "0", "skipped": "1"}
    assert points_of(suites[0]) == ("1", "10") and points_of(suites[1]) == ("10", "10")
    cases = {case.attrib["name"]: case for case in suites[0].findall("testcase")}
    assert list(cases) == list(OUTCOMES)
    for name, case in cases.items():
        assert case.attrib["classname"] == "minbert.check.toy" and float(case.attrib["time"]) >= 0
        expected = {"scores": set(), "pooler": {"skipped"}}.get(name, {"failure"})
        assert {child.tag for child in case} - {"properties", "system-out"} == expected
    assert points_of(cases["mask"]) == ("0", "3") and points_of(cases["scores"]) == ("1", "1")
    failure = cases["mask"].find("failure")
    assert failure.attrib["message"].startswith("stage 'mask', by 1.6")
    assert failure.attrib["type"] == "different"
    assert "Likely mistake: sign" in failure.text
    assert cases["mask"].find("system-out").text == "a \\x1b[31mword\\x00\n"
    assert cases["gradients"].find("failure").attrib["type"] == "failed"
    assert cases["gradients"].find("system-out").text == "<round & round>"
    assert cases["pooler"].find("skipped").attrib["message"] == "the file has no pooler"


def points_of(element: ElementTree.Element) -> tuple[str, str]:
    values = {entry.attrib["name"]: entry.attrib["value"] for entry in element.find("properties")}
    return values["points"], values["points_possible"]


def test_the_catalogue_gives_cause_and_remedy():
    assert catalogue_text([PART]).splitlines()[:3] == [
        "toy, mask: sign",
        "  sign was done.",
        "  Instead: Do not do sign.",
    ]
    assert catalogue_text([PART]).count("Instead: ") == 4
