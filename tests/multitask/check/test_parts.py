"""The parts "losses" and "metrics": mistakes are named, right files of any style pass.

Run: pytest tests/multitask/check/test_parts.py
"""

import itertools
import math
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from minbert.check.judge import DIFFERENT, check_candidate, distance, first_difference, judge
from minbert.check.stage import Outcome
from multitask.check.losses import LOSSES
from multitask.check.metrics import METRICS
from tests.multitask.check import right_files, wrong_losses, wrong_metrics
from tests.test_submissions import SUBMISSIONS

PARTS = {"losses": LOSSES, "metrics": METRICS}
STAGES = [(part, stage) for part in PARTS.values() for stage in part.stages]
TABLES = {"losses": wrong_losses, "metrics": wrong_metrics}
WRONG = [
    (part, function, title)
    for part, table in TABLES.items()
    for function, titles in table.WRONG.items()
    for title in titles
]
UNKNOWN = [(part, stage) for part, table in TABLES.items() for stage in table.UNKNOWN]
RULES = {"losses": right_files.LOSSES, "metrics": right_files.METRICS}


def check(part, **functions):
    return check_candidate(PARTS[part], PARTS[part].load(SimpleNamespace(**functions)))


def stage_of(function, title):
    """Returns the first stage that a mistake shows in."""
    if title.startswith("I-"):
        return "entity_f1 of I- without B-"
    if title in (wrong_losses.OVERFLOW, "probability kept away from 0"):
        return f"{function} of large logits"
    return f"{function} gradient" if "gradient" in title else function


@pytest.mark.parametrize("part, function, title", WRONG)
def test_mistakes_are_named(part, function, title):
    findings = check(part, **{function: TABLES[part].WRONG[function][title]})
    first = first_difference(findings)
    assert first.stage == stage_of(function, title), first.detail
    assert [mistake.name for mistake in first.mistakes] == [f"{title} ({function})"]
    later = [finding for finding in findings if finding.status in DIFFERENT and finding is not first]
    assert all(finding.follows == (function,) and not finding.mistakes for finding in later)


def test_each_row_of_the_catalogue_is_written_once():
    for part in PARTS:
        names = [mistake.name for stage in PARTS[part].stages for mistake in stage.mistakes]
        assert len(names) == len(set(names)) == {"losses": 187, "metrics": 78}[part]
        written = {f"{title} ({function})" for of, function, title in WRONG if of == part}
        written |= {each.names for each in SUBMISSIONS if each.file == part}
        titles = {name.split(" (")[0] for name in written}
        assert written <= set(names)
        for name in set(names) - written:  # the same row at another function
            assert name.split(" (")[0] in titles or "cut off from the gradient" in name, name


@pytest.mark.parametrize("part, stage", STAGES, ids=[stage.name for _, stage in STAGES])
def test_rows_are_recognised_and_unlike_each_other(part, stage):
    expected = stage.expected()
    predicted = {mistake.name: mistake.predict() for mistake in stage.mistakes if mistake.predict}
    assert predicted or "large" in stage.name
    for name, outputs in predicted.items():
        assert outputs.keys() == expected.keys()
        assert [mistake.name for mistake in judge(part, stage, Outcome(outputs)).mistakes] == [name]
    for one, other in itertools.combinations([expected, *predicted.values()], 2):
        assert max(distance(one[key], other[key]) for key in expected) > 10 * stage.tolerance
    for mistake in stage.mistakes:
        assert mistake.cause.endswith(".") and mistake.remedy.endswith(".")


@pytest.mark.parametrize("part, stage", UNKNOWN)
def test_other_mistakes_are_not_guessed_at(part, stage):
    first = first_difference(check(part, **{stage.split()[0]: TABLES[part].UNKNOWN[stage]}))
    assert (first.stage, first.status, first.mistakes) == (stage, "different", ())
    assert first.given != first.expected and first.difference > first.tolerance


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("part", PARTS)
def test_right_files_of_any_style_pass(part, seed):
    random = Random(seed)
    for _ in range(6):
        text, functions = right_files.random_file(RULES[part], random), {}
        exec(text, functions)
        findings = check(part, **functions)
        assert {finding.status for finding in findings} == {"same"}, (first_difference(findings), text)


@pytest.mark.parametrize("part", PARTS)
def test_our_own_are_right(part):
    findings = check_candidate(PARTS[part], PARTS[part].own())
    assert {finding.status for finding in findings if finding.stage != "macro_f1"} == {"same"}


@pytest.mark.parametrize("part, function", [("losses", "focal"), ("metrics", "f1")])
def test_what_is_missing_is_skipped_and_what_raises_fails(part, function):
    findings = check(part, **{function: lambda *_: 1 / 0, "mnrl": 3})
    failed = [finding for finding in findings if finding.stage in (function, f"{function} gradient")]
    assert all(finding.detail.endswith("ZeroDivisionError: division by zero") for finding in failed)
    assert {finding.status for finding in failed} == {"failed"}
    assert {finding.status for finding in findings if finding not in failed} == {"skipped"}
    assert {finding.detail for finding in findings if finding.stage == "mnrl"} <= {
        "there is no function mnrl"
    }


@pytest.mark.parametrize(
    "returned, said",
    [
        (None, "f1 returned None; it has to be one number"),
        ("0.5", "f1 returned a str; it has to be one number"),
        ({"f1": 0.5}, "f1 returned a dict; it has to be one number"),
        ((0.5, 0.1), "the shape is (2,); it has to be ()"),
    ],
)
def test_what_is_not_one_number_is_said(returned, said):
    assert first_difference(check("metrics", f1=lambda predictions, labels: returned)).detail == said


@pytest.mark.parametrize(
    "given, names", [([math.inf, 1.0, math.nan], 0), (math.nan, 1), (-math.inf, 1), (179.0, 0)]
)
def test_losses_of_large_logits_may_be_anything(given, names):
    stage = LOSSES.stage("cross_entropy of large logits")
    finding = judge(LOSSES, stage, Outcome({"loss": np.array(given)}))
    assert (finding.status, len(finding.mistakes)) == ("different", names)


def test_inputs_are_the_callers_own():
    """Changes that a function makes to its inputs are not seen by the next call."""

    def simcse(first, second, temperature):
        first *= 1.5  # of which the cosines know nothing
        second[0] *= 2
        return wrong_losses.choose(wrong_losses.cos(first, second) / temperature)

    def entity_f1(predicted, tags):
        score = wrong_metrics.entity_f1()(predicted, tags)
        predicted[0].clear()
        return torch.tensor(score, dtype=torch.float64)

    for _ in range(2):
        findings = check("losses", simcse=simcse) + check("metrics", entity_f1=entity_f1)
        assert [finding.status for finding in findings if finding.status != "skipped"] == ["same"] * 4
