"""The part "optimizer": right optimizers pass in any style, every mistake is named, unknown ones are not.

Run: python -m pytest tests/minbert/check/test_optimizer.py
"""

import numpy as np
import pytest
import torch

from minbert.check.judge import check_candidate, first_difference
from minbert.check.mistakes.optimizer import Scenario, Steps
from minbert.check.mistakes.optimizer_calls import ClosureSteps
from minbert.check.components.optimizer import OPTIMIZER, closure_expected
from tests.minbert.check.judging import (
    assert_named,
    assert_not_diagnosed,
    assert_right,
    assert_sharp,
    assert_well_described,
    changed,
    judged,
    known_names,
    module_of,
    names,
    random_variants,
)
from tests.minbert.check.optimizer_student import (
    CHOICES,
    FOREACH,
    FOREACH_MISTAKES,
    IN_PLACE,
    IN_PLACE_MISTAKES,
    MISTAKES,
    PLAIN,
    STYLES,
    UNKNOWN,
    VARIANT,
)

# At the first step these are the same by arithmetic: m is in proportion to g, whose size the update forgets.
ONE_FACTOR = {
    "gradient in the first moment without 1 - beta1",
    "second moment from the scaled gradient",
    "second moment from the first moment",
    "gradient in place of the first moment",
}
ROOTS_OF_BETA2 = {
    "bias correction of the second moment without the root",
    "gradient in the second moment without 1 - beta2",
}
# And these at every step, save where epsilon counts.
ALWAYS = {"gradient in the first moment without 1 - beta1", "second moment from the scaled gradient"}


def test_our_own_optimizer_is_right():
    assert_right(OPTIMIZER, check_candidate(OPTIMIZER, OPTIMIZER.own()))


@pytest.mark.parametrize("style", STYLES)
def test_three_styles_are_right(style, tmp_path):
    assert_right(OPTIMIZER, judged(OPTIMIZER, STYLES[style], tmp_path))


def test_random_right_variants_are_right(tmp_path):
    for source in random_variants(VARIANT, CHOICES, 200):
        findings = judged(OPTIMIZER, source, tmp_path)
        wrong = first_difference(findings)
        assert wrong is None, f"{wrong}\n{source}"
        assert_right(OPTIMIZER, findings)


def test_every_mistake_of_the_catalogue_is_tested():
    assert set(MISTAKES) == known_names(OPTIMIZER) and len(MISTAKES) >= 70
    assert {*IN_PLACE_MISTAKES, *FOREACH_MISTAKES} <= set(MISTAKES)


@pytest.mark.parametrize(
    ("style", "name", "changes"),
    [
        *(pytest.param(PLAIN, name, changes, id=f"plain-{name}") for name, changes in MISTAKES.items()),
        *(pytest.param(IN_PLACE, n, changes, id=f"in-place-{n}") for n, changes in IN_PLACE_MISTAKES.items()),
        *(pytest.param(FOREACH, n, changes, id=f"foreach-{n}") for n, changes in FOREACH_MISTAKES.items()),
    ],
)
def test_mistakes_are_named(style, name, changes, tmp_path):
    first = assert_named(OPTIMIZER, changed(style, *changes), name, tmp_path)
    assert names(first) == (ALWAYS if name in ALWAYS else {name})


def test_what_the_first_step_cannot_tell_apart_the_later_steps_do(tmp_path):
    candidate = OPTIMIZER.load(
        module_of(changed(PLAIN, *MISTAKES["second moment from the first moment"]), tmp_path)
    )
    [alone] = check_candidate(OPTIMIZER, candidate, [OPTIMIZER.stage("first step")])
    assert names(alone) == ONE_FACTOR
    both = check_candidate(OPTIMIZER, candidate, OPTIMIZER.stages[:2])
    assert [names(finding) for finding in both] == [{"second moment from the first moment"}] * 2


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_unknown_mistakes_are_not_diagnosed(unknown, tmp_path):
    changes, stage = UNKNOWN[unknown]
    assert_not_diagnosed(OPTIMIZER, changed(PLAIN, *changes), stage, tmp_path)


def test_two_mistakes_are_both_named(tmp_path):
    """Each stage feeds on references, so a mistake does not hide one that shows elsewhere."""
    both = [*MISTAKES["no weight decay"], *MISTAKES["epsilon inside the root"]]
    findings = judged(OPTIMIZER, changed(PLAIN, *both), tmp_path)
    found = {finding.stage: names(finding) for finding in findings if finding.mistakes}
    assert found == {
        "first step with decay": {"no weight decay"},
        "tiny gradients": {"epsilon inside the root"},
    }


def test_torchs_optimizer_differs_where_it_is_documented_to(tmp_path):
    """Decay before the update, and epsilon on the corrected root; it has no correct_bias."""

    class Torchs(torch.optim.AdamW):
        def __init__(self, params, correct_bias=True, **settings):
            super().__init__(params, **settings)

    findings = check_candidate(OPTIMIZER, Torchs)
    found = {finding.stage: names(finding) for finding in findings if finding.status != "same"}
    assert found.pop("no bias correction") == {"bias corrected although correct_bias is False"}
    assert found.pop("first step with decay") == {"decay of the parameters before the update"}
    assert found.pop("tiny gradients") == {"epsilon on the corrected root"}
    assert all(not found[stage] for stage in found)  # what follows from them


@pytest.mark.parametrize("stage", [stage.name for stage in OPTIMIZER.stages[:-2]])
def test_the_catalogues_right_formulas_are_the_references(stage):
    scenario = Scenario.named(stage)
    outputs = Steps(scenario).outputs()
    assert outputs.keys() == scenario.expected.keys()
    for name, value in outputs.items():
        np.testing.assert_allclose(value, scenario.expected[name], rtol=1e-12, atol=1e-12)


def test_the_catalogues_right_closure_is_the_references():
    outputs, expected = ClosureSteps(Scenario.named("closure")).outputs(), closure_expected()
    assert outputs.keys() == expected.keys()
    for name, value in outputs.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-12, atol=1e-12)


def test_the_catalogue_is_sharp():
    first = {
        frozenset((a, b)) for group in (ONE_FACTOR, ROOTS_OF_BETA2) for a in group for b in group if a != b
    }
    stages = {stage.name: stage for stage in OPTIMIZER.stages}
    for name, alike in (("first step", first), ("several steps", {frozenset(ALWAYS)})):
        assert_sharp(_only(stages.pop(name)), alike)
    assert_sharp(_only(*stages.values()))
    assert_well_described(OPTIMIZER)


def _only(*stages):
    return type(OPTIMIZER)("optimizer", "optimizer.py", stages, OPTIMIZER.load, OPTIMIZER.own)


def test_a_count_from_zero_that_raises_is_explained(tmp_path):
    source = changed(PLAIN, ('                state["t"] += 1\n', ""))
    first = first_difference(judged(OPTIMIZER, source, tmp_path))
    assert first.status == "failed" and not first.mistakes
    assert "ZeroDivisionError" in first.detail and "at a parameter's first step t is 1" in first.detail


def test_a_file_without_the_class_is_skipped(tmp_path):
    findings = judged(OPTIMIZER, "x = 1\n", tmp_path)
    assert {finding.status for finding in findings} == {"skipped"}
    assert all("no class AdamW" in finding.detail for finding in findings)


def test_the_courses_own_wrong_optimizers_are_told_apart(tmp_path):
    """The four that the course's test lets through."""
    passed = (
        "decay of the parameters before the update",
        "epsilon on the corrected root",
        "epsilon fixed at 1e-8",
    )
    for name in passed:
        assert_named(OPTIMIZER, changed(PLAIN, *MISTAKES[name]), name, tmp_path)
    old = changed(
        PLAIN,
        ("grad = p.grad.data", "grad = p.grad.data\n                old = p.data.clone()"),
        ("p.data = p.data - alpha * decay * p.data", "p.data = p.data - alpha * decay * old"),
    )
    assert_named(OPTIMIZER, old, "decay of the parameters before the update", tmp_path)


def test_stages_do_not_depend_on_each_other(tmp_path):
    """Each alone gives what it gives among the others: none leaves anything behind."""
    candidate = OPTIMIZER.load(module_of(PLAIN, tmp_path))
    for stage in reversed(OPTIMIZER.stages):
        [finding] = check_candidate(OPTIMIZER, candidate, [stage])
        assert finding.status == "same"
