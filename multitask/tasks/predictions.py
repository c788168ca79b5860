"""Prediction files: the only place that knows how they are named and written, and what is wrong with one.

Two formats are around. "code" is what the course's starter code writes, to the byte, with its tab in the
header, its spaces around the comma and its misspelt STS column; "handout" is what the assignment's text
shows. Both are read. A task says which `PredictionFormat` is its own; nothing here knows a task.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from minbert import InputError, atomic_write, did_you_mean
from multitask.data.records import read_text

# What `--option` of the course's first part may be, in its two versions; files bear it in their names.
COURSE_OPTIONS = ("pretrain", "finetune", "last-linear-layer", "full-model")
FILE_FORMATS = ("code", "handout")
NEXT_LABEL, NO_LABEL = "|", "[]"  # of several labels
_QUOTED = re.compile(r'(.*?),\s*"((?:[^"]|"")+)"\s*')  # the id, and a value in quotes
LISTED = 5  # problems of one sort that are named one by one


@dataclass(frozen=True)
class PredictionFormat:
    """Format of one task's prediction files.

    `values`: "class" is a whole number; "flag" is 0 or 1, written as a float in the format "code";
    "number" is any finite number, expected (not demanded) in the range; "text" is a label, in quotes where it
    has a comma or a quote, or a list of labels, which is joined by spaces; "labels" is any number of labels
    with | between them, or [] for none, in quotes as a label; "tags" is not a table but a word and its tag a
    line, see `write_tags`.
    """

    stem: str
    column: str
    values: Literal["class", "flag", "number", "text", "labels", "tags"]
    lowest: float = -math.inf
    highest: float = math.inf
    handout_column: str = ""

    def header(self, file_format: str = "code") -> str:
        """Returns the first line, without its line end."""
        if _checked(file_format) == "code":
            return f"id \t {self.column} "
        return f"id, {self.handout_column or self.column}"


@dataclass(frozen=True)
class Problem:
    """Something wrong with a prediction file; `line` counts from 1 and is None where no line is to blame."""

    severity: Literal["error", "warning"]
    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{self.severity}: {place}: {self.message}"


def generic_format(
    task: str, values: Literal["class", "flag", "number", "text", "labels"] = "text"
) -> PredictionFormat:
    """Returns the format of other tasks: `<task>-<split>-output.csv` with the column `Prediction`."""
    span = (0, 1) if values == "flag" else (-math.inf, math.inf)
    return PredictionFormat(task, "Prediction", values, *span)


def tag_format(task: str) -> PredictionFormat:
    """Returns the format of a task that tags words: `<task>-<split>-out.txt`, in either format."""
    return PredictionFormat(task, "", "tags")


def prediction_path(
    folder: str | Path,
    format: PredictionFormat,
    split: str,
    file_format: str = "code",
    option: str | None = None,
) -> Path:
    """Returns a split's file; `option`, one of COURSE_OPTIONS, gives the names of the course's first part."""
    ending = "output" if _checked(file_format) == "code" and option is None else "out"
    prefix = "" if option is None else f"{option}-"
    if format.values == "tags":
        return Path(folder) / f"{prefix}{format.stem}-{split}-out.txt"
    return Path(folder) / f"{prefix}{format.stem}-{split}-{ending}.csv"


def write_predictions(
    path: str | Path,
    ids: Iterable[str],
    values: Iterable,
    format: PredictionFormat,
    file_format: str = "code",
) -> None:
    """Writes one row for each id, whole or not at all; InputError for a value that the format cannot hold."""
    separator, end = (" , ", " \n") if _checked(file_format) == "code" else (", ", "\n")
    with atomic_write(path) as file:
        file.write(f"{format.header(file_format)}\n")
        file.writelines(
            f"{written_id(row_id)}{separator}{_written(value, row_id, format, file_format)}{end}"
            for row_id, value in zip(ids, values, strict=True)
        )


def read_predictions(path: str | Path, format: PredictionFormat) -> list[tuple[str, str]]:
    """Returns (id, value as written) in file order; InputError for another header or form than the two."""
    rows, malformed = _read(path, format)
    for line, message in malformed:
        raise InputError(f"{path}:{line}: {message}; give a file as `multitask predict` writes it")
    return [(row_id, value) for row_id, value, _ in rows]


def validate_file(
    path: str | Path,
    expected_ids: Sequence[str],
    format: PredictionFormat,
    optional_ids: Collection[str] = (),
) -> list[Problem]:
    """Finds all that is wrong with one file: header, form, ids and values.

    `optional_ids` are those of rows that the reader refused: one that is missing is a warning only.
    """
    path = str(path)
    found: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)  # severity, sort -> line, message
    try:
        if format.values == "tags":  # without ids: only the number of sentences can be compared
            sentences, found["error", "malformed lines"] = read_tags(path)
            right = len(expected_ids) <= len(sentences) <= len(expected_ids) + len(optional_ids)
            message = f"holds {len(sentences)} sentences; the split has {len(expected_ids)}"
            rest = [] if right else [Problem("error", path, None, message)]
        else:
            rows, found["error", "malformed lines"] = _read(path, format)
            for _, value, line in rows:
                if judged := _judge(value, format):
                    severity, sort, message = judged
                    found[severity, sort].append((line, message))
            rest = id_problems(path, rows, expected_ids, optional_ids)
    except InputError as error:
        return [Problem("error", path, None, str(error).removeprefix(f"{path}:").strip())]
    problems = []
    for (severity, sort), cases in found.items():
        problems += listed(severity, path, sort, cases)
    return problems + rest


def listed(
    severity: Literal["error", "warning"], path: str, sort: str, cases: Sequence[tuple[int, str]]
) -> list[Problem]:
    """Returns the first LISTED of the problems of one sort, each a (line, message), and their number."""
    problems = [Problem(severity, path, line, message) for line, message in cases[:LISTED]]
    if len(cases) > LISTED:
        problems.append(Problem(severity, path, None, f"{len(cases)} {sort} in all"))
    return problems


def validate_folder(
    folder: str | Path,
    expected: Mapping[tuple[str, str], Sequence[str]],
    formats: Mapping[str, PredictionFormat],
    optional: Mapping[tuple[str, str], Collection[str]] | None = None,
) -> tuple[list[Problem], list[str]]:
    """Returns the problems of all files that a folder should have, and the paths that were checked.

    `expected` and `optional` map (task, split) to ids; a task that is not in `formats` has a generic one.
    A file may bear the name of either format or of the course's first part; all that are there are checked.
    """
    folder = Path(folder)
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    problems, checked = [], []
    for (task, split), ids in expected.items():
        format = formats.get(task) or generic_format(task)
        candidates = [prediction_path(folder, format, split, file_format) for file_format in FILE_FORMATS]
        candidates += [prediction_path(folder, format, split, option=o) for o in COURSE_OPTIONS]
        present = [path for path in dict.fromkeys(candidates) if path.is_file()]
        if not present:
            wanted = candidates[0]
            hint = did_you_mean(wanted.name, names)
            problems.append(Problem("error", str(wanted), None, f"no predictions for {task} {split}{hint}"))
        for path in present:
            checked.append(str(path))
            problems += validate_file(path, ids, format, (optional or {}).get((task, split), ()))
            problems += _other_split(path, (task, split), expected, format)
    if not checked:
        known = ", ".join(f"{format.stem}-*-output.csv" for format in formats.values())
        problems.append(Problem("error", str(folder), None, f"has no prediction file, such as {known}"))
    return problems, checked


def _read(
    path: str | Path, format: PredictionFormat
) -> tuple[list[tuple[str, str, int]], list[tuple[int, str]]]:
    """Returns the rows (id, value, line), and (line, message) of what has another form."""
    rows, malformed = [], []
    lines = read_text(path).rstrip("\r\n").split("\n")
    accepted = [format.header(file_format) for file_format in FILE_FORMATS]
    if lines[0].rstrip("\r") not in accepted:
        message = f"the header is {lines[0].rstrip()!r}; it has to be {accepted[0]!r} or {accepted[1]!r}"
        malformed.append((1, message))
    for number, line in enumerate(lines[1:], start=2):
        # The last comma: an id may hold one, and a written value only inside of its quotes.
        quoted = _QUOTED.fullmatch(line) if format.values == "text" else None
        parts = (quoted[1], ",", quoted[2].replace('""', '"')) if quoted else line.rpartition(",")
        row_id, comma, value = (part.strip() for part in parts)
        if comma and row_id and value:
            rows.append((row_id, value, number))
        else:
            malformed.append((number, f"{line.strip()!r} is not a row 'id , value'"))
    return rows, malformed


def _judge(value: str, format: PredictionFormat) -> tuple[str, str, str] | None:
    """Returns (severity, sort, message) of a written value that is wrong or odd."""
    if format.values == "text":
        return None
    if format.values == "labels":
        labels = value.split(NEXT_LABEL)
        if all(label.strip() for label in labels) and len(set(labels)) == len(labels):
            return None
        return "error", "values of the wrong form", f"{value!r} has a label that is empty or there twice"
    span = f"{format.lowest:g} to {format.highest:g}"
    try:
        # float() also takes "1_0" and digits of other scripts, which other readers do not.
        number = float(value if value.isascii() and "_" not in value else "no number")
    except ValueError:
        return "error", "values that are not numbers", f"{value!r} is not a number"
    if not math.isfinite(number):
        return "error", "values that are not finite", f"the value is {value}; it has to be a finite number"
    inside = format.lowest <= number <= format.highest
    if format.values == "number":
        message = f"{value} is outside {span}, as a loss without that scale leaves it (pearson, cosent)"
        return None if inside else ("warning", f"values outside {span}", message)
    if number != int(number) or (format.values == "class" and not value.lstrip("+-").isdecimal()):
        return "error", "values of the wrong type", f"{value} is not a whole number, as a class has to be"
    message = f"class {value} is out of range; classes are {span}"
    return None if inside else ("error", "values out of range", message)


def id_problems(
    path: str,
    rows: Sequence[tuple[str, str, int]],
    expected_ids: Sequence[str],
    optional_ids: Collection[str],
) -> list[Problem]:
    """Finds ids that are missing, foreign or repeated among rows of (id, value, line)."""
    # A data file may name an id twice; then as many predictions are right.
    expected, optional = Counter(expected_ids), Counter(optional_ids)
    counts = Counter(row_id for row_id, _, _ in rows)
    last = {row_id: line for row_id, _, line in rows}
    missing = [row_id for row_id, count in expected.items() if counts[row_id] < count]
    unusable = [row_id for row_id in optional if row_id not in counts and row_id not in expected]
    extra = [row_id for row_id in counts if row_id not in expected and row_id not in optional]
    repeated = [
        row_id for row_id, count in counts.items() if count > max(1, expected[row_id] + optional[row_id])
    ]
    problems = []
    for severity, ids, what in (
        ("error", missing, "ids of the split have no prediction"),
        ("warning", unusable, "ids whose rows cannot be read have no prediction"),
        ("error", extra, "ids are not in the split"),
        ("error", repeated, "ids have more than one prediction"),
    ):
        if ids:
            more = ", ..." if len(ids) > LISTED else ""
            line = last.get(ids[0])
            problems.append(
                Problem(severity, path, line, f"{len(ids)} {what}: {', '.join(ids[:LISTED])}{more}")
            )
    return problems


def _other_split(
    path: Path,
    own: tuple[str, str],
    expected: Mapping[tuple[str, str], Sequence[str]],
    format: PredictionFormat,
) -> list[Problem]:
    """Names the split whose ids a file holds, where it is not its own."""
    if format.values == "tags":
        return []  # its sentences have no ids
    try:
        ids = {row_id for row_id, _, _ in _read(path, format)[0]}
    except InputError:
        return []
    if not ids or ids & set(expected[own]):
        return []
    return [
        Problem("error", str(path), None, f"holds the predictions for {task} {split}, not {own[0]} {own[1]}")
        for (task, split), others in expected.items()
        if ids <= set(others)
    ]


def _written(value, row_id: str, format: PredictionFormat, file_format: str) -> str:
    if format.values in ("text", "labels"):
        text = text_of(value, format)
        if not text.strip() or any(mark in text for mark in "\r\n"):
            raise InputError(f"{format.stem}: the prediction {text!r} for {row_id} has to be one line")
        return '"{}"'.format(text.replace('"', '""')) if any(mark in text for mark in ',"') else text
    number = float(value)
    if not math.isfinite(number):
        raise InputError(
            f"{format.stem}: the prediction for {row_id} is {number}, and only finite numbers are accepted; "
            "the model has diverged: train it with a lower learning rate"
        )
    if format.values == "number":
        return f"{number}"
    if number != int(number) or not format.lowest <= number <= format.highest:
        raise InputError(
            f"{format.stem}: the prediction {number} for {row_id} is not a whole number "
            f"from {format.lowest:g} to {format.highest:g}"
        )
    return f"{int(number)}.0" if format.values == "flag" and file_format == "code" else f"{int(number)}"


def text_of(value: Any, format: PredictionFormat) -> str:
    """Returns a prediction of labels, a label or tags as one text."""
    if format.values == "labels":
        return NEXT_LABEL.join(value) or NO_LABEL
    return " ".join(value) if isinstance(value, list | tuple) else str(value)


def written_id(row_id: str) -> str:
    """Returns an id as it is written. Raises InputError for one that is empty or not one line."""
    if not row_id.strip() or any(mark in row_id for mark in "\r\n"):
        raise InputError(f"the id {row_id!r} cannot stand in a prediction file; give ids of one line each")
    return row_id


def _checked(file_format: str) -> str:
    if file_format not in FILE_FORMATS:
        hint = did_you_mean(file_format, FILE_FORMATS)
        raise InputError(f"no dialect {file_format!r}{hint}; accepted are {' and '.join(FILE_FORMATS)}")
    return file_format


def write_tags(path: str | Path, words: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> None:
    """Writes the file whole or not at all; a sentence without words is left out.

    Raises InputError where words and tags of a sentence, or the numbers of sentences, differ.
    """
    if len(words) != len(tags):
        raise InputError(f"{len(words)} sentences and {len(tags)} lists of tags; give one list a sentence")
    blocks = []
    for number, (sentence, predicted) in enumerate(zip(words, tags, strict=True)):
        if len(sentence) != len(predicted):
            raise InputError(
                f"sentence {number} has {len(sentence)} words and {len(predicted)} tags; give a tag a word"
            )
        if sentence:
            blocks.append("".join(f"{word} {tag}\n" for word, tag in zip(sentence, predicted, strict=True)))
    with atomic_write(path) as file:
        file.write("\n".join(blocks))


def read_tags(path: str | Path) -> tuple[list[list[tuple[str, str]]], list[tuple[int, str]]]:
    """Returns sentences of (word, tag) pairs, and (line, message) of lines neither blank nor a pair."""
    sentences: list[list[tuple[str, str]]] = [[]]
    problems = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        parts = line.strip(" \t\r").split(" ")
        if parts == [""]:
            sentences.append([])
        elif len(parts) == 2:
            sentences[-1].append((parts[0], parts[1]))
        else:
            problems.append((number, f"{line.strip()!r} is not a word, a space and a tag"))
    return [sentence for sentence in sentences if sentence], problems
