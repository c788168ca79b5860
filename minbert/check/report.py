"""Findings for people and for programs: text, JSON, JUnit XML."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any
from xml.etree import ElementTree

from minbert.check.judge import DIFFERENT, first_difference
from minbert.check.stage import Finding, Mistake, Part

WORDS = {"same": "same", "different": "DIFFERENT", "failed": "FAILED", "skipped": "skipped"}
COLOURS = {"same": "32", "different": "31", "failed": "31", "skipped": "33"}
INDENT = "  "


@dataclass(frozen=True)
class PartReport:
    """The findings of one part of one file. `source`: the file's name, or whose code it is."""

    part: str
    source: str
    findings: tuple[Finding, ...]

    @property
    def earned(self) -> int:
        return sum(finding.earned for finding in self.findings)

    @property
    def possible(self) -> int:
        return sum(finding.points for finding in self.findings)

    @property
    def is_empty(self) -> bool:
        """The file has nothing of the part, and nobody asks for it by points."""
        return all(finding.status == "skipped" and not finding.points for finding in self.findings)

    @property
    def is_good(self) -> bool:
        """Nothing differs or failed, and something was compared."""
        statuses = {finding.status for finding in self.findings}
        return "same" in statuses and statuses.isdisjoint(DIFFERENT)


def text_report(reports: Sequence[PartReport], colour: bool = False) -> str:
    """A table of stages for each part, what differs first and why, and the points."""
    lines = []
    for report in reports:
        lines += [f"{report.part}: {_one_line(report.source)}", *_table(report.findings, colour), ""]
        explained = _explanations(report.findings)
        lines += [*explained, ""] if explained else []
    earned, possible = sum(r.earned for r in reports), sum(r.possible for r in reports)
    lines.append(f"points {earned} / {possible}")
    return "\n".join(lines)


def _table(findings: Iterable[Finding], colour: bool) -> list[str]:
    findings = [_joined(list(alike)) for _, alike in groupby(findings, _sameness)]
    width = max((len(finding.stage) for finding in findings), default=0)
    lines = []
    for finding in findings:
        word = f"{WORDS[finding.status]:9}"
        if colour:
            word = f"\033[{COLOURS[finding.status]}m{word}\033[0m"
        line = f"{INDENT}{finding.stage:{width}}  {word}  {finding.earned} / {finding.points}"
        if finding.status == "same":
            line += f"  within {finding.difference:.1e}"
        elif finding.status == "skipped":
            line += f"  {_one_line(finding.detail)}"
        elif finding.follows and not finding.excused:
            line += f"  it builds on {finding.follows[0]}"
        if finding.excused:
            line += f"  follows from {finding.excused}"
        lines.append(line)
    return lines


def _sameness(finding: Finding) -> str:
    return finding.detail if finding.status == "skipped" else finding.stage


def _joined(alike: list[Finding]) -> Finding:
    """One row of neighbours that were skipped for one reason."""
    stages = [finding.stage for finding in alike]
    name = ", ".join(stages) if len(stages) < 3 else f"{len(stages)} stages"
    return replace(alike[0], stage=name, points=sum(finding.points for finding in alike))


def _explanations(findings: Sequence[Finding]) -> list[str]:
    """The first difference, and the others that no earlier one explains."""
    lines, first = [], first_difference(findings)
    compared = any(finding.status in ("same", "different") for finding in findings)
    details = {finding.detail for finding in findings if finding.status == "failed"}
    if first and not compared and len(details) == 1:
        return _indented(f"Nothing could be compared: {visible(first.detail)}", *_printed(first))
    for finding in findings:
        if finding is first or (finding.status in DIFFERENT and not (finding.follows or finding.excused)):
            head = "First difference" if finding is first else "Another difference"
            lines += _indented(f"{head}: {explain(finding)}", *_printed(finding))
    return lines


def explain(finding: Finding) -> str:
    """Returns a difference or failure in words: the stage, the numbers, the likely mistake, its remedy."""
    stage = f"stage {finding.stage!r}"
    if finding.excused:
        return f"{stage} follows from {finding.excused!r}, and costs nothing; mend that."
    if finding.status == "skipped":
        return f"{stage} was skipped: {visible(finding.detail)}"
    if finding.status == "failed":
        return f"{stage} gave nothing to compare: {visible(finding.detail)}"
    return "\n".join([f"{stage}, {_numbers(finding)}", *_diagnosis(finding)])


def _numbers(finding: Finding) -> str:
    name = f"output {finding.output!r}"
    if finding.given is None:
        return f"{name}: {finding.detail}"
    place = f" at index {finding.where}" if finding.where else ""
    size = f"by {finding.difference:.2g} (allowed {finding.tolerance:.0e})"
    return f"{size}, {name}{place}: given {finding.given:.7g}, expected {finding.expected:.7g}"


def _diagnosis(finding: Finding) -> list[str]:
    if finding.follows:
        return [f"It builds on {finding.follows[0]!r}; mend that first."]
    if not finding.mistakes:
        return ["No known mistake gives these numbers."]
    if len(finding.mistakes) > 1:
        return [
            "Likely one of these, which give the same numbers here:",
            *(f"- {m.name}: {m.cause} Instead: {m.remedy}" for m in finding.mistakes),
        ]
    mistake = finding.mistakes[0]
    return [f"Likely mistake: {mistake.name}. {mistake.cause}", f"Instead: {mistake.remedy}"]


def _printed(finding: Finding) -> list[str]:
    text = visible(finding.printed).strip()
    return ["It printed:", *(f"{INDENT}{line}" for line in text.splitlines()[:20])] if text else []


def _indented(*texts: str) -> list[str]:
    return [f"{INDENT}{line}" for text in texts for line in text.splitlines()]


def _one_line(text: str) -> str:
    return " ".join(visible(text).split())


def as_json(reports: Sequence[PartReport]) -> dict[str, Any]:
    """Everything as JSON values; numbers that are not finite become the texts "inf", "-inf" and "nan"."""
    return {
        "good": all(report.is_good for report in reports),
        "points": _points(reports),
        "parts": [
            {
                "part": report.part,
                "source": report.source,
                "points": _points([report]),
                "first_difference": getattr(first_difference(report.findings), "stage", None),
                "stages": [finding_as_json(finding) for finding in report.findings],
            }
            for report in reports
        ],
    }


def _points(reports: Iterable[PartReport]) -> dict[str, int]:
    reports = list(reports)
    return {"earned": sum(r.earned for r in reports), "possible": sum(r.possible for r in reports)}


def finding_as_json(finding: Finding) -> dict[str, Any]:
    return {
        "part": finding.part,
        "stage": finding.stage,
        "status": finding.status,
        "points": {"earned": finding.earned, "possible": finding.points},
        "difference": _number(finding.difference),
        "tolerance": finding.tolerance,
        "output": finding.output or None,
        "index": list(finding.where),
        "given": _number(finding.given),
        "expected": _number(finding.expected),
        "mistakes": [mistake_as_json(mistake) for mistake in finding.mistakes],
        "follows": list(finding.follows),
        "excused": finding.excused or None,
        "detail": finding.detail,
        "printed": finding.printed,
    }


def mistake_as_json(mistake: Mistake) -> dict[str, str]:
    return {"name": mistake.name, "cause": mistake.cause, "remedy": mistake.remedy}


def _number(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def junit_xml(reports: Sequence[PartReport]) -> str:
    """JUnit XML: a test suite for each part, a test case for each stage, the points as properties."""
    root = ElementTree.Element("testsuites", _counts([f for r in reports for f in r.findings]))
    for report in reports:
        counts = _counts(report.findings)
        suite = ElementTree.SubElement(root, "testsuite", {"name": f"minbert check {report.part}"} | counts)
        _add_properties(suite, file=report.source, points=report.earned, points_possible=report.possible)
        for finding in report.findings:
            _add_case(suite, finding)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(findings: Sequence[Finding]) -> dict[str, str]:
    failures = sum(finding.status in DIFFERENT and not finding.excused for finding in findings)
    skipped = sum(finding.status == "skipped" or bool(finding.excused) for finding in findings)
    counts = {"tests": len(findings), "failures": failures, "errors": 0, "skipped": skipped, "time": 0}
    return {name: str(count) for name, count in counts.items()}


def _add_case(suite: ElementTree.Element, finding: Finding) -> None:
    names = {"classname": f"minbert.check.{finding.part}", "name": finding.stage, "time": "0"}
    case = ElementTree.SubElement(suite, "testcase", names)
    _add_properties(case, points=finding.earned, points_possible=finding.points)
    if finding.excused:
        ElementTree.SubElement(case, "skipped", message=f"follows from {finding.excused}, costs nothing")
    elif finding.status in DIFFERENT:
        text = visible(explain(finding))  # outputs' names, too
        message = {"message": text.partition("\n")[0], "type": finding.status}
        ElementTree.SubElement(case, "failure", message).text = text
    elif finding.status == "skipped":
        ElementTree.SubElement(case, "skipped", message=_one_line(finding.detail))
    if finding.printed:
        ElementTree.SubElement(case, "system-out").text = visible(finding.printed)


def _add_properties(element: ElementTree.Element, **values: object) -> None:
    properties = ElementTree.SubElement(element, "properties")
    for name, value in values.items():
        ElementTree.SubElement(properties, "property", name=name, value=visible(str(value)))


def visible(text: str) -> str:
    """The text with what XML does not have and a terminal would obey written out: \\x1b."""
    return "".join(c if c.isprintable() or c in "\t\n\r" else repr(c)[1:-1] for c in text)


def catalogue(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Every mistake that the parts' stages recognise: part, stage, name, cause, remedy."""
    return [
        {"part": part.name, "stage": stage.name} | mistake_as_json(mistake)
        for part in parts
        for stage in part.stages
        for mistake in stage.mistakes
    ]


def catalogue_text(parts: Iterable[Part]) -> str:
    lines = []
    for entry in catalogue(parts):
        lines.append(f"{entry['part']}, {entry['stage']}: {entry['name']}")
        lines += _indented(entry["cause"], f"Instead: {entry['remedy']}")
    return "\n".join(lines)
