"""Tables of labelled text: the only place that knows the formats of input files.

The course's files are tab-separated in spite of `.csv` and quoted as the csv module quotes by default;
other tasks may bring commas or JSON lines. Columns are found by name, never by position. Every data row
comes back either as an example or as a reject that says why: nothing is left out in silence.
"""

import csv
import io
import json
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minbert import InputError, did_you_mean

Label = int | float | str
LabelParser = Callable[[str], Label]

# NUL, and halves of surrogate pairs, which JSON can escape and no UTF-8 file can hold.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_LAST_LINE = "end"
_field_limit_lock = threading.Lock()


@dataclass(frozen=True)
class Example:
    """One usable row; `label` is None in an unlabelled split; `line` (from 1) is where the row starts."""

    id: str
    texts: tuple[str, ...]
    label: Label | None
    line: int


@dataclass(frozen=True)
class Reject:
    """One row that cannot be used, and why; `id` and `texts` as far as readable; `row` counts from 0."""

    id: str | None
    texts: tuple[str, ...]
    line: int
    reason: str
    row: int


@dataclass(frozen=True)
class Examples:
    """A file's rows and rejects in the file's order; `labelled`: whether it has the label column."""

    path: str
    rows: tuple[Example, ...]
    rejects: tuple[Reject, ...]
    columns: tuple[str, ...] = ()
    labelled: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def in_file_order(self) -> tuple[Example | Reject, ...]:
        """Usable rows and rejects together, as they stand in the file."""
        return tuple(sorted((*self.rows, *self.rejects), key=lambda row: row.line))


@dataclass(frozen=True)
class _Record:
    """A row as the format gives it, before its values are judged; `problem` says why it is no row."""

    values: dict[str, str]
    line: int
    problem: str | None = None


def read_table(
    path: str | Path,
    *,
    texts: Sequence[str],
    label: str | None,
    parse_label: LabelParser | None,
    id: str | None = "id",
    delimiter: str | None = None,
    quoting: bool = True,
) -> Examples:
    """The rows of a table with the columns `texts`, and the rows that cannot be used.

    Without a `label` column in the file all labels are None; `parse_label=None` keeps labels as text.
    `parse_label` refuses a value with a ValueError, which makes the row a reject. Where the file has no
    column `id` (or `id=None`), ids are row numbers from 0; another name than "id" has to be there.
    `delimiter=None` decides: `.jsonl`/`.ndjson` are JSON lines, `.tsv` or a header with a tab is
    tab-separated, all else comma-separated. `quoting=False` takes quotes as plain characters.
    Blank lines are not rows. Raises InputError for a file or a column that cannot be read.
    """
    content = read_text(path)
    if delimiter is None and Path(path).suffix.lower() in (".jsonl", ".ndjson"):
        columns, records = _json_records(path, content)
    else:
        columns, records = _csv_records(path, content, delimiter, quoting)
    needed = [*texts, *([id] if id not in (None, "id") else [])]
    for column in needed:
        if column not in columns:
            raise InputError(
                f"{path}: no column {column!r}{did_you_mean(column, columns)}; "
                f"the file has {_listed(columns)}; name the column that holds it"
            )
    id_column = id if id in columns else None
    label_column = label if label in columns else None
    for column in {*needed, id_column, label_column}:
        if columns.count(column) > 1:
            raise InputError(f"{path}: the header names the column {column!r} twice; rename one of them")
    rows, rejects = [], []
    for number, record in enumerate(records):
        row_id = str(number) if id_column is None else record.values.get(id_column) or None
        row_texts = tuple(record.values[column] for column in texts if column in record.values)
        try:
            value = _usable_label(record, row_id, texts, label_column, parse_label)
        except ValueError as error:
            rejects.append(Reject(row_id, row_texts, record.line, str(error), number))
        else:
            rows.append(Example(row_id, row_texts, value, record.line))
    return Examples(str(path), tuple(rows), tuple(rejects), columns, label_column is not None)


def integer_label(lowest: int, highest: int) -> Callable[[str], int]:
    """A parser for whole numbers from `lowest` to `highest`: takes "3" and "1.0", never rounds "2.4"."""

    def parse(text: str) -> int:
        value = _number(text, lowest, highest)
        if value != int(value):
            raise ValueError(f"{text!r} is not a whole number")
        return int(value)

    return parse


def number_label(lowest: float, highest: float) -> Callable[[str], float]:
    """A parser for numbers from `lowest` to `highest`, which stay floats."""
    return lambda text: _number(text, lowest, highest)


def read_text(path: str | Path) -> str:
    """A UTF-8 file's text without byte order mark, line ends as they are; InputError says file and line."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(
            f"{path}: no such file{did_you_mean(path.name, near)}; give an existing file"
        ) from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, and a file is needed; name a file inside it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check path and permissions") from error
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise InputError(
            f"{path}:{line}: byte 0x{byte:02x} is not UTF-8 text; only UTF-8 is read; save the file as UTF-8"
        ) from None


def _usable_label(
    record: _Record,
    row_id: str | None,
    texts: Sequence[str],
    label_column: str | None,
    parse_label: LabelParser | None,
) -> Label | None:
    """The row's label; ValueError with the reason where the row cannot be used."""
    if record.problem:
        raise ValueError(record.problem)
    if row_id is None:
        raise ValueError("the id is empty")
    for column in texts:
        text = record.values.get(column, "")
        if not text:
            raise ValueError(f"the text {column!r} is empty or not text")
        if _NO_TEXT.search(text):
            raise ValueError(f"the text {column!r} holds a NUL character or half of a surrogate pair")
    if _NO_TEXT.search(row_id):
        raise ValueError("the id holds a NUL character or half of a surrogate pair")
    if label_column is None:
        return None
    value = record.values.get(label_column)
    if not value:
        raise ValueError(f"the label {label_column!r} is empty")
    try:
        return parse_label(value) if parse_label else value
    except ValueError as error:
        raise ValueError(f"the label {label_column!r} cannot be used: {error}") from None


def _csv_records(
    path: str | Path, content: str, delimiter: str | None, quoting: bool
) -> tuple[tuple[str, ...], Iterator[_Record]]:
    # Only "\n" ends a physical line, so that line numbers are those of an editor.
    lines = list(io.StringIO(content))
    first = next((number for number, line in enumerate(lines) if line.strip(" \r\n")), None)
    if delimiter is not None and len(delimiter) != 1:
        raise InputError(f"{path}: the delimiter {delimiter!r} is not one character; give one, such as ','")
    if first is None:
        raise InputError(f"{path}: holds no header; the first line has to name the columns")
    if delimiter is None:
        delimiter = "\t" if "\t" in lines[first] or Path(path).suffix.lower() == ".tsv" else ","
    parsed = iter(_csv_rows(lines, delimiter, quoting))
    start, header, problem = next(parsed)
    if problem:
        raise InputError(f"{path}:{start}: the header cannot be read: {problem}; mend that line")
    columns = tuple(name.strip() for name in header)
    return columns, (_csv_record(columns, delimiter, *row) for row in parsed)


def _csv_rows(lines: list[str], delimiter: str, quoting: bool) -> list[tuple[int, list[str], str | None]]:
    """(first line, fields, problem) of each row that is not blank."""
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
) -> _Record:
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
    return _Record({column: field.strip() for column, field in values}, line, problem)


def _json_records(path: str | Path, content: str) -> tuple[tuple[str, ...], list[_Record]]:
    columns: dict[str, None] = {}
    records = []
    # str.splitlines would also break at U+2028, which JSON allows inside a string.
    for number, line in enumerate(io.StringIO(content), start=1):
        if line.strip():
            record = _json_record(line, number)
            columns.update(dict.fromkeys(record.values))
            records.append(record)
    if not records:
        raise InputError(f"{path}: holds no header and no row; each line has to be one JSON object")
    if not columns:
        problem = records[0].problem or "an object without fields"
        raise InputError(f"{path}:{records[0].line}: {problem}; each line has to be one JSON object")
    return tuple(columns), records


def _json_record(line: str, number: int) -> _Record:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _Record({}, number, f"not JSON ({error})")
    if not isinstance(row, dict):
        return _Record({}, number, f"a JSON {type(row).__name__} where an object is needed")
    values = {
        name: "" if isinstance(value, list | dict | None) else str(value).strip()
        for name, value in row.items()
    }
    return _Record(values, number)


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


def _number(text: str, lowest: float, highest: float) -> float:
    try:
        # float() also takes "1_0" and digits of other scripts, which no label means.
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    if not lowest <= value <= highest:
        raise ValueError(f"{text!r} is not between {lowest} and {highest}")
    return value


def _listed(columns: Sequence[str]) -> str:
    """The column names in quotes; long ones (a text, where a file has no header) and many are cut."""
    names = [repr(name if len(name) <= 40 else name[:37] + "...") for name in columns[:12]]
    more = f" and {len(columns) - 12} more" if len(columns) > 12 else ""
    return ", ".join(names) + more
