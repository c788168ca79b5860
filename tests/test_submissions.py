"""Wrong submissions by two authors who knew the interface of docs/checking.md and not the catalogue.

submissions/ has right files by the authors, and a .diff for each part with an entry for each submission: its
mistake in the author's words, the stage and the names that the kit has to give, whether it gave them when the
file came in, and the mistake itself as a patch of the right file. Of files with the same mistake one is kept.
The second author, from number 65 on, was asked for odd mistakes.

Run: pytest tests/test_submissions.py
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from minbert.check.isolation.imports import STARTER
from minbert.check.judge import first_difference
from minbert.check.parts import find_part, part_places
from tests.minbert.check.judging import judged

FOLDER = Path(__file__).with_name("submissions")
UNKNOWN = {"73"}  # softmax in half precision: found, by numbers that cannot be foretold
PARTS = {part.file.removesuffix(".py"): part for part in map(find_part, part_places().values())}
ENTRY = re.compile(r"# (\d+): (.*)\n# (.*?): (.*?)( \(not at first sight\))?\n((?s:.*))")
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? .*\n((?:[-+].*\n?)+)")


class Submission(NamedTuple):
    number: str
    mistake: str
    stage: str
    names: str  # "A | B" where two give the same numbers
    not_at_first_sight: str
    patch: str
    file: str  # "bert"

    def source(self) -> str:
        """Returns the right file with the patch."""
        lines = right_file(self.file).splitlines()
        for first, count, hunk in reversed(HUNK.findall(self.patch)):
            size = int(count or 1)
            start = int(first) - (size > 0)  # a hunk that only adds counts the line before it
            old, new = ([line[1:] for line in hunk.splitlines() if line[0] == sign] for sign in "-+")
            assert lines[start : start + size] == old, f"the patch does not fit line {first}"
            lines[start : start + size] = new
        return "\n".join(lines) + "\n"


def right_file(file: str) -> str:
    return (FOLDER / "correct" / f"{file}.py").read_text(encoding="utf-8")


SUBMISSIONS = [
    Submission(*ENTRY.fullmatch(entry).groups(), file)
    for file in PARTS
    for entry in (FOLDER / f"{file}.diff").read_text(encoding="utf-8").strip().split("\n\n")
]


@pytest.fixture
def findings_of(monkeypatch, tmp_path):
    """`findings_of(file, source)`, with the starter's files beside it."""
    monkeypatch.syspath_prepend(STARTER)
    before = set(sys.modules)
    yield lambda file, source: judged(PARTS[file], source, tmp_path)
    for name in {"base_bert", "config", "utils"} - before:
        sys.modules.pop(name, None)


@pytest.mark.filterwarnings("ignore")  # the checked code may warn
@pytest.mark.parametrize("submission", SUBMISSIONS, ids=lambda each: f"{each.number}-{each.file}")
def test_a_submissions_mistake_is_named(submission, findings_of):
    first = first_difference(findings_of(submission.file, submission.source()))
    assert first is not None, submission.mistake
    assert first.stage == submission.stage
    assert (" | ".join(mistake.name for mistake in first.mistakes) or "no name") == submission.names
    assert first.mistakes or "changes its input" in first.detail or submission.number in UNKNOWN


@pytest.mark.parametrize("file", PARTS)
def test_the_authors_right_files_are_right(file, findings_of):
    assert {finding.status for finding in findings_of(file, right_file(file))} == {"same"}


def test_how_many_were_named_at_first_sight():
    named = [(int(each.number) > 64, not each.not_at_first_sight) for each in SUBMISSIONS]
    assert [named.count((odd, at_once)) for odd in (False, True) for at_once in (True, False)] == [
        52,
        2,
        20,
        9,
    ]
