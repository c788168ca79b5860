"""Wrong submissions by two authors who knew the interface of docs/checking.md and not the catalogue.

submissions/ has the authors' right files and one .diff for each part, with an entry for each submission: its
mistake in its author's words, the stage and the names that the kit has to give, whether it gave them when the
file came in, and the patch, against a right file, another submission or nothing (/dev/null).
The second author, from number 65 on, was asked for odd mistakes.

Run: pytest tests/test_submissions.py
"""

import importlib.util
import re
import sys
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from minbert.check.isolation.worker import STARTER
from minbert.check.judge import check_candidate, first_difference
from minbert.check.parts import find_part, part_places

FOLDER = Path(__file__).with_name("submissions")
UNKNOWN = {"73/bert.py"}  # softmax in half precision: found, by numbers that cannot be foretold
CORRECT = sorted((FOLDER / "correct").glob("*.py"))
PART_OF = {find_part(place).file: name for name, place in part_places().items()}


class Submission(NamedTuple):
    file: str  # "01/bert.py"
    base: str  # the file that the patch is against
    patch: str
    mistake: str
    stage: str
    named: list[str]
    at_first_sight: bool


def read(path: Path) -> list[Submission]:
    entries = re.split(r"\n(?=mistake: )", path.read_text(encoding="utf-8"))
    return [submission(*re.split(r"^--- (.*)\n\+\+\+ (.*)\n", entry, flags=re.M)) for entry in entries]


def submission(about: str, base: str, file: str, patch: str) -> Submission:
    lines = about.splitlines()
    fields = [line.split(": ", 1) for line in lines if ": " in line]
    [mistake], [stage] = (
        [value for key, value in fields if key == wanted] for wanted in ("mistake", "stage")
    )
    named = [value for key, value in fields if key == "named"]
    return Submission(file, base, patch, mistake, stage, named, "not named at first sight" not in lines)


SUBMISSIONS = {each.file: each for each in sorted(chain(*map(read, FOLDER.glob("*.diff"))))}


@cache
def source(file: str) -> str:
    """Returns the text of a right file, or of a submission: its base, patched."""
    if file not in SUBMISSIONS:
        return "" if file == "/dev/null" else (FOLDER / file).read_text(encoding="utf-8")
    lines = source(SUBMISSIONS[file].base).splitlines()
    hunks = re.split(r"^@@ -(\d+)(?:,(\d+))? .*\n", SUBMISSIONS[file].patch, flags=re.M)[1:]
    for first, count, hunk in reversed(list(zip(*[iter(hunks)] * 3, strict=True))):
        size = int(count or 1)
        start = int(first) - (size > 0)  # a hunk that only adds counts the line before it
        old, new = ([line[1:] for line in hunk.splitlines() if line[:1] == sign] for sign in "-+")
        assert lines[start : start + size] == old, f"{file}: the patch does not fit line {first}"
        lines[start : start + size] = new
    return "".join(f"{line}\n" for line in lines)


@pytest.fixture
def findings_of(monkeypatch, tmp_path):
    """`findings_of(file)` of a submission or a right file, with the starter's files beside it."""
    monkeypatch.syspath_prepend(STARTER)
    before = set(sys.modules)

    def findings(file: str) -> list:
        name = Path(file).name
        part = find_part(part_places()[PART_OF[name]])
        path = tmp_path / name
        path.write_text(source(file), encoding="utf-8")
        return check_candidate(part, part.load(module_of(path)))

    yield findings
    for name in {"base_bert", "config", "utils"} - before:
        sys.modules.pop(name, None)


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("submission", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # the checked code may warn
@pytest.mark.parametrize("file", SUBMISSIONS)
def test_a_submissions_mistake_is_named(file, findings_of):
    submission = SUBMISSIONS[file]
    first = first_difference(findings_of(file))
    assert first is not None, submission.mistake
    assert first.stage == submission.stage
    assert [mistake.name for mistake in first.mistakes] == submission.named
    assert first.mistakes or "changes its input" in first.detail or file in UNKNOWN


@pytest.mark.parametrize("path", CORRECT, ids=lambda path: path.name)
def test_the_authors_right_files_are_right(path, findings_of):
    assert {finding.status for finding in findings_of(f"correct/{path.name}")} == {"same"}


def test_how_many_were_named_at_first_sight():
    at_first_sight = [submission.at_first_sight for submission in SUBMISSIONS.values()]
    assert len(at_first_sight) == 93
    assert (sum(at_first_sight[:64]), sum(at_first_sight[64:])) == (61, 20)
