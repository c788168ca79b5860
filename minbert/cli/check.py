"""The command `minbert check`: own or others' code against the references, and the options it shares."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from minbert.check.parts import CONFIGURED_MODEL, OWN_PARTS
from minbert.cli.check_points import read_points, with_points
from minbert.cli.command_line import CommandParser
from minbert.errors import InputError

DIFFERS = 1  # exit status
COURSE_MODEL = "minbert.check.course_files:course_model"
COURSE_OPTIMIZER = "minbert.check.course_files:course_optimizer"


class Check(NamedTuple):
    """A part's place, and the file to check; None for our own code. `settings`: see process.check_file.

    A file that was `found` in a folder, and not named, is left out where it has nothing of the part: the
    course's own tokenizer.py.
    """

    place: str
    path: str | Path | None = None
    settings: Mapping[str, str] | None = None
    found: bool = False


def add_check_options(parser: CommandParser) -> None:
    """The options of `minbert check`."""
    for name in OWN_PARTS:
        parser.add_argument(f"--{name}", metavar="FILE", help=f"a Python file with your {name}")
    parser.add_argument("--folder", metavar="DIR", help="every part whose file is there: bert.py, ...")
    parser.add_argument(
        "--sanity-data", metavar="FILE", help="the course's sanity_check.data; needs --weights"
    )
    parser.add_argument("--weights", metavar="W", help="a folder with bert-base-uncased, for --sanity-data")
    parser.add_argument("--optimizer-data", metavar="FILE", help="the course's optimizer_test.npy")
    parser.add_argument(
        "--class",
        dest="students",
        nargs="+",
        metavar="FOLDER",
        help="the folders of a class, or the one they lie in; needs --out",
    )
    parser.add_argument(
        "--out", metavar="GRADES", help="the folder for grades.csv, a page, JUnit, results.json"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="files of a class checked at once; default: half of the cores"
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an attribute of your own in the config that the model's classes are given; may come again",
    )
    add_limit_options(parser)


def add_limit_options(parser: CommandParser) -> None:
    """The options of every command that checks files: limits, points, reports."""
    parser.add_json()
    parser.add_argument("--junit", metavar="FILE.xml", help="write a JUnit report as well")
    parser.add_argument(
        "--time-limit", type=float, default=20, metavar="S", help="seconds a stage; ten times that in all"
    )
    parser.add_argument("--memory-limit", type=int, default=4096, metavar="MB", help="default 4096")
    parser.add_argument("--points", metavar="FILE.toml", help='[model] "scaled scores" = 3; default 1 each')
    parser.add_argument(
        "--mistakes", action="store_true", help="print the mistakes that are known, and leave"
    )


def check_command(options: argparse.Namespace) -> int:
    """Runs `minbert check`; 1 where something differs. Raises InputError for wrong options and files."""
    if options.students or options.out:
        return _check_class(options)
    settings = _config_settings(options.config)
    parts = [_configured(check, settings) for check in _chosen_parts(options)]
    if settings and not any(check.settings and check.path for check in parts):
        raise InputError("--config goes with --model, or a --folder with bert.py; give its file")
    return run_checks(options, [*parts, *_course_checks(options)])


def _check_class(options: argparse.Namespace) -> int:
    """Runs `minbert check --class`; 0 where the grades are written, whatever they are."""
    from minbert.check.parts import find_part, part_places

    if not (options.students and options.out):
        raise InputError(
            "--class and --out belong together; give both, as in --class submissions --out grades"
        )
    alone = [
        name
        for name in (*OWN_PARTS, "folder", "sanity_data", "optimizer_data", "junit")
        if getattr(options, name)
    ]
    if alone:
        raise InputError(f"--{alone[0].replace('_', '-')} does not go with --class; leave it out")
    if options.jobs is not None and options.jobs < 1:
        raise InputError(f"--jobs is {options.jobs}; give a number from 1")
    from minbert.check.grades import grades_json, grades_text, write_grades
    from minbert.cli.check_class import check_class, student_folders

    limits = limits_of(options.time_limit, options.memory_limit)
    points = read_points(options.points, map(find_part, part_places().values()))
    out = Path(options.out)
    folders = student_folders(options.students, out)
    jobs = options.jobs or max(1, (os.cpu_count() or 1) // 2)
    students = check_class(folders, limits, points, jobs, _config_settings(options.config))
    write_grades(students, out)
    print(
        json.dumps(grades_json(students))
        if options.json
        else f"{grades_text(students)}\n\n{out / 'index.html'}"
    )
    return 0


def _chosen_parts(options: argparse.Namespace) -> list[Check]:
    """The parts whose files are given; all parts of our own code without any."""
    given = {name: getattr(options, name) for name in OWN_PARTS if getattr(options, name)}
    found = files_of_parts(Path(options.folder), OWN_PARTS) if options.folder else {}
    files = found | given or dict.fromkeys(OWN_PARTS)
    return [
        Check(OWN_PARTS[name], files[name], found=name not in given) for name in OWN_PARTS if name in files
    ]


def _configured(check: Check, settings: Mapping[str, str]) -> Check:
    """The check with settings for the model's config, where it is that of a user's model."""
    if not settings or check.place != OWN_PARTS["model"]:
        return check
    return check._replace(place=CONFIGURED_MODEL, settings=settings)


def _config_settings(given: Iterable[str]) -> dict[str, str]:
    settings = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name.isidentifier() and sign):
            raise InputError(f"--config is {text!r}; give KEY=VALUE, as in use_lora=true")
        settings[name] = value
    return settings


def files_of_parts(folder: Path, places: Mapping[str, str]) -> dict[str, Path]:
    """Name -> file of the parts that have theirs in a folder. Raises InputError where none has."""
    from minbert.check.parts import find_part, part_files

    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give the one with your Python files")
    found = part_files(folder, places, folder)
    if not found:
        names = ", ".join(find_part(place).file for place in places.values())
        raise InputError(f"{folder} has no file to check; these are looked for: {names}")
    return found


def _course_checks(options: argparse.Namespace) -> list[Check]:
    """The checks with the course's own files, of the user's files or of our own code."""
    from minbert.weights.hub import find_folder

    if bool(options.sanity_data) != bool(options.weights):
        raise InputError("--sanity-data and --weights belong together; give both or neither")
    any_file = options.folder or any(getattr(options, name) for name in OWN_PARTS)
    checks = []
    for data, part, place in (
        ("sanity_data", "model", COURSE_MODEL),
        ("optimizer_data", "optimizer", COURSE_OPTIMIZER),
    ):
        settings = {"data": getattr(options, data)}
        if not settings["data"]:
            continue
        path = {check.place: check.path for check in _chosen_parts(options)}.get(OWN_PARTS[part])
        if any_file and path is None:
            raise InputError(
                f"--{data.replace('_', '-')} goes with --{part}; give its FILE, or no file at all"
            )
        settings["data"] = str(Path(settings["data"]).absolute())
        if place == COURSE_MODEL:
            settings["weights"] = str(find_folder(options.weights).absolute())
        checks.append(Check(place, path, settings))
    return checks


def run_checks(options: argparse.Namespace, checks: Iterable[Check | tuple]) -> int:
    """Checks parts (place, path or None for our own code), prints a report; 1 where something differs.

    `options` are those of `add_limit_options`. Raises InputError for limits and points that make no sense.
    """
    from minbert.check.parts import find_part
    from minbert.check.report import as_json, catalogue, catalogue_text, junit_xml, text_report
    from minbert.cli.shown_text import hide_variables
    from minbert.files import atomic_write

    checks = [Check(*check) for check in checks]
    parts = [find_part(check.place, check.settings) for check in checks]
    if options.mistakes:
        print(json.dumps({"mistakes": catalogue(parts)}) if options.json else catalogue_text(parts))
        return 0
    limits, points = limits_of(options.time_limit, options.memory_limit), read_points(options.points, parts)
    reports = [_report(check, limits, points) for check in checks]
    reports = [r for r, check in zip(reports, checks, strict=True) if not (check.found and r.is_empty)]
    if not reports:
        names = ", ".join(str(check.path) for check in checks)
        raise InputError(f"there is nothing to check in {names}; docs/checking.md has the names to use")
    if options.junit:
        with atomic_write(options.junit) as file:
            file.write(hide_variables(junit_xml(reports)))  # a checked file may print its environment
    if options.json:
        print(json.dumps(as_json(reports)))
    else:
        print(text_report(reports, colour=sys.stdout.isatty()))
    return 0 if all(report.is_good for report in reports) else DIFFERS


def _report(check: Check, limits, points):
    from minbert.check.isolation.process import check_file
    from minbert.check.judge import check_candidate
    from minbert.check.parts import find_part
    from minbert.check.report import PartReport

    part = find_part(check.place, check.settings)
    if check.path is None:
        findings, source = check_candidate(part, part.own()), "our own code"
    else:
        findings, source = check_file(check.place, check.path, limits, check.settings), str(check.path)
    return PartReport(part.name, source, tuple(with_points(findings, points)))


def limits_of(seconds: float, megabytes: int):
    """The limits of a stage's seconds, ten times that in all, and a process's memory."""
    from minbert.check.isolation.process import Limits

    if not 0 < seconds < float("inf"):
        raise InputError(f"the time limit is {seconds:g}; give seconds above 0")
    if megabytes < 1:
        raise InputError(f"the memory limit is {megabytes}; give megabytes, 4096 for 4 GB")
    return Limits(stage_seconds=seconds, total_seconds=10 * seconds, memory_bytes=megabytes << 20)
