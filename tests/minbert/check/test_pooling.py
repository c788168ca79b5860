"""The part "pooling": right functions pass in any style, every mistake is named, unknown ones are not.

Run: python -m pytest tests/minbert/check/test_pooling.py
"""

import pytest

from minbert.check.judge import check_candidate, first_difference
from minbert.check.components.pooling import POOLING
from tests.minbert.check.judging import (
    assert_named,
    assert_not_diagnosed,
    assert_right,
    assert_sharp,
    assert_well_described,
    changed,
    judged,
    known_names,
    names,
    random_variants,
)
from tests.minbert.check.pooling_student import CHOICES, MISTAKES, OTHERWISE, PLAIN, STYLES, UNKNOWN, VARIANT


def test_our_own_pooling_is_right():
    assert_right(POOLING, check_candidate(POOLING, POOLING.own()))


@pytest.mark.parametrize("style", STYLES)
def test_three_styles_are_right(style, tmp_path):
    assert_right(POOLING, judged(POOLING, STYLES[style], tmp_path))


def test_random_right_variants_are_right(tmp_path):
    for source in random_variants(VARIANT, CHOICES, 60):
        findings = judged(POOLING, source, tmp_path)
        wrong = first_difference(findings)
        assert wrong is None, f"{wrong}\n{source}"
        assert_right(POOLING, findings)


def test_every_mistake_of_the_catalogue_is_tested():
    assert set(MISTAKES) == known_names(POOLING) and len(MISTAKES) >= 40


@pytest.mark.parametrize(("name", "changes"), [*MISTAKES.items(), *OTHERWISE.items()])
def test_mistakes_are_named(name, changes, tmp_path):
    source = changed(PLAIN, *changes)
    assert names(assert_named(POOLING, source, name, tmp_path)) == {name}
    differing = [finding.stage for finding in judged(POOLING, source, tmp_path) if finding.status != "same"]
    assert len(differing) == 1  # each function is judged by itself


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_unknown_mistakes_are_not_diagnosed(unknown, tmp_path):
    changes, stage = UNKNOWN[unknown]
    assert_not_diagnosed(POOLING, changed(PLAIN, *changes), stage, tmp_path)


def test_the_catalogue_is_sharp():
    assert_sharp(POOLING)
    assert_well_described(POOLING)


def test_functions_that_are_not_there_are_skipped(tmp_path):
    findings = judged(POOLING, changed(PLAIN, ("def max_pooling", "def maximum")), tmp_path)
    assert [finding.status for finding in findings] == ["same", "same", "skipped", "same", "same"]
    assert "no function max_pooling" in findings[2].detail


def test_a_changed_input_is_said(tmp_path):
    mean = "def mean_pooling(hidden, mask):\n"
    findings = judged(POOLING, changed(PLAIN, (mean, mean + "    hidden[mask == 0] = 0\n")), tmp_path)
    assert findings[1].status == "failed" and "mean_pooling changes its input hidden" in findings[1].detail


def test_what_is_no_tensor_fails_with_the_reason(tmp_path):
    first, *others = judged(POOLING, changed(PLAIN, ("return hidden[:, 0]", "return [0.0]")), tmp_path)
    assert first.status == "failed" and "cls_pooling returned a list" in first.detail
    assert {finding.status for finding in others} == {"same"}
