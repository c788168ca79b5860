"""Grades of a class: a table for the terminal, grades.csv, a page, and files for each student's grader."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from minbert.check.report import PartReport, as_json, explain, junit_xml, text_report, visible
from minbert.check.stage import NOT_RUN, Finding
from minbert.cli.shown_text import hide_variables, spreadsheet_cell
from minbert.files import atomic_write

if TYPE_CHECKING:
    from minbert.cli.page import Cell

COMMONEST = 10  # mistakes listed for the class
IN_A_ROW = 3  # mistakes of a student in the terminal's table
WIDEST = 32  # characters of a name there
MISSING = "#d05538"  # the color of points that are missing


@dataclass(frozen=True)
class Student:
    """A student's folder by its name, with a report for each part that the class is asked for."""

    name: str
    reports: list[PartReport]

    @property
    def shown(self) -> str:
        """The name as text that any file can hold."""
        return visible(self.name).replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")

    @property
    def earned(self) -> int:
        return sum(report.earned for report in self.reports)

    @property
    def possible(self) -> int:
        return sum(report.possible for report in self.reports)

    @property
    def costs(self) -> list[str]:
        """Names of the mistakes that cost points, then stages without one."""
        findings = [finding for report in self.reports for finding in report.findings]
        costing = (found for found in findings if found.earned < found.points and found.detail != NOT_RUN)
        return list(dict.fromkeys(map(_reason, sorted(costing, key=lambda found: not found.mistakes))))

    @property
    def text(self) -> str:
        return hide_variables(text_report(self.reports))


def _reason(finding: Finding) -> str:
    if finding.mistakes:
        return " or ".join(mistake.name for mistake in finding.mistakes)
    if finding.status == "different":
        return f"{finding.part}, {finding.stage}: different"
    last = finding.detail.rpartition("\n")[2]
    return f"{finding.part}: {' '.join(visible(last).split())}"


def write_grades(students: Sequence[Student], folder: Path) -> None:
    """Writes grades.csv, index.html, and below students/NAME/ report.txt, junit.xml and results.json."""
    for student in students:
        own = folder / "students" / student.name
        for name, content in {
            "report.txt": student.text,
            "junit.xml": hide_variables(junit_xml(student.reports)),
            "results.json": hide_variables(json.dumps(gradescope(student), indent=1)),
        }.items():
            with atomic_write(own / name) as file:
                file.write(content)
    with atomic_write(folder / "grades.csv") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows(grade_rows(students))
    with atomic_write(folder / "index.html") as file:
        file.write(grades_page(students))


def grade_rows(students: Sequence[Student]) -> list[list[Any]]:
    """The header and a row a student."""
    parts = [report.part for report in students[0].reports]
    columns = [column for part in parts for column in (part, f"{part} possible")]
    rows: list[list[Any]] = [["student", "points", "possible", *columns, "what cost points"]]
    for student in students:
        points = [number for report in student.reports for number in (report.earned, report.possible)]
        name, costs = spreadsheet_cell(student.shown), spreadsheet_cell("; ".join(student.costs))
        rows.append([name, student.earned, student.possible, *points, costs])
    return rows


def commonest(students: Sequence[Student]) -> list[tuple[str, int]]:
    """Counts the folders of each mistake or stage that cost points, the commonest first."""
    return Counter(reason for student in students for reason in student.costs).most_common(COMMONEST)


def grades_text(students: Sequence[Student]) -> str:
    """A row a student, the mean, and what cost points most often."""
    rows = [["student", "points", *(report.part for report in students[0].reports), "what cost points"]]
    for student in students:
        points = [f"{report.earned} / {report.possible}" for report in student.reports]
        further = f" and {len(student.costs) - IN_A_ROW} more" if len(student.costs) > IN_A_ROW else ""
        costs = "; ".join(student.costs[:IN_A_ROW]) + further
        total = f"{student.earned} / {student.possible}"
        rows.append([student.shown[:WIDEST], total, *points, costs])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
    mean = fmean(student.earned for student in students)
    lines += ["", f"mean {mean:.1f} of {max(student.possible for student in students)} points"]
    lines += [f"{count:4} of {len(students)}: {reason}" for reason, count in commonest(students)]
    return hide_variables("\n".join(lines))


def grades_json(students: Sequence[Student]) -> dict[str, Any]:
    return {"students": [{"student": student.shown} | as_json(student.reports) for student in students]}


def gradescope(student: Student) -> dict[str, Any]:
    """Gradescope's results.json: a test for each stage.

    https://gradescope-autograders.readthedocs.io/en/latest/specs/
    """
    return {
        "score": student.earned,
        "output": f"{student.earned} of {student.possible} points",
        "output_format": "text",
        "tests": [_test(finding) for report in student.reports for finding in report.findings],
    }


def _test(finding: Finding) -> dict[str, Any]:
    right = finding.status == "same" or finding.excused
    text = "" if finding.status == "same" else visible(explain(finding))
    return {
        "name": f"{finding.part}: {finding.stage}",
        "score": finding.earned,
        "max_score": finding.points,
        "status": "passed" if right else "failed",
        "output": text,
        "output_format": "text",
    }


def grades_page(students: Sequence[Student]) -> str:
    """A page in one file that loads nothing: points, what cost them most often, and every report."""
    from minbert.cli.page import Column, Tile, folded, headline, page, paragraph, section, table, text_column

    parts = [report.part for report in students[0].reports]
    mean, possible = fmean(student.earned for student in students), max(each.possible for each in students)
    columns = [text_column("student"), *map(Column, ["points", *parts])]
    rows = [
        [student.shown, _points(student), *map(_points, student.reports), "; ".join(student.costs)]
        for student in students
    ]
    return hide_variables(
        page(
            "Grades",
            "Points of the folders of a class, by minbert check.",
            [
                section(
                    "Students",
                    table(
                        "The darker, the more points are missing.",
                        [*columns, text_column("what cost points", wide=True)],
                        rows,
                        search=True,
                        kind="stacked",
                    ),
                ),
                section(
                    "What cost points most often",
                    table("", [text_column("mistake or stage", wide=True), "folders"], commonest(students)),
                ),
                section(
                    "Reports",
                    *(
                        folded(
                            f"{student.shown}: {student.earned} / {student.possible}",
                            paragraph(student.text, "lines"),
                        )
                        for student in students
                    ),
                ),
            ],
            head=headline([Tile("mean", f"{mean:.1f}", f"of {possible} points")], {"folders": len(students)}),
        )
    )


def _points(graded: Student | PartReport) -> "Cell":
    from minbert.cli.page import Cell

    share = 1 - graded.earned / graded.possible if graded.possible else 0.0
    return Cell(f"{graded.earned} / {graded.possible}", graded.earned, tint=MISSING, share=share)
