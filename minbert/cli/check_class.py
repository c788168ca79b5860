"""`minbert check --class FOLDERS --out GRADES`: the folders of a class, checked beside each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from minbert.errors import InputError

if TYPE_CHECKING:
    from minbert.check.grades import Student
    from minbert.check.isolation.process import Limits
    from minbert.check.report import PartReport

Points = Mapping[str, Mapping[str, int]]
NOT_SEARCHED = {"__pycache__", "__MACOSX", "node_modules", "site-packages", "venv"}
DEEPEST = 4  # levels below a student's folder in which the files are looked for


def student_folders(given: Sequence[str], out: Path) -> dict[str, Path]:
    """Name -> folder. One folder without files to check stands for the folders in it.

    Raises InputError where there is none, and for a name that comes twice.
    """
    from minbert.check.parts import part_files, part_places

    folders = [Path(folder) for folder in given]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"there is no folder {folder}; give the students' folders, or the one they lie in"
            )
    if len(folders) == 1 and not part_files(folders[0], part_places(), folders[0]):
        folders = [inner for inner in sorted(folders[0].iterdir()) if inner.is_dir() and inner.name[0] != "."]
    folders = [folder for folder in folders if folder.resolve() != out.resolve()]
    if not folders:
        raise InputError(
            f"{given[0]} has no folder in it; give the students' folders, or the one they lie in"
        )
    named: dict[str, Path] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in named:
            raise InputError(f"{named[name]} and {folder} have one name; give each student's folder its own")
        named[name] = folder
    return named


def _files_below(folder: Path) -> dict[str, Path]:
    """Part -> file from the nearest folder that has any: archives often have a folder around the files."""
    from minbert.check.parts import part_files, part_places

    level = [folder]
    for _ in range(DEEPEST):
        if found := next(filter(None, (part_files(inner, part_places(), folder) for inner in level)), None):
            return found
        level = [inner for outer in level for inner in _subfolders(outer)]
    return {}


def _subfolders(folder: Path) -> Iterator[Path]:
    for inner in sorted(folder.iterdir()):
        searched = inner.name[0] != "." and inner.name not in NOT_SEARCHED
        if searched and inner.is_dir() and not inner.is_symlink():
            yield inner


def check_class(
    folders: Mapping[str, Path], limits: "Limits", points: Points, jobs: int, config: Mapping[str, str]
) -> list["Student"]:
    """Checks every folder; what goes wrong in one is said in its reports. `config`: see model_with_config.

    The parts are those of the table of points, or those of which any folder has something.
    """
    from minbert.check.grades import Student

    files: dict[tuple[str, str], Path] = {}
    problems: dict[str, str] = {}
    for name, folder in folders.items():
        try:
            files |= {(name, part): file for part, file in _files_below(folder).items()}
        except (InputError, OSError) as error:
            problems[name] = f"the folder cannot be read: {error}"
    with ThreadPoolExecutor(jobs) as pool:
        made = pool.map(
            partial(_checked, limits, points, config), [part for _, part in files], files.values()
        )
        reports = dict(zip(files, _with_progress(made, len(files)), strict=True))
    asked = set(points) or {part for (_, part), report in reports.items() if not report.is_empty}

    def report(name: str, part: str) -> "PartReport":
        found = reports.get((name, part))
        if found and not found.is_empty:
            return found
        detail = found.findings[0].detail if found else problems.get(name, "")
        return _unchecked(points, part, "missing", detail)

    parts = [part for part in _part_names() if part in asked]
    if not parts:
        raise InputError("no folder has a file to check; docs/checking.md has the names to use")
    return [Student(name, [report(name, part) for part in parts]) for name in folders]


def _part_names() -> list[str]:
    from minbert.check.parts import part_places

    return list(part_places())


def _with_progress(reports: Iterable["PartReport"], count: int) -> Iterable["PartReport"]:
    from tqdm import tqdm

    return tqdm(reports, total=count, unit="file", disable=None, leave=False)


def _checked(
    limits: "Limits", points: Points, config: Mapping[str, str], name: str, file: Path
) -> "PartReport":
    from minbert.check.isolation.process import check_file
    from minbert.check.parts import CONFIGURED_MODEL, part_places
    from minbert.check.report import PartReport
    from minbert.cli.check_points import with_points

    place, settings = part_places()[name], None
    if config and name == "model":
        place, settings = CONFIGURED_MODEL, config
    try:
        findings = check_file(place, file, limits, settings)
    except (InputError, OSError) as error:
        return _unchecked(points, name, "crashed", f"it could not be checked: {error}")
    return PartReport(name, str(file), tuple(with_points(findings, points)))


def _unchecked(points: Points, name: str, problem: str, detail: str) -> "PartReport":
    """The report of a file that is not there, or could not be checked."""
    from minbert.check.judge import judge_all
    from minbert.check.parts import find_part, part_places
    from minbert.check.report import PartReport
    from minbert.check.stage import Outcome
    from minbert.cli.check_points import with_points

    part = find_part(part_places()[name])
    outcome = Outcome(problem=problem, detail=detail or f"there is no file {part.file}")
    findings = judge_all(part, {stage.name: outcome for stage in part.stages})
    return PartReport(name, part.file, tuple(with_points(findings, points)))
