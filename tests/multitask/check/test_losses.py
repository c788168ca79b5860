"""The part "losses": every mistake as a student's file is named, right files of any style pass.

Run: pytest tests/multitask/check/test_losses.py
"""

from itertools import combinations
from types import ModuleType

import numpy as np
import pytest

from minbert.check.judge import DIFFERENT, check_candidate, distance, first_difference, judge
from minbert.check.stage import TOLERANCE, Outcome
from multitask.check.loss_formulas import FORMULAS
from multitask.check.losses import LOSSES
from tests.multitask.check.loss_styles import EINSUM, LOOPS, MODULES
from tests.multitask.check.loss_variants import RandomLosses
from tests.multitask.check.student_losses import MISTAKES, source

EACH = [(function, title) for function, titles in MISTAKES.items() for title in titles]


def load(text: str) -> ModuleType:
    """A module of this text."""
    module = ModuleType("losses")
    exec(compile(text, "losses.py", "exec"), vars(module))
    return module


def check(text: str):
    return check_candidate(LOSSES, LOSSES.load(load(text)))


def stage_of(function: str, title: str) -> str:
    """The first stage that a mistake shows in."""
    if "gradient" in title:
        return f"{function} gradient"
    return f"{function} of large logits" if "probability " in title and "instead" not in title else function


def test_the_catalogue_is_written_out():
    names = [mistake.name for stage in LOSSES.stages for mistake in stage.mistakes]
    assert len(names) == len(set(names)) > 150
    assert sorted(names) == sorted(f"{title} ({function})" for function, title in EACH)
    for stage in LOSSES.stages:
        for mistake in stage.mistakes:
            assert mistake.cause.endswith(".") and mistake.remedy.endswith(".")


@pytest.mark.parametrize("function, title", EACH, ids=[f"{f}-{t}" for f, t in EACH])
def test_mistakes_are_named(function, title):
    findings = check(source(function, MISTAKES[function][title]))
    first = first_difference(findings)
    assert first.stage == stage_of(function, title), first.detail
    assert [mistake.name for mistake in first.mistakes] == [f"{title} ({function})"]
    later = [finding for finding in findings if finding.status in DIFFERENT and finding is not first]
    assert all(finding.follows == (function,) and not finding.mistakes for finding in later)
    assert {finding.status for finding in findings if finding.stage.split()[0] != function} == {"same"}


@pytest.mark.parametrize("stage", LOSSES.stages, ids=lambda stage: stage.name)
def test_mistakes_differ_from_the_right_and_from_each_other(stage):
    expected = stage.expected()
    with np.errstate(all="ignore"):
        predicted = {mistake.name: mistake.predict() for mistake in stage.mistakes if mistake.predict}
    assert predicted or "large" in stage.name
    for outputs in predicted.values():
        assert outputs.keys() == expected.keys()
        assert max(distance(outputs[key], expected[key]) for key in expected) > 10 * TOLERANCE
    for one, other in combinations(predicted, 2):
        apart = max(distance(predicted[one][key], predicted[other][key]) for key in expected)
        assert apart > 10 * TOLERANCE, (one, other)


@pytest.mark.parametrize("text", [LOOPS, EINSUM, MODULES], ids=["loops", "einsum", "modules"])
def test_three_styles_pass(text):
    assert {finding.status for finding in check(text)} == {"same"}


UNKNOWN = {
    "cross_entropy": [("return", "return 1.05 *")],
    "binary_cross_entropy": [("with_logits(logits,", "with_logits(logits + 0.1,")],
    "focal": [("** gamma", "** (gamma + 1)")],
    "mean_squared_error": [("labels)\n", "labels) ** 2\n")],
    "cosine_similarity_loss": [("** 2", "** 4")],
    "simcse": [("/ temperature", "/ temperature ** 0.5")],
    "mnrl": [("* scale", "* (scale + 1)")],
    "mnrl_with_negatives": [("[positives, negatives]", "[positives, negatives, negatives]")],
    "cosent": [("torch.zeros(1)", "torch.ones(1)")],
    "symmetric_kl": [("/ 2", "/ 3")],
}


@pytest.mark.parametrize("function", FORMULAS)
def test_other_mistakes_are_not_guessed_at(function):
    findings = check(source(function, UNKNOWN[function]))
    first = first_difference(findings)
    assert (first.stage, first.status, first.mistakes) == (function, "different", ())
    assert first.given != first.expected and first.difference > TOLERANCE
    assert {finding.status for finding in findings if finding.stage.split()[0] != function} == {"same"}


def test_other_wrong_gradients_are_not_guessed_at():
    findings = check(
        source(
            "cosent",
            [
                (
                    "    excess",
                    "    cosines = cosines.detach() + 0.5 * cosines - 0.5 * cosines.detach()\n    excess",
                )
            ],
        )
    )
    first = first_difference(findings)
    assert (first.stage, first.status, first.mistakes) == ("cosent gradient", "different", ())


def test_what_is_not_there_is_skipped_and_what_raises_fails():
    text = "def focal(logits, labels, gamma):\n    raise ZeroDivisionError('of course')\nmnrl = 3\n"
    findings = {finding.stage: finding for finding in check(text)}
    for name in ("focal", "focal gradient"):
        assert findings.pop(name).status == "failed"
    assert {finding.status for finding in findings.values()} == {"skipped"}
    assert findings["mnrl"].detail == "there is no function mnrl"
    assert first_difference(check(text)).detail.endswith("ZeroDivisionError: of course")


def test_losses_of_large_logits_may_be_anything():
    """What an implementation gives there is judged, whatever its shape."""
    stage = LOSSES.stage("cross_entropy of large logits")
    for given, names in (
        (np.array([np.inf, 1.0, np.nan]), 0),
        (np.array(np.nan), 1),
        (np.array(-np.inf), 1),
        (np.array(179.0), 0),
    ):
        finding = judge(LOSSES, stage, Outcome({"loss": given}))
        assert (finding.status, len(finding.mistakes)) == ("different", names)


def test_a_return_that_was_forgotten_is_said():
    findings = check("def cosent(cosines, labels, scale):\n    cosines * scale\n")
    assert first_difference(findings).detail == "cosent returned None; it has to be one number"


def test_inputs_are_the_callers_own():
    """A function may change its inputs: the next call has fresh ones."""
    changing = source("simcse", [("    a, b", "    first *= 1.5\n    second[0] *= 2\n    a, b")])
    assert {finding.status for finding in check(changing)} == {"same"}


@pytest.mark.parametrize("seed", range(12))
def test_right_files_of_any_style_pass(seed):
    """Ten random files a seed, so 1200 functions in all."""
    variants = RandomLosses(seed)
    for _ in range(10):
        text = variants.source()
        findings = check(text)
        assert {finding.status for finding in findings} == {"same"}, (first_difference(findings), text)


def test_our_own_are_right():
    assert {finding.status for finding in check_candidate(LOSSES, LOSSES.own())} == {"same"}


def test_the_template_is_right():
    assert {finding.status for finding in check(source())} == {"same"}
