"""Students' files made of a template, and what is said of them."""

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from minbert.check.isolation import process
from minbert.check.judge import check_candidate, judge_all, load_candidate
from minbert.check.parts import find_part
from minbert.check.stage import AbsentFunction, Finding, Outcome, Part

# The beginning of a file with parts: stages that call functions of a module, and a mistake.
TOY_STAGES = """from types import SimpleNamespace
import numpy as np
from minbert.check.stage import Mistake, MissingImplementation, Part, Stage

def stage(name, mistakes=()):
    def run(module):
        if not hasattr(module, name):
            raise MissingImplementation(f"the file has no function {name}")
        return {"out": getattr(module, name)()}
    return Stage(name, run, lambda: {"out": np.array([1.0, 2.0])}, mistakes)

DOUBLED = Mistake("doubled", "It was doubled.", "Halve it.", lambda: {"out": np.array([2.0, 4.0])})
"""


def source_of(student: ModuleType, **places: str) -> str:
    """A student's file (see students/), right but for the places given."""
    assert places.keys() <= student.RIGHT.keys(), places.keys() - student.RIGHT.keys()
    source = student.TEMPLATE
    for place, options in student.RIGHT.items():
        source = source.replace(f"<{place}>", places.get(place, options[0]))
    return source


def right_variants(student: ModuleType, count: int, seed: int = 0) -> Iterator[str]:
    """Right files with ways drawn at random, such that each way of a place comes about equally often."""
    generator, columns = random.Random(seed), {}
    for place, options in student.RIGHT.items():
        column = (list(options) * (count // len(options) + 1))[:count]
        generator.shuffle(column)
        columns[place] = column
    for number in range(count):
        yield source_of(student, **{place: column[number] for place, column in columns.items()})


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


def assert_right(part: Part, findings: list[Finding], source: str = "") -> None:
    """Every stage is there, and agrees with the references within a quarter of the tolerance."""
    assert [finding.stage for finding in findings] == [stage.name for stage in part.stages]
    for finding in findings:
        assert finding.status == "same", f"{finding}\n{source}"
        assert finding.difference < finding.tolerance / 4, f"{finding}\n{source}"


def check_in_this_process(monkeypatch, folder: Path) -> None:
    """Spares commands the start of a process for each file; these have tests of their own."""
    real = process.check_file

    def check_file(place, path, limits=None, settings=None):
        if not Path(path).is_file():
            return real(place, path, limits, settings)
        part = find_part(place, settings)
        try:
            candidate = load_candidate(part, module_of(Path(path).read_text(encoding="utf-8"), folder))
        except AbsentFunction as reason:
            absent = Outcome(problem="absent", detail=str(reason))
            return judge_all(part, {stage.name: absent for stage in part.stages})
        return check_candidate(part, candidate)

    monkeypatch.setattr(process, "check_file", check_file)
