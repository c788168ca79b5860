"""Wrong submissions by two authors who knew the interface of docs/checking.md and not the catalogue.

Each file in submissions/ has one mistake, which submissions.json describes in its author's words; the kit
has to name it at the stage given there. `at_first_sight` is false where it did not when the file came in.
The second author, from number 65 on, was asked for odd mistakes.

Run: pytest tests/test_submissions.py
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from minbert.check.isolation.worker import STARTER
from minbert.check.judge import check_candidate, first_difference
from minbert.check.parts import find_part, part_places

FOLDER = Path(__file__).with_name("submissions")
SUBMISSIONS = json.loads((FOLDER / "submissions.json").read_text(encoding="utf-8"))
UNKNOWN = {"73/bert.py"}  # softmax in half precision: found, by numbers that cannot be foretold
CORRECT = sorted((FOLDER / "correct").glob("*.py"))
PART_OF = {find_part(place).file: name for name, place in part_places().items()}


@pytest.fixture
def load(monkeypatch):
    """`load(path)` -> a submission's module, with the stand-ins for the starter's files beside it."""
    monkeypatch.syspath_prepend(STARTER)
    before = set(sys.modules)

    def module_of(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"submission_{path.parent.name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield module_of
    for name in {"base_bert", "config", "utils"} - before:
        sys.modules.pop(name, None)


def findings_of(path: Path, load) -> list:
    part = find_part(part_places()[PART_OF[path.name]])
    return check_candidate(part, part.load(load(path)))


@pytest.mark.filterwarnings("ignore")  # the checked code may warn
@pytest.mark.parametrize("submission", SUBMISSIONS, ids=lambda submission: submission["file"])
def test_a_submissions_mistake_is_named(submission, load):
    first = first_difference(findings_of(FOLDER / submission["file"], load))
    assert first is not None, submission["mistake"]
    assert first.stage == submission["stage"]
    assert [mistake.name for mistake in first.mistakes] == submission["named"]
    assert first.mistakes or "changes its input" in first.detail or submission["file"] in UNKNOWN


@pytest.mark.parametrize("path", CORRECT, ids=lambda path: path.name)
def test_the_authors_right_files_are_right(path, load):
    findings = findings_of(path, load)
    assert {finding.status for finding in findings} == {"same"}


def test_how_many_were_named_at_first_sight():
    usual, odd = SUBMISSIONS[:64], SUBMISSIONS[64:]
    assert sum(submission["at_first_sight"] for submission in usual) == 61
    assert len(odd) == 29 and sum(submission["at_first_sight"] for submission in odd) == 20
