"""Tables of labelled text: the only place that knows the formats of input files.

The course's files are tab-separated in spite of `.csv` and quoted as the csv module quotes by default;
other tasks may bring other delimiters, JSON, Parquet or Arrow, in one file or in many. Columns are found by
name, never by position. Every data row comes back either as an example or as a reject that says why: nothing
is left out in silence. Rows are read in pieces, whenever they are iterated over: no file is held in memory
unless its rows are asked for by number.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minbert import InputError, did_you_mean
from multitask.data.records import Record, Table, TextTable, files_of, open_table

Label = int | float | str | tuple[str, ...]
LabelParser = Callable[[str], Label]
T = TypeVar("T")

# NUL, and halves of surrogate pairs, which JSON can escape and no UTF-8 file can hold.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e\+[0-9]{1,3})?")  # as Python and JSON write numbers
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Example:
    """One usable row; `label` is None in an unlabelled split; `line` (from 1) is where the row starts.

    `words` are those of a text that came as words; the label then is a tag for each of them. `file` names the
    row's own file, of a split in several. An example of a token store reads its texts when asked for them.
    """

    id: str
    texts: tuple[str, ...]
    label: Label | None
    line: int
    words: tuple[str, ...] | None = None
    file: str | None = None

    @classmethod
    def stored(cls, read: Callable[[], "Example"], **known: Any) -> "Example":
        """Returns an example whose other values `read` finds out when they are asked for."""
        example = object.__new__(cls)
        example.__dict__.update(known, _read=read)
        return example

    def __getattr__(self, name: str) -> Any:  # called where an attribute is missing
        read = self.__dict__.get("_read")
        if read is None or name not in ("texts", "label"):
            raise AttributeError(f"an example has no attribute {name!r}")
        value = self.__dict__[name] = getattr(read(), name)
        return value

    @property
    def text_hashes(self) -> Sequence[int]:
        """8 bytes that stand for each text, as unsigned numbers."""
        known = self.__dict__.get("_text_hashes")
        return hash_texts(self.texts) if known is None else known


def hash_texts(texts: Iterable[str]) -> tuple[int, ...]:
    """Returns 8 bytes that stand for each text, as unsigned numbers."""
    return tuple(
        int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        for text in texts
    )


@dataclass(frozen=True)
class Reject:
    """One row that cannot be used, and why; `id` and `texts` as far as readable; `row` counts from 0.

    `file` names the row's own file, of a split in several.
    """

    id: str | None
    texts: tuple[str, ...]
    line: int
    reason: str
    row: int
    file: str | None = None


Row = Example | Reject


class Summary(NamedTuple):
    """Counts of a split that was read to its end; `dropped` rows are usable and not for the task.

    `labels` counts them in the order of their appearance, but for floats.
    """

    rows: int
    dropped: int
    labels: Counter


class Source:
    """The rows of one or more tables, read anew at each pass. `files` are their paths, `rows` what is made.

    `make` gets a record, its table, its number over all files and the lines of the files before.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        make: Callable[[Record, Table, int, int], Row | None],
    ):
        self.tables = tables
        self.make = make
        self._summary: Summary | None = None

    @property
    def files(self) -> list[Path]:
        return [table.path for table in self.tables]

    def entries(self) -> Iterator[tuple[int, int, Row | None]]:
        """Yields the number of the file, the place in it, and the row; None for one that was dropped."""
        number = lines = 0
        for index, table in enumerate(self.tables):
            for record in table.records():
                yield index, record.place, self.make(record, table, number, lines)
                number += 1
            lines += table.lines

    def read(self, file: int, place: int) -> Row | None:
        """Reads one row again; its line counts from there, and a number that is its id is wrong."""
        table = self.tables[file]
        return self.make(table.record_at(place), table, 0, 0)

    def changed(self, change: Callable[[Row], Row | None]) -> "Source":
        """Returns the source with each row changed, or dropped where `change` returns None."""
        make = self.make

        def made(*arguments: Any) -> Row | None:
            row = make(*arguments)
            return None if row is None else change(row)

        return Source(self.tables, made)

    @property
    def summary(self) -> Summary:
        """Returns the counts, by one pass over the files; a token store keeps them."""
        if self._summary is None:
            rows = dropped = 0
            labels: Counter = Counter()
            for _, _, row in self.entries():
                dropped += row is None
                if isinstance(row, Example):
                    rows += 1
                    if row.label is not None and not isinstance(row.label, float):
                        labels[row.label] += 1
            self._summary = Summary(rows, dropped, labels)
        return self._summary

    @summary.setter
    def summary(self, summary: Summary) -> None:
        self._summary = summary


class SourceRows(Sequence[T]):
    """The rows of a kind in a source: an iteration reads the files, a length or an index keeps what was read.

    Equal to a sequence of equal rows.
    """

    def __init__(self, source: Source, kind: Any = Example):
        self.source = source
        self.kind = kind
        self._kept: tuple[T, ...] | None = None

    def __iter__(self) -> Iterator[T]:
        if self._kept is not None:
            return iter(self._kept)
        return (row for _, _, row in self.source.entries() if isinstance(row, self.kind))

    def _rows(self) -> tuple[T, ...]:
        if self._kept is None:
            self._kept = tuple([row for row in self])  # not tuple(self), which would ask for the length
        return self._kept

    def __len__(self) -> int:
        return len(self._rows())

    def __getitem__(self, index):
        return self._rows()[index]

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._rows() == tuple(other)

    __hash__ = None

    def __repr__(self) -> str:
        return repr(self._rows())


@dataclass(frozen=True)
class Examples:
    """A split's rows and rejects in the order of its files; `labelled`: whether these have the label column.

    Both are sequences, of tables such that are read when iterated over.
    """

    path: str
    rows: Sequence[Example]
    rejects: Sequence[Reject] = ()
    columns: tuple[str, ...] = ()
    labelled: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def source(self) -> Source | None:
        """The files that the rows are read from; None for rows in memory."""
        return getattr(self.rows, "source", None)

    def in_memory(self) -> "Examples":
        """Returns the same with rows and rejects in memory, read in one pass."""
        if self.source is None:
            return self
        read = [row for _, _, row in self.source.entries() if row is not None]
        rows = tuple(row for row in read if isinstance(row, Example))
        return replace(self, rows=rows, rejects=tuple(row for row in read if isinstance(row, Reject)))

    def in_file_order(self) -> Sequence[Row]:
        """Returns usable rows and rejects together, as they stand in the files."""
        if self.source is not None:
            return SourceRows(self.source, Row)
        return tuple(sorted((*self.rows, *self.rejects), key=lambda row: (row.file or "", row.line)))

    def changed(self, change: Callable[[Row], Row | None]) -> "Examples":
        """Returns these with each row and reject changed; `change` returns None for a row to drop."""
        if self.source is not None:
            return _of_source(self.source.changed(change), self.path, self.columns, self.labelled)
        made = [row for row in map(change, self.in_file_order()) if row is not None]
        rows = tuple(row for row in made if isinstance(row, Example))
        return replace(self, rows=rows, rejects=tuple(row for row in made if isinstance(row, Reject)))


def _of_source(source: Source, path: str | Path, columns: tuple[str, ...], labelled: bool) -> Examples:
    return Examples(str(path), SourceRows(source), SourceRows(source, Reject), columns, labelled)


def read_table(
    path: str | Path,
    *,
    texts: Sequence[str],
    label: str | None,
    parse_label: LabelParser | None,
    quoting: bool = True,
    delimiter: str | None = None,
    lists: bool = False,
) -> Examples:
    """Reads the rows of a table with the columns `texts`, and the rows that cannot be used.

    Without a `label` column in the file all labels are None; `parse_label=None` keeps labels as text.
    `parse_label` refuses a value with a ValueError, which makes the row a reject. ids are those of a column
    "id", else row numbers from 0. For the formats see `open_table`. `quoting=False` takes quotes as plain
    characters; `lists=True` gives lists of labels as JSON writes them. Blank lines are not rows. `path` may
    be a folder or a glob pattern: its files are read one after the other, sorted by name, and row numbers go
    on.
    Raises InputError for a file or a column that cannot be read, and for files with and without labels.
    """
    wanted = ["id", *texts, *([label] if label is not None else [])]
    kept = (label,) if lists else ()
    tables = [open_table(file, wanted, quoting, delimiter, kept) for file in files_of(path)]
    for table in tables:
        _check_columns(table, texts, label)
    labelled = label in tables[0].columns
    for table in tables[1:]:
        if (label in table.columns) != labelled:
            raise InputError(
                f"{table.path}: has {'no' if labelled else 'a'} column {label!r}, unlike {tables[0].path}; "
                f"give all files of a split the same columns"
            )

    def make(record: Record, table: Table, number: int, lines: int) -> Row:
        file = str(table.path) if len(tables) > 1 else None
        row_id = str(number) if "id" not in table.columns else record.values.get("id") or None
        row_texts = tuple([record.values[column] for column in texts if column in record.values])
        try:
            value = _usable_label(record, row_id, texts, label if labelled else None, parse_label, lists)
        except ValueError as error:
            return Reject(row_id, row_texts, record.line, str(error), number, file)
        return Example(row_id, row_texts, value, record.line, None, file)

    return _of_source(Source(tables, make), path, tables[0].columns, labelled)


def _check_columns(table: Table, texts: Sequence[str], label: str | None) -> None:
    """Raises InputError for a table without one of the texts, and with two columns of a name that is read."""
    path, columns = table.path, table.columns
    for column in texts:
        if column not in columns:
            raise InputError(
                f"{path}: no column {column!r}{did_you_mean(column, columns)}; "
                f"the file has {_listed(columns)}; name the column that holds it"
            )
    for column in {*texts, "id", label}:
        if columns.count(column) > 1:
            raise InputError(f"{path}: the header names the column {column!r} twice; rename one of them")


def column_names(path: str | Path, delimiter: str | None = None) -> tuple[str, ...]:
    """Returns the names of a table's columns, as `read_table` finds them."""
    return open_table(files_of(path)[0], delimiter=delimiter).columns


def read_lines(path: str | Path) -> Examples:
    """Reads plain text: an unlabelled example of one text a line, its id the line's number from 1.

    Blank lines are not rows. `path` may be a folder or a glob pattern, as for `read_table`. Raises InputError
    for a file that cannot be read or has only blank lines.
    """
    tables = [TextTable(file) for file in files_of(path)]

    def make(record: Record, table: Table, number: int, lines: int) -> Row:
        text, file = record.values["text"], str(table.path) if len(tables) > 1 else None
        row_id = str(lines + record.line)
        if _NO_TEXT.search(text):
            reason = "the text holds a NUL character or half of a surrogate pair"
            return Reject(row_id, (text,), record.line, reason, number, file)
        return Example(row_id, (text,), None, record.line, None, file)

    if all(next(table.records(), None) is None for table in tables):
        raise InputError(f"{path}: has no text; give a file with one text a line")
    return _of_source(Source(tables, make), path, (), False)


def hashes_of(examples: Sequence[Example]) -> np.ndarray:
    """Returns 8 bytes for each text of each example, (N, K) unsigned numbers."""
    hashes = getattr(examples, "text_hashes", None)  # of a token store, from an array
    if hashes is None:
        found = [hash_texts(example.texts) for example in examples]
        hashes = np.array(found, np.uint64).reshape(len(found), -1)
    return hashes


def label_counts(examples: Iterable[Example]) -> Counter:
    """Returns the labels and how often each stands there, in the order of their appearance."""
    count = getattr(examples, "label_counts", None)  # of a token store, from an array
    return Counter(example.label for example in examples) if count is None else count()


def labels_of(examples: Iterable[Example]) -> Iterable[Any]:
    """Returns the labels, one an example."""
    labels = getattr(examples, "labels", None)
    return [example.label for example in examples] if labels is None else labels


def integer_label(lowest: int, highest: int) -> Callable[[str], int]:
    """Returns a parser for whole numbers from `lowest` to `highest`: takes "3" and "1.0", rounds nothing."""

    def parse(text: str) -> int:
        value = _number(text, lowest, highest)
        if value != int(value):
            raise ValueError(f"{text!r} is not a whole number")
        return int(value)

    return parse


def class_name(text: str) -> str:
    """Returns the name of the class that a label means: "1" for `1`, `1.0` and a JSON `1.0`."""
    if ("." in text or "e" in text) and _NUMBER.fullmatch(text):
        value = Decimal(text)
        return str(int(value)) if value == value.to_integral_value() else text
    return text


def number_label(lowest: float, highest: float) -> Callable[[str], float]:
    """Returns a parser for numbers from `lowest` to `highest`, which stay floats."""
    return lambda text: _number(text, lowest, highest)


def _usable_label(
    record: Record,
    row_id: str | None,
    texts: Sequence[str],
    label: str | None,
    parse_label: LabelParser | None,
    lists: bool,
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
    if label is None:
        return None
    value = record.values.get(label)
    if not value:
        raise ValueError(f"the label {label!r} is empty{'; write [] for a row without labels' * lists}")
    try:
        return parse_label(value) if parse_label else value
    except ValueError as error:
        reason = str(error)
        if len(reason) > _LONGEST_REASON:
            reason = f"{reason[:_LONGEST_REASON]} ..."
        raise ValueError(f"the label {label!r} cannot be used: {reason}") from None


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
