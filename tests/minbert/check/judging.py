"""What the tests of the checking kit's parts share: students' files as source text, and a sharp catalogue."""

import importlib.util
import itertools
import random
from pathlib import Path
from types import ModuleType

from minbert.check.judge import check_candidate, distance, first_difference
from minbert.check.stage import Finding, Outputs, Part

MARGIN = 10  # tolerances


def changed(source: str, *replacements: tuple[str, str]) -> str:
    """The source with each old text, which has to occur just once, replaced by a new one."""
    for old, new in replacements:
        assert source.count(old) == 1, f"{source.count(old)} times: {old}"
        source = source.replace(old, new)
    return source


def module_of(source: str, folder: Path) -> ModuleType:
    """A student's file, loaded as a module."""
    path = folder / "student.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("student", path)
    module = importlib.util.module_from_spec(spec)
    exec(compile(source, path, "exec"), module.__dict__)  # not from the cache of an earlier file
    return module


def judged(part: Part, source: str, folder: Path) -> list[Finding]:
    return check_candidate(part, part.load(module_of(source, folder)))


def names(finding: Finding) -> set[str]:
    return {mistake.name for mistake in finding.mistakes}


def assert_right(part: Part, findings: list[Finding]) -> None:
    """Every stage is there, and equals the references ten times closer than has to be."""
    assert [finding.stage for finding in findings] == [stage.name for stage in part.stages]
    for finding in findings:
        assert finding.status == "same", finding
        assert finding.difference < finding.tolerance / 4, finding


def assert_named(part: Part, source: str, name: str, folder: Path) -> Finding:
    """The first stage that differs names the mistake, and every later stage that names one names it too."""
    findings = judged(part, source, folder)
    first = first_difference(findings)
    assert first is not None, f"no stage shows: {name}"
    assert first.status == "different", first.detail
    assert name in names(first), f"{first.stage}: {sorted(names(first))} instead of {name}, at {first.output}"
    return first


def assert_not_diagnosed(part: Part, source: str, stage: str, folder: Path) -> None:
    """The first stage that differs is this one, with numbers, and no stage names a mistake."""
    findings = judged(part, source, folder)
    first = first_difference(findings)
    assert first is not None and first.stage == stage and first.status == "different"
    assert first.output and first.difference > first.tolerance
    assert [names(finding) for finding in findings if finding.mistakes] == []


def assert_sharp(part: Part, alike: set[frozenset[str]] = frozenset()) -> None:
    """Every mistake is far from the reference, and from each other one of its stage save those in `alike`."""
    for stage in part.stages:
        expected = stage.expected()
        predictions = {known.name: known.predict() for known in stage.mistakes if known.predict}
        for name, prediction in predictions.items():
            assert prediction.keys() == expected.keys(), f"{stage.name}: {name}"
            assert apart(prediction, expected) >= MARGIN * stage.tolerance, f"{stage.name}: {name}"
        for (one, first), (other, second) in itertools.combinations(predictions.items(), 2):
            close = min(apart(first, second), apart(second, first)) < MARGIN * stage.tolerance
            assert close == (frozenset((one, other)) in alike), f"{stage.name}: {one} | {other}"


def apart(given: Outputs, expected: Outputs) -> float:
    return max(distance(given[name], value) for name, value in expected.items())


def known_names(part: Part) -> set[str]:
    return {known.name for stage in part.stages for known in stage.mistakes}


def assert_well_described(part: Part) -> None:
    """Names mean one mistake each, and causes and remedies are sentences."""
    described = {}
    for stage in part.stages:
        for known in stage.mistakes:
            assert described.setdefault(known.name, (known.cause, known.remedy)) == (
                known.cause,
                known.remedy,
            )
            assert known.name and known.name[-1] != "."
            assert known.cause.endswith(".") and known.remedy.endswith("."), known.name


def random_variants(template: str, choices: dict[str, tuple[str, ...]], count: int, seed: int = 0):
    """Sources in which each place of the template has one of its choices, drawn at random."""
    generator = random.Random(seed)
    for _ in range(count):
        drawn = {place: generator.choice(options) for place, options in choices.items()}
        source = template
        for place, text in drawn.items():
            source = source.replace(f"<{place}>", text)
        yield source
