"""Rows as the formats give them, before their values are judged: CSV in its kinds, and JSON lines."""

import csv
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minbert import InputError

_LAST_LINE = "end"
_field_limit_lock = threading.Lock()


@dataclass(frozen=True)
class Record:
    """A row as the format gives it, before its values are judged; `problem` says why it cannot be used.

    Values are texts, but for `json_rows`.
    """

    values: dict[str, Any]
    line: int
    problem: str | None = None


def csv_records(path: str | Path, content: str, quoting: bool) -> tuple[tuple[str, ...], Iterator[Record]]:
    """Parses columns and rows, blank lines left out. Raises InputError for a missing or unreadable header."""
    # Only "\n" ends a physical line, so that line numbers are those of an editor.
    lines = list(io.StringIO(content))
    first = next((number for number, line in enumerate(lines) if line.strip(" \r\n")), None)
    if first is None:
        raise InputError(f"{path}: has no header; the first line has to name the columns")
    delimiter = "\t" if "\t" in lines[first] or Path(path).suffix.lower() == ".tsv" else ","
    parsed = iter(_csv_rows(lines, delimiter, quoting))
    start, header, problem = next(parsed)
    if problem:
        raise InputError(f"{path}:{start}: the header cannot be read: {problem}; mend that line")
    columns = tuple(name.strip() for name in header)
    return columns, (_csv_record(columns, delimiter, *row) for row in parsed)


def _csv_rows(lines: list[str], delimiter: str, quoting: bool) -> list[tuple[int, list[str], str | None]]:
    """Returns (first line, fields, problem) of each row that is not blank."""
    options = {} if quoting else {"quoting": csv.QUOTE_NONE, "quotechar": None}
    # The csv module forgives a quote that is open at the end of the file, having taken in all that follows
    # it. A line of ours at the end tells: it comes back as a row of its own, or it was taken in too.
    lines = [*lines, _LAST_LINE]
    reader = csv.reader(lines, delimiter=delimiter, **options)
    rows = []
    with _fields_of_any_length(sum(map(len, lines))):
        while True:
            start, fields, problem = reader.line_num + 1, [], None
            try:
                fields = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                lone_return = "new-line character" in str(error)
                problem = "a carriage return stands outside quotes" if lone_return else f"not a row ({error})"
            if problem or lines[start - 1].strip(" \r\n"):
                rows.append((start, fields, problem))
    start, fields, problem = rows.pop()
    if start < len(lines):
        fields = [*fields[:-1], fields[-1].removesuffix(_LAST_LINE)] if fields else []
        rows.append((start, fields, problem or "a quote opens here and is not closed before the file ends"))
    return rows


def _csv_record(
    columns: tuple[str, ...], delimiter: str, line: int, fields: list[str], problem: str | None
) -> Record:
    swallowed = delimiter == "\t" and any("\n" in field and "\t" in field for field in fields)
    if problem is None and swallowed:
        # Real text has no tabs: an unmatched quote has taken up the lines to the next quote.
        count = sum(field.count("\n") for field in fields)
        problem = (
            f"lines {line} to {line + count} stand inside one pair of quotes, tabs and all; "
            "close the quote, or read the file without quoting"
        )
    if problem is None and len(fields) != len(columns):
        problem = f"{len(fields)} fields where the header has {len(columns)}"
    values = zip(columns, fields, strict=False)
    return Record({column: field.strip() for column, field in values}, line, problem)


def json_records(path: str | Path, content: str) -> tuple[tuple[str, ...], list[Record]]:
    """Parses rows, and the columns that any of them names; a list, an object or null is an empty text."""
    columns, rows = json_rows(path, content)
    return columns, [
        replace(
            row,
            values={
                name: "" if isinstance(value, list | dict | None) else str(value).strip()
                for name, value in row.values.items()
            },
        )
        for row in rows
    ]


def json_rows(path: str | Path, content: str) -> tuple[tuple[str, ...], list[Record]]:
    """Parses the same with the values as JSON has them. Raises InputError without a row or a column."""
    columns: dict[str, None] = {}
    rows = []
    # str.splitlines would also break at U+2028, which JSON allows inside a string.
    for number, line in enumerate(io.StringIO(content), start=1):
        if line.strip():
            row = _json_row(line, number)
            columns.update(dict.fromkeys(row.values))
            rows.append(row)
    if not rows:
        raise InputError(f"{path}: has no header and no row; each line has to be one JSON object")
    if not columns:
        problem = rows[0].problem or "an object without fields"
        raise InputError(f"{path}:{rows[0].line}: {problem}; each line has to be one JSON object")
    return tuple(columns), rows


def _json_row(line: str, number: int) -> Record:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Record({}, number, f"not JSON ({error})")
    if not isinstance(row, dict):
        return Record({}, number, f"a JSON {type(row).__name__} where an object is needed")
    return Record(row, number)


@contextmanager
def _fields_of_any_length(characters: int) -> Iterator[None]:
    """Lets the csv module read fields of that many characters; its limit belongs to the whole process."""
    with _field_limit_lock:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, characters + 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)
