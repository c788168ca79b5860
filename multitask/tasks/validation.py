"""Validation of prediction files against the data: which files a folder should have, and with which ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert import TEXT, InputError, or_null, read_json_object
from multitask.config.task_config import DEFAULT_TASKS, task_config
from multitask.config.task_kinds import KINDS, make_task
from multitask.data.given_rows import SPLITS
from multitask.tasks.base import ScoredTask, TrainingTask
from multitask.tasks.predictions import Problem, validate_folder
from multitask.tasks.probabilities import probability_path, validate_probabilities
from multitask.tasks.splits import SAMPLE, kept_data, load_split, missing_split, open_data

COURSE_TASKS = (*DEFAULT_TASKS, "cfimdb")


@dataclass(frozen=True)
class Validation:
    """The prediction files that were checked, their problems, and notes on splits without data."""

    checked: list[str]
    problems: list[Problem]
    notes: list[str]

    @property
    def errors(self) -> int:
        return sum(problem.severity == "error" for problem in self.problems)

    def lines(self) -> list[str]:
        """Returns notes, problems, and a line of counts."""
        warnings = len(self.problems) - self.errors
        counts = f"{len(self.checked)} files checked, {self.errors} errors, {warnings} warnings"
        return [*self.notes, *map(str, self.problems), counts]


def tasks_with_data(
    folder: Path, names: Sequence[str] | None, configured: Mapping[str, dict[str, Any]] | None = None
) -> list[TrainingTask]:
    """Returns the named tasks, else the configured ones, else known ones that have a file in the folder.

    Known are the tasks of the course, and those of kinds that the user has registered.
    """
    known = configured or {}
    own = [kind for kind, task in KINDS.items() if not isinstance(task, str)]
    chosen = names or [*known] or [*COURSE_TASKS, *own]
    tasks = [make_task(name, task_config(name, known.get(name, {}))) for name in chosen]
    if names or known:
        return tasks
    found = [task for task in tasks if any(missing_split(task, folder, split) is None for split in SPLITS)]
    if not found:
        raise InputError(
            f"{folder} has no file of the course's tasks, such as ids-sst-train.csv; give the folder with "
            f"the data files (`multitask download --data DIR` fetches them)"
        )
    return found


def validate_predictions(
    predictions: str | Path,
    data: str | Path | None = None,
    names: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
) -> Validation:
    """Checks the prediction files in a folder against the dev and test splits, or those of `splits`.

    Without `names`, the course's three tasks are expected, and cfimdb where it is predicted: it belongs to
    the course's first part, which has predictions of its own. Without `data` see `find_data`; a note names
    the folder.
    """
    predictions = Path(predictions)
    if not predictions.is_dir():
        kind = "is a file" if predictions.exists() else "does not exist"
        raise InputError(f"{predictions} {kind}; give the folder that holds the prediction files")
    expected, optional, formats, notes = {}, {}, {}, []
    if data is None:
        data = find_data(predictions)
        notes.append(f"data: {data}")
    further, checked_further = [], []  # of probability files
    with open_data(data) as folder:
        for task in tasks_with_data(folder, names):
            predicted = any(predictions.glob(f"{task.format.stem}-*.*"))
            if not (predicted or names or task.name in DEFAULT_TASKS):
                continue
            formats[task.name] = task.format
            for split in splits or ("dev", "test"):
                examples, note = load_split(task, folder, split)
                if examples is None:
                    notes += note
                    continue
                expected[task.name, split] = [e.id for e in examples.in_file_order() if e.id is not None]
                optional[task.name, split] = [e.id for e in examples.rejects if e.id is not None]
                path = probability_path(predictions, task.format, split)
                if path.is_file():
                    checked_further.append(str(path))
                    ids = expected[task.name, split], optional[task.name, split]
                    further += _probability_problems(task, path, *ids)
    problems, checked = validate_folder(predictions, expected, formats, optional)
    return Validation([*checked, *checked_further], problems + further, notes)


def find_data(predictions: Path) -> str | Path:
    """Returns the data folder of the run in which predictions lie, else `data` in the working folder.

    Raises InputError where neither is there.
    """
    missing = ""
    for run in [path for path in (predictions, predictions.parent) if (path / "environment.json").is_file()]:
        data = read_json_object(run / "config.json", {"data": or_null(TEXT)}, "give --data DIR")["data"]
        found = kept_data(data, run) if data else None
        if found and (str(found) == SAMPLE or Path(found).is_dir()):
            return found
        missing = f"{data}, which the run {run} was trained on, is not there; "
    if Path("data").is_dir():
        return "data"
    raise InputError(
        f"{predictions} is checked against data files: {missing}there is no folder `data` here; give "
        f"--data DIR"
    )


def _probability_problems(
    task: ScoredTask, path: Path, ids: Sequence[str], optional_ids: Sequence[str]
) -> list[Problem]:
    try:
        classes = task.classes
    except InputError as error:
        return [Problem("error", str(path), None, str(error))]
    return validate_probabilities(path, ids, classes, task.target_kind != "labels", optional_ids)
