"""The part "metrics": every mistake as a student's file is named, right files of any style pass.

Run: pytest tests/multitask/check/test_metrics.py
"""

from itertools import combinations
from types import ModuleType

import numpy as np
import pytest

from minbert.check.judge import DIFFERENT, check_candidate, distance, first_difference
from minbert.check.stage import TOLERANCE
from multitask.check.metrics import METRICS
from tests.multitask.check.metric_variants import RandomMetrics
from tests.multitask.check.student_metrics import MISTAKES, source

EACH = [(function, title) for function, titles in MISTAKES.items() for title in titles]
LOOSE = "entity_f1 of I- without B-"


def check(text: str):
    module = ModuleType("metrics")
    exec(compile(text, "metrics.py", "exec"), vars(module))
    return check_candidate(METRICS, METRICS.load(module))


def test_the_catalogue_is_written_out():
    names = [mistake.name for stage in METRICS.stages for mistake in stage.mistakes]
    assert len(names) == len(set(names)) > 60
    assert sorted(names) == sorted(f"{title} ({function})" for function, title in EACH)
    for stage in METRICS.stages:
        for mistake in stage.mistakes:
            assert mistake.cause.endswith(".") and mistake.remedy.endswith(".")


@pytest.mark.parametrize("function, title", EACH, ids=[f"{f}-{t}" for f, t in EACH])
def test_mistakes_are_named(function, title):
    findings = check(source(function, MISTAKES[function][title]))
    first = first_difference(findings)
    assert first.stage == (LOOSE if title.startswith("I-") else function), first.detail
    assert [mistake.name for mistake in first.mistakes] == [f"{title} ({function})"]
    later = [finding for finding in findings if finding.status in DIFFERENT and finding is not first]
    assert all(finding.follows == (function,) and not finding.mistakes for finding in later)
    assert {finding.status for finding in findings if finding.stage.split()[0] != function} == {"same"}


@pytest.mark.parametrize("stage", METRICS.stages, ids=lambda stage: stage.name)
def test_mistakes_differ_from_the_right_and_from_each_other(stage):
    expected = stage.expected()
    predicted = {mistake.name: mistake.predict() for mistake in stage.mistakes if mistake.predict}
    assert predicted
    for outputs in predicted.values():
        assert outputs.keys() == expected.keys()
        assert max(distance(np.asarray(outputs[key]), expected[key]) for key in expected) > 10 * TOLERANCE
    for one, other in combinations(predicted, 2):
        apart = max(distance(np.asarray(predicted[one][key]), predicted[other][key]) for key in expected)
        assert apart > 10 * TOLERANCE, (one, other)


@pytest.mark.parametrize("seed", range(8))
def test_right_files_of_any_style_pass(seed):
    """Ten random files a seed, so 640 functions in all."""
    variants = RandomMetrics(seed)
    for _ in range(10):
        text = variants.source()
        findings = check(text)
        assert {finding.status for finding in findings} == {"same"}, (first_difference(findings), text)


UNKNOWN = {
    "accuracy": [("return", "return 0.9 *")],
    "pearson": [("return r", "return abs(r) ** 0.5")],
    "spearman": [("mean()", "sum()")],
    "f1": [("return 2", "return 3")],
    "macro_f1": [("np.mean", "np.median")],
    "entity_f1": [("return 2", "return 1.5")],
    "overall_2024": [(") / 3", ") / 4")],
    "mean_raw": [(") / 3", ") / 2")],
}


@pytest.mark.parametrize("function", UNKNOWN)
def test_other_mistakes_are_not_guessed_at(function):
    findings = check(source(function, UNKNOWN[function]))
    first = first_difference(findings)
    assert (first.stage, first.status, first.mistakes) == (function, "different", ())
    assert {finding.status for finding in findings if finding.stage.split()[0] != function} == {"same"}


def test_what_is_not_there_is_skipped_and_what_raises_fails():
    findings = {finding.stage: finding for finding in check("def f1(predictions):\n    return 1")}
    assert findings.pop("f1").status == "failed"
    assert {finding.status for finding in findings.values()} == {"skipped"}


@pytest.mark.parametrize(
    "returned, said",
    [
        ("None", "f1 returned None; it has to be one number"),
        ("'0.5'", "f1 returned a str; it has to be one number"),
        ("{'f1': 0.5}", "f1 returned a dict; it has to be one number"),
        ("scipy.stats.spearmanr(predictions, labels)", "the shape is (2,); it has to be ()"),
    ],
)
def test_what_is_no_number_is_said(returned, said):
    text = f"import scipy.stats\n\n\ndef f1(predictions, labels):\n    return {returned}\n"
    assert first_difference(check(text)).detail == said


def test_inputs_are_the_callers_own():
    changing = source(
        "entity_f1",
        [("    tp = fp = fn = 0\n", "    tp = fp = fn = 0\n    predicted[0].clear()\n    tags[0].clear()\n")],
    )
    once, again = check(changing), check(changing)
    assert once == again and first_difference(once).stage == "entity_f1"
    assert {finding.status for finding in check(source())} == {"same"}


def test_our_own_are_right():
    findings = check_candidate(METRICS, METRICS.own())
    assert {finding.status for finding in findings if finding.stage != "macro_f1"} == {"same"}


def test_the_template_is_right():
    assert {finding.status for finding in check(source())} == {"same"}
