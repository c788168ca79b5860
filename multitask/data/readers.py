"""Tables of labelled text: the only place that knows the formats of input files.

The course's files are tab-separated in spite of `.csv` and quoted as the csv module quotes by default;
other tasks may bring commas or JSON lines. Columns are found by name, never by position. Every data row
comes back either as an example or as a reject that says why: nothing is left out in silence.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbert import InputError, did_you_mean
from multitask.data.records import Record, csv_records, json_records

Label = int | float | str | tuple[str, ...]
LabelParser = Callable[[str], Label]

# NUL, and halves of surrogate pairs, which JSON can escape and no UTF-8 file can hold.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Example:
    """One usable row; `label` is None in an unlabelled split; `line` (from 1) is where the row starts.

    `words` are those of a text that came as words; the label then is a tag for each of them.
    """

    id: str
    texts: tuple[str, ...]
    label: Label | None
    line: int
    words: tuple[str, ...] | None = None


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
        """Returns usable rows and rejects together, as they stand in the file."""
        return tuple(sorted((*self.rows, *self.rejects), key=lambda row: row.line))


def read_table(
    path: str | Path,
    *,
    texts: Sequence[str],
    label: str | None,
    parse_label: LabelParser | None,
    quoting: bool = True,
) -> Examples:
    """Reads the rows of a table with the columns `texts`, and the rows that cannot be used.

    Without a `label` column in the file all labels are None; `parse_label=None` keeps labels as text.
    `parse_label` refuses a value with a ValueError, which makes the row a reject. ids are those of a column
    "id", else row numbers from 0. `.jsonl` and `.ndjson` are JSON lines, `.tsv` or a header with a tab is
    tab-separated, all else comma-separated. `quoting=False` takes quotes as plain characters.
    Blank lines are not rows. Raises InputError for a file or a column that cannot be read.
    """
    columns, records = _records(path, quoting)
    for column in texts:
        if column not in columns:
            raise InputError(
                f"{path}: no column {column!r}{did_you_mean(column, columns)}; "
                f"the file has {_listed(columns)}; name the column that holds it"
            )
    id_column = "id" if "id" in columns else None
    label_column = label if label in columns else None
    for column in {*texts, id_column, label_column}:
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


def column_names(path: str | Path) -> tuple[str, ...]:
    """Returns the names of a table's columns, as `read_table` finds them."""
    return _records(path, quoting=True)[0]


def read_lines(path: str | Path) -> Examples:
    """Reads plain text: an unlabelled example of one text a line, its id the line's number from 1.

    Blank lines are not rows. Raises InputError for a file that cannot be read or has only blank lines.
    """
    rows, rejects = [], []
    for number, line in enumerate(io.StringIO(read_text(path)), start=1):
        text = line.strip()
        if _NO_TEXT.search(text):
            reason = "the text holds a NUL character or half of a surrogate pair"
            rejects.append(Reject(str(number), (text,), number, reason, len(rows) + len(rejects)))
        elif text:
            rows.append(Example(str(number), (text,), None, number))
    if not rows and not rejects:
        raise InputError(f"{path}: has no text; give a file with one text a line")
    return Examples(str(path), tuple(rows), tuple(rejects))


def integer_label(lowest: int, highest: int) -> Callable[[str], int]:
    """Returns a parser for whole numbers from `lowest` to `highest`: takes "3" and "1.0", rounds nothing."""

    def parse(text: str) -> int:
        value = _number(text, lowest, highest)
        if value != int(value):
            raise ValueError(f"{text!r} is not a whole number")
        return int(value)

    return parse


def number_label(lowest: float, highest: float) -> Callable[[str], float]:
    """Returns a parser for numbers from `lowest` to `highest`, which stay floats."""
    return lambda text: _number(text, lowest, highest)


def read_text(path: str | Path) -> str:
    """Reads a UTF-8 file without its byte order mark, line ends as they are; InputError has file and line."""
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


def _records(path: str | Path, quoting: bool) -> tuple[tuple[str, ...], Iterable[Record]]:
    """Reads a table's columns and rows, in the format that its name or its header tells."""
    content = read_text(path)
    return json_records(path, content) if is_json_lines(path) else csv_records(path, content, quoting)


def is_json_lines(path: str | Path) -> bool:
    """Returns True if the file's name says that each of its lines is a JSON object."""
    return Path(path).suffix.lower() in (".jsonl", ".ndjson")


def _usable_label(
    record: Record,
    row_id: str | None,
    texts: Sequence[str],
    label_column: str | None,
    parse_label: LabelParser | None,
) -> Label | None:
    """Returns the row's label. Raises ValueError with the reason for a row that cannot be used."""
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
    """Returns the column names in quotes; long ones (a text, in a file without header) and many are cut."""
    names = [repr(name if len(name) <= 40 else name[:37] + "...") for name in columns[:12]]
    more = f" and {len(columns) - 12} more" if len(columns) > 12 else ""
    return ", ".join(names) + more
