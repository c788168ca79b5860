"""Outputs against references: what differs first, by how much, and which known mistake gives that."""

import traceback
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace
from itertools import combinations, islice, product, takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minbert.check.stage import (
    AbsentFunction,
    ChangedInput,
    Finding,
    InvalidOutput,
    MissingImplementation,
    Mistake,
    Outcome,
    Outputs,
    Part,
    Stage,
)

InPlace = dict[str, tuple[str, ...]]  # a stage -> the functions to replace by right ones
ROUNDS = 3  # of running stages again
# Exceptions of a candidate, the most special kind first -> the problem of an outcome.
PROBLEMS = {
    AbsentFunction: "absent",
    MissingImplementation: "missing",
    ChangedInput: "changed",
    InvalidOutput: "raised",
}
NAMES = 12  # of a user's file that a message lists
DIFFERENT = ("different", "failed")
LIBRARIES = {"site-packages", "dist-packages"}  # of a virtual environment, which a user's folder may hold
MOST_PAIRS = 2  # of mistakes that cannot be told apart
MOST_COMBINATIONS = 32  # of mistakes that stages cannot tell apart
SEE = "see the stage "  # ends the reason why a stage cannot be read
MOST_PLACES = 4  # of a traceback


def check_candidate(part: Part, candidate: Any, stages: Iterable[Stage] | None = None) -> list[Finding]:
    """The findings of a part's stages for an implementation in this process."""
    chosen = part.stages if stages is None else tuple(stages)
    findings = judge_all(part, {stage.name: run_stage(stage, candidate) for stage in chosen})

    def run(in_place: InPlace) -> dict[str, Outcome]:
        return {
            name: run_in_place(part, part.stage(name), candidate, functions)
            for name, functions in in_place.items()
        }

    return excuse_consequences(part, findings, run)


def run_in_place(
    part: Part, stage: Stage, candidate: Any, functions: Iterable[str], folder: Path | None = None
) -> Outcome:
    """Runs one stage with the right functions of these names in place of the candidate's own."""
    with part.in_place(candidate, functions) as other:
        return run_stage(stage, other, folder)


def load_candidate(part: Part, module: ModuleType) -> Any:
    """A candidate from a user's module. Raises AbsentFunction for one with none of the part's names."""
    if part.names and not any(hasattr(module, name) for name in part.names):
        held = vars(module).items()
        own = [name for name, value in held if getattr(value, "__module__", "") == module.__name__]
        written = f"it has {', '.join(own[:NAMES])}" if own else "it has no class or function"
        raise AbsentFunction(
            f"{module.__file__} has none of the names that are looked for: {', '.join(part.names)}; {written}"
        )
    return part.load(module)


def run_stage(stage: Stage, candidate: Any, folder: Path | None = None) -> Outcome:
    """Runs one stage; what it raises becomes an outcome. `folder`: see describe."""
    try:
        outputs = stage.run(candidate)
        return Outcome({name: np.asarray(value, dtype=np.float64) for name, value in outputs.items()})
    except Exception as error:
        return outcome_of(error, folder)


def outcome_of(error: BaseException, folder: Path | None = None) -> Outcome:
    """Returns the outcome of an error: something is absent or not written yet, or a failure."""
    for kind, problem in PROBLEMS.items():
        if isinstance(error, kind):
            return Outcome(problem=problem, detail=str(error))
    if isinstance(error, NotImplementedError):
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        code = frame.f_code
        if code.co_name == "_forward_unimplemented":  # torch's, in a module without one
            return Outcome(problem="missing", detail=str(error))
        if LIBRARIES.isdisjoint(Path(code.co_filename).parts):
            detail = f"{code.co_qualname} is not written yet (NotImplementedError)"
            return Outcome(problem="missing", detail=detail)
    return Outcome(problem="raised", detail=describe(error, folder))


def describe(error: BaseException, folder: Path | None = None) -> str:
    """The error with places that it came through, from the first one in a user's `folder` on."""
    places = traceback.extract_tb(error.__traceback__)
    if folder is not None:
        outside = takewhile(lambda place: not is_below(folder, place.filename), places)
        places = places[len(list(outside)) :]
    if len(places) > MOST_PLACES:
        places = [places[0], *places[1 - MOST_PLACES :]]
    return "".join(traceback.format_list(places) + traceback.format_exception_only(error)).strip()


def is_below(folder: Path, file: str) -> bool:
    """Returns True for what is a user's own there, and was not installed."""
    path = Path(file)
    return path.is_relative_to(folder) and LIBRARIES.isdisjoint(path.parts)


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
    findings = [_narrowed(finding, findings) for finding in findings]
    findings = _without_own_interfaces(part, findings, outcomes)
    return _with_consequences(part, findings, outcomes)


def _without_own_interfaces(
    part: Part, findings: list[Finding], outcomes: Mapping[str, Outcome]
) -> list[Finding]:
    """Skips the stages of a function that differs when called by itself, and is right where it is used."""
    status = {finding.stage: finding.status for finding in findings}
    if not part.whole or {status.get(name) for name in part.whole} != {"same"}:
        return findings
    differs: dict[str, bool] = {}  # by a function's first stage
    for name in status:
        own_form = status[name] in DIFFERENT and outcomes[name].problem != "changed"
        differs.setdefault(part.stage(name).asks, own_form)
    own = [function for function in part.inner if differs.get(function)]
    detail = (
        f"{' and '.join(own)}: not as in the starter; right where they are used ({', '.join(part.whole)})"
    )

    def is_own(finding: Finding) -> bool:
        if finding.status == "failed":  # as does what calls it with the starter's arguments
            return any(part.stage(name).asks in own for name in (finding.stage, *finding.follows))
        return finding.status == "different" and part.stage(finding.stage).asks in own

    skipped = {"status": "skipped", "points": 0, "detail": detail, "mistakes": (), "follows": ()}
    return [replace(finding, **skipped) if is_own(finding) else finding for finding in findings]


def excuse_consequences(
    part: Part, findings: list[Finding], run: Callable[[InPlace], Mapping[str, Outcome]]
) -> list[Finding]:
    """Excuses the stages that are right once right functions stand in place of those that differ before.

    `run(in_place)` runs stages so. The first that stays different differs by itself, and is replaced too in
    the next round.
    """
    own: set[str] = set()
    for _ in range(ROUNDS):
        in_place = _open_stages(part, findings, own)
        if not in_place:
            break
        findings = _excused(part, findings, run(in_place))
        differing = (f for f in findings if f.status in DIFFERENT and not f.excused)
        remaining = [part.stage(finding.stage) for finding in differing if finding.stage in in_place]
        own |= {stage.name for stage in remaining if stage.asks == remaining[0].asks}
    return findings


def _open_stages(part: Part, findings: Iterable[Finding], own: Set[str]) -> InPlace:
    """Where nothing of the user's would be left, since the earlier stage calls the same, none is asked."""
    asked: InPlace = {}
    unseen: InPlace = {}
    roots: dict[str, str] = {}
    for finding in findings:
        stage = part.stage(finding.stage)
        if part.in_place is None or finding.status == "same" or finding.excused or not finding.points:
            continue
        named = finding.status == "different"
        before = [name for name in stage.builds_on if name in roots] if named else roots
        functions = tuple(dict.fromkeys(roots[name] for name in before))
        may_follow = functions and stage.asks not in functions
        if finding.status == "skipped":  # what could not be seen, since something failed
            unseen |= {stage.name: functions} if may_follow else {}
        elif may_follow and stage.name not in own:
            asked[stage.name] = functions
        else:
            roots[stage.name] = stage.asks
    return asked | unseen if asked else {}


def _excused(part: Part, findings: Iterable[Finding], outcomes: Mapping[str, Outcome]) -> list[Finding]:
    """Excuses the stages whose outcomes, with right functions in place of earlier ones, are right."""
    findings, costing = list(findings), list[Finding]()
    for number, finding in enumerate(findings):
        if finding.status == "same" or finding.excused:
            continue
        stage = part.stage(finding.stage)
        if stage.name in outcomes and judge(part, stage, outcomes[stage.name]).status == "same":
            root = next((name for name in finding.follows), costing[0].stage)
            findings[number] = replace(finding, excused=root)
        elif finding.status in DIFFERENT:
            costing.append(finding)
    return findings


def _with_consequences(
    part: Part, findings: Iterable[Finding], outcomes: Mapping[str, Outcome]
) -> list[Finding]:
    """Excuses what the mistakes that were recognised before, and nothing else, make of a stage."""
    known: dict[str, tuple[Mistake, ...]] = {}
    found = []
    for finding in findings:
        if finding.status == "different":
            finding = _as_consequence(
                part.stage(finding.stage), finding, outcomes[finding.stage].outputs, known
            )
            if finding.mistakes and not finding.excused:
                known[finding.stage] = finding.mistakes
        found.append(finding)
    return [_as_unreadable(part, finding, known) for finding in found]


def _as_consequence(
    stage: Stage, finding: Finding, given: Outputs, known: Mapping[str, tuple[Mistake, ...]]
) -> Finding:
    names = {mistake.name for mistake in finding.mistakes}
    for earlier, mistakes in known.items():
        if names & {mistake.name for mistake in mistakes}:
            return replace(finding, excused=earlier)
    roots = {name: known[name] for name in stage.builds_on if name in known}
    expected = stage.expected()
    if stage.exact and not finding.follows and not finding.mistakes:
        return replace(finding, mistakes=_both(stage, given))
    if not roots:
        return finding
    for chosen in islice(product(*roots.values()), MOST_COMBINATIONS):
        if _gives(stage, chosen, given, expected.keys()):
            return replace(finding, excused=next(iter(roots)))
        # All outputs: those that are not compared tell mistakes apart.
        further = tuple(own for own in stage.mistakes if _gives(stage, (*chosen, own), given, given.keys()))
        if further:
            return replace(finding, mistakes=further, follows=())
    return finding


def _both(stage: Stage, given: Outputs) -> tuple[Mistake, ...]:
    """Two mistakes that give a stage's outputs together, as one; nothing where many pairs do."""
    exact = [mistake for mistake in stage.mistakes if mistake.steps and not mistake.tolerance]
    pairs = (
        _joined(*pair)
        for pair in combinations(exact, 2)
        if pair[0].steps.keys().isdisjoint(pair[1].steps) and _gives(stage, pair, given, given.keys())
    )
    found = tuple(islice(pairs, MOST_PAIRS + 1))
    return found if len(found) <= MOST_PAIRS else ()


def _joined(one: Mistake, other: Mistake) -> Mistake:
    return Mistake(
        f"{one.name}, and {other.name}",
        f"{one.cause} {other.cause}",
        f"{one.remedy} {other.remedy}",
        steps={**one.steps, **other.steps},
    )


def _gives(stage: Stage, mistakes: Iterable[Mistake], given: Outputs, names: Set[str]) -> bool:
    """Returns True if these mistakes together give a stage's outputs of these names."""
    replayed = _replayed(stage, mistakes).outputs or {}
    tolerance = max(stage.tolerance, *(mistake.tolerance or 0.0 for mistake in mistakes))
    return all(name in replayed and distance(given.get(name), replayed[name]) <= tolerance for name in names)


def _replayed(stage: Stage, mistakes: Iterable[Mistake]) -> Outcome:
    if stage.replay is None or any(mistake.steps is None for mistake in mistakes):
        return Outcome(problem="missing", detail="nothing replays these mistakes")
    steps = {name: step for mistake in mistakes for name, step in mistake.steps.items()}
    return run_stage(replace(stage, run=stage.replay), steps)


def _as_unreadable(part: Part, finding: Finding, known: Mapping[str, tuple[Mistake, ...]]) -> Finding:
    """Excuses a stage that a mistake elsewhere keeps from being read, if the mistake does just that."""
    root = finding.detail.partition(SEE)[2]
    if finding.status != "skipped" or root not in known:
        return finding
    details = {_replayed(part.stage(finding.stage), (mistake,)).detail for mistake in known[root]}
    return replace(finding, excused=root) if finding.detail in details else finding


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
        status = "skipped" if outcome.problem in ("absent", "missing") else "failed"
        points = 0 if outcome.problem == "absent" else stage.points
        return Finding(status=status, detail=outcome.detail, **common | {"points": points})
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
        try:
            return expected.keys() <= given.keys() and mistake.recognise(given, expected)
        except (IndexError, TypeError, ValueError):  # other shapes than the sign reads
            return False
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
