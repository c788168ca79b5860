"""Probability files, `NAME-SPLIT-probabilities.csv`: comma-separated, the id and a column for each class.

Numbers are written in full, so that they are read back bit by bit. A row without text has empty cells.
"""

import csv
import io
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minbert import InputError, atomic_write
from multitask.data.records import read_text
from multitask.tasks.predictions import PredictionFormat, Problem, id_problems, listed, written_id

ROUNDING = 1e-5  # of a row's sum


class Probabilities(NamedTuple):
    """The content of a probability file; `values` (N, C) are NaN in rows without text."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    values: np.ndarray


def probability_path(folder: str | Path, format: PredictionFormat, split: str) -> Path:
    """Returns a split's file, beside the task's prediction file."""
    return Path(folder) / f"{format.stem}-{split}-probabilities.csv"


def write_probabilities(
    path: str | Path, ids: Iterable[str], classes: Sequence[Any], values: np.ndarray
) -> None:
    """Writes a row for each id, whole or not at all; `values` (N, C) are NaN in rows without text."""
    with atomic_write(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["id", *classes])
        for row_id, row in zip(ids, values.tolist(), strict=True):
            table.writerow([written_id(row_id), *("" if math.isnan(value) else value for value in row)])


def read_probabilities(path: str | Path) -> Probabilities:
    """Reads a probability file. Raises InputError, with the line, for one of another form."""
    classes, rows, malformed = _read(path)
    for line, message in malformed:
        raise InputError(f"{path}:{line}: {message}; give a file as `multitask predict` writes it")
    values = np.array([values for _, values, _ in rows], np.float64).reshape(len(rows), len(classes))
    return Probabilities(tuple(row_id for row_id, _, _ in rows), classes, values)


def validate_probabilities(
    path: str | Path,
    expected_ids: Sequence[str],
    classes: Sequence[Any],
    exclusive: bool,
    optional_ids: Collection[str] = (),
) -> list[Problem]:
    """Finds all that is wrong with one file: header, form, ids, numbers.

    The numbers of a row sum to 1 where classes are `exclusive`. `optional_ids` as in `validate_file`; empty
    rows are for these alone.
    """
    path = str(path)
    try:
        found, rows, malformed = _read(path)
    except InputError as error:
        return [Problem("error", path, None, str(error).removeprefix(f"{path}:").strip())]
    if not malformed and found != tuple(map(str, classes)):
        malformed.append((1, f"the classes are {', '.join(found)}; they are {', '.join(map(str, classes))}"))
    wrong = []
    for row_id, values, line in rows:
        empty = all(map(math.isnan, values))
        if empty and row_id not in optional_ids:
            wrong.append((line, f"{row_id} has no probabilities"))
        elif not empty and not all(0 <= value <= 1 for value in values):
            wrong.append((line, f"{row_id} has a number that is not from 0 to 1"))
        elif not empty and exclusive and abs(sum(values) - 1) > ROUNDING:
            wrong.append((line, f"the probabilities of {row_id} sum to {sum(values):g}, not to 1"))
    problems = listed("error", path, "malformed lines", malformed)
    problems += listed("error", path, "rows that are no probabilities", wrong)
    found_ids = [(row_id, "", line) for row_id, _, line in rows]
    return problems + id_problems(path, found_ids, expected_ids, optional_ids)


def _read(
    path: str | Path,
) -> tuple[tuple[str, ...], list[tuple[str, list[float], int]], list[tuple[int, str]]]:
    """Returns the classes, the rows (id, numbers, line), and (line, message) of what has another form."""
    table = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    rows, malformed = [], []
    try:
        header = next(table, [])
        if len(header) < 2 or header[0] != "id":
            return (), [], [(1, "the header has to be id and the classes, with commas between")]
        for cells in table:
            try:
                numbers = [float(cell) if cell else math.nan for cell in cells[1:]]
            except ValueError:
                numbers = []
            if len(numbers) == len(header) - 1:
                rows.append((cells[0], numbers, table.line_num))
            else:
                malformed.append((table.line_num, f"this row is not an id and {len(header) - 1} numbers"))
    except csv.Error as error:
        malformed.append((table.line_num, f"not a row ({error})"))
    return tuple(header[1:]), rows, malformed
