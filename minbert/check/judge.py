"""Outputs against references: what differs first, by how much, and which known mistake gives that."""

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from minbert.check.stage import (
    Finding,
    InvalidOutput,
    MissingImplementation,
    Mistake,
    Outcome,
    Outputs,
    Part,
    Stage,
)

DIFFERENT = ("different", "failed")


def check_candidate(part: Part, candidate: Any, stages: Iterable[Stage] | None = None) -> list[Finding]:
    """The findings of a part's stages for an implementation in this process."""
    chosen = part.stages if stages is None else tuple(stages)
    return judge_all(part, {stage.name: run_stage(stage, candidate) for stage in chosen})


def run_stage(stage: Stage, candidate: Any) -> Outcome:
    """Runs one stage; what it raises becomes an outcome."""
    try:
        outputs = stage.run(candidate)
        return Outcome({name: np.asarray(value, dtype=np.float64) for name, value in outputs.items()})
    except MissingImplementation as reason:
        return Outcome(problem="missing", detail=str(reason))
    except InvalidOutput as reason:
        return Outcome(problem="raised", detail=str(reason))
    except Exception as error:
        return Outcome(problem="raised", detail=describe(error))


def describe(error: BaseException) -> str:
    """The error with the last places it came through."""
    return "".join(traceback.format_exception(error)[-4:]).strip()


def judge_all(part: Part, outcomes: Mapping[str, Outcome]) -> list[Finding]:
    """The findings of the stages that have an outcome, in the part's order."""
    findings, differing = [], set()
    for stage in part.stages:
        if stage.name not in outcomes:
            continue
        follows = tuple(name for name in stage.builds_on if name in differing)
        finding = judge(part, stage, outcomes[stage.name], follows)
        if finding.status in DIFFERENT:
            differing.add(stage.name)
        findings.append(finding)
    return [_narrowed(finding, findings) for finding in findings]


def _narrowed(finding: Finding, findings: Iterable[Finding]) -> Finding:
    """Of several mistakes that a stage cannot tell apart, those that another stage has recognised too."""
    kept = finding.mistakes
    for other in findings:
        names = {mistake.name for mistake in other.mistakes}
        kept = tuple(mistake for mistake in kept if mistake.name in names) or kept
    return replace(finding, mistakes=kept)


def judge(part: Part, stage: Stage, outcome: Outcome, follows: tuple[str, ...] = ()) -> Finding:
    """Judges a stage's outcome. `follows`: stages it builds on that differ already."""
    common = {"part": part.name, "stage": stage.name, "points": stage.points, "tolerance": stage.tolerance}
    common |= {"printed": outcome.printed, "follows": follows}
    if outcome.outputs is None:
        status = "skipped" if outcome.problem == "missing" else "failed"
        return Finding(status=status, detail=outcome.detail, **common)
    expected = stage.expected()
    worst = max((distance(outcome.outputs.get(name), right) for name, right in expected.items()))
    if worst <= stage.tolerance:
        return Finding(status="same", difference=worst, **common)
    output = next(
        name
        for name, right in expected.items()
        if distance(outcome.outputs.get(name), right) > stage.tolerance
    )
    return Finding(
        status="different",
        difference=worst,
        output=output,
        mistakes=() if follows else recognise(stage, outcome.outputs, expected),
        **_place(outcome.outputs.get(output), expected[output]),
        **common,
    )


def recognise(stage: Stage, given: Outputs, expected: Outputs) -> tuple[Mistake, ...]:
    """The stage's known mistakes that give just these outputs."""
    return tuple(mistake for mistake in stage.mistakes if _fits(mistake, stage, given, expected))


def _fits(mistake: Mistake, stage: Stage, given: Outputs, expected: Outputs) -> bool:
    if mistake.recognise is not None:
        comparable = all(name in given and given[name].shape == expected[name].shape for name in expected)
        return comparable and mistake.recognise(given, expected)
    tolerance = mistake.tolerance or stage.tolerance
    return all(distance(given.get(name), value) <= tolerance for name, value in mistake.predict().items())


def distance(given: np.ndarray | None, expected: np.ndarray) -> float:
    """The largest |given - expected| / (1 + |expected|); infinite for another shape, and where one is NaN.

    The same infinity, and NaN in both, count as equal.
    """
    if given is None or given.shape != expected.shape:
        return np.inf
    if not given.size:
        return 0.0
    return float(_differences(given, expected).max())


def _differences(given: np.ndarray, expected: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        differences = np.abs(given - expected) / (1 + np.abs(expected))
    equal = (given == expected) | (np.isnan(given) & np.isnan(expected))
    return np.where(equal, 0.0, np.where(np.isnan(differences), np.inf, differences))


def _place(given: np.ndarray | None, expected: np.ndarray) -> dict[str, Any]:
    if given is None:
        return {"detail": "this output was not given"}
    if given.shape != expected.shape:
        return {"detail": f"the shape is {given.shape}; it has to be {expected.shape}"}
    index = np.unravel_index(np.argmax(_differences(given, expected)), given.shape)
    return {
        "where": tuple(int(i) for i in index),
        "given": float(given[index]),
        "expected": float(expected[index]),
    }


def first_difference(findings: Iterable[Finding]) -> Finding | None:
    """The first stage, in the order of the computation, that differs or failed."""
    return next((finding for finding in findings if finding.status in DIFFERENT), None)
