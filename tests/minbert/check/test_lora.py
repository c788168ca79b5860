"""The part "lora": right layers pass in any style, every mistake is named, unknown ones are not.

Run: python -m pytest tests/minbert/check/test_lora.py
"""

import numpy as np
import pytest

from minbert.check.fixtures import model_fixture
from minbert.check.judge import check_candidate, first_difference
from minbert.check.components.lora import LORA
from minbert.check.mistakes.lora import Adapted
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
from tests.minbert.check.lora_student import CHOICES, MISTAKES, PLAIN, STYLES, UNKNOWN, VARIANT


def test_our_own_adapters_are_right():
    assert_right(LORA, check_candidate(LORA, LORA.own()))


@pytest.mark.parametrize("style", STYLES)
def test_three_styles_are_right(style, tmp_path):
    assert_right(LORA, judged(LORA, STYLES[style], tmp_path))


def test_random_right_variants_are_right(tmp_path):
    for source in random_variants(VARIANT, CHOICES, 60):
        findings = judged(LORA, source, tmp_path)
        wrong = first_difference(findings)
        assert wrong is None, f"{wrong}\n{source}"
        assert_right(LORA, findings)


def test_every_mistake_of_the_catalogue_is_tested():
    assert set(MISTAKES) == known_names(LORA) and len(MISTAKES) >= 38


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name, tmp_path):
    source = changed(PLAIN, *MISTAKES[name])
    assert names(assert_named(LORA, source, name, tmp_path)) == {name}
    findings = judged(LORA, source, tmp_path)
    assert {found for finding in findings for found in names(finding)} == {name}


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_unknown_mistakes_are_not_diagnosed(unknown, tmp_path):
    changes, stage = UNKNOWN[unknown]
    assert_not_diagnosed(LORA, changed(PLAIN, *changes), stage, tmp_path)


def test_the_catalogues_right_formulas_are_the_references():
    for layer in ("square", "wide"):
        for name, value in Adapted(layer).outputs().items():
            expected = model_fixture("lora")[0].get(f"{layer}/expected/{name}")
            if expected is not None:
                np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12, err_msg=name)


def test_the_catalogue_is_sharp():
    assert_sharp(LORA)
    assert_well_described(LORA)


def test_mistakes_of_several_stages_are_each_named(tmp_path):
    both = [*MISTAKES["lora_B not zero at first"], *MISTAKES["merged transposed"]]
    findings = judged(LORA, changed(PLAIN, *both), tmp_path)
    found = {finding.stage: names(finding) for finding in findings if finding.status != "same"}
    assert found == {"new layer": {"lora_B not zero at first"}, "merged layer": {"merged transposed"}}


def test_shapes_that_fit_a_square_layer_only_fail_with_the_reason(tmp_path):
    source = changed(
        PLAIN, ("torch.zeros(linear.out_features, rank)", "torch.zeros(linear.in_features, rank)")
    )
    findings = {finding.stage: finding for finding in judged(LORA, source, tmp_path)}
    assert findings["new layer"].status == "different" and not findings["new layer"].mistakes
    assert findings["output"].status == "same"
    other = findings["output of another size"]
    assert other.status == "failed" and "lora_B has the shape (6, 3); it has to be (4, 3)" in other.detail


def test_what_is_not_there_is_skipped(tmp_path):
    findings = judged(LORA, "x = 1\n", tmp_path)
    assert {finding.status for finding in findings} == {"skipped"}
    without = judged(LORA, changed(PLAIN, ("def merge", "def fold")), tmp_path)
    assert [finding.status for finding in without] == ["same"] * 5 + ["skipped"]
    assert "no method merge" in without[-1].detail


def test_a_merge_that_returns_nothing_fails_with_the_reason(tmp_path):
    [*_, last] = judged(LORA, changed(PLAIN, ("return merged", "return None")), tmp_path)
    assert last.status == "failed" and "merge() returned a NoneType" in last.detail
