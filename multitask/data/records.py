"""Rows as the formats give them, before their values are judged: CSV, JSON lines, plain text, Parquet, Arrow.

Files are read in pieces. Parquet and Arrow need the extra `data`.

A record's `place` is where it can be read again without what stands before it: the byte at which it begins,
in Parquet and Arrow files its number.
"""

import csv
import io
import json
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from minbert import InputError, did_you_mean

COLUMNAR = (".parquet", ".arrow", ".feather")
ROWS_AT_ONCE = 1024
SEEN = (
    1000  # rows of a JSON lines file that say which columns it has; more are read only where one is missing
)
_LAST_LINE = "end"
_field_limit_lock = threading.Lock()


class Record(NamedTuple):
    """A row as the format gives it, before its values are judged; `problem` says why it cannot be used.

    Values are texts, but for `json_rows`.
    """

    values: dict[str, Any]
    line: int
    problem: str | None = None
    place: int = 0


class Lines(Iterator[str]):
    """The lines of a UTF-8 file without its byte order mark, from byte `offset` on, with their ends.

    Only "\\n" ends a line, so that numbers are those of an editor. `offset` is where the next line begins,
    `number` counts the lines so far. Raises InputError, with file and line, for bytes that are not UTF-8.
    """

    def __init__(self, path: Path, file: IO[bytes], offset: int = 0):
        self.path = path
        self.file = file
        self.offset = offset
        self.number = 0
        file.seek(offset)

    def __next__(self) -> str:
        raw = self.file.readline()
        if not raw:
            raise StopIteration
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.path}:{self.number + 1}: byte 0x{raw[error.start]:02x} is not UTF-8 text; only UTF-8 "
                f"is read; save the file as UTF-8"
            ) from None
        if not self.offset:
            line = line.removeprefix("\ufeff")
        self.offset += len(raw)
        self.number += 1
        return line


class Table:
    """A file of rows. `columns` are its columns' names, `lines` counts its lines once it was read."""

    columns: tuple[str, ...]
    lines = 0

    def __init__(self, path: Path):
        self.path = path

    def records(self) -> Iterator[Record]:
        """Yields all rows; blank lines are not rows."""
        raise NotImplementedError

    def record_at(self, place: int) -> Record:
        """Returns the row at a place that `records` gave; its line counts from there."""
        raise NotImplementedError


def open_table(
    path: Path, wanted: Collection[str] = (), quoting: bool = True, lists: Collection[str] = ()
) -> Table:
    """Opens a table in the format that its name or its header tells, to read the columns `wanted`.

    A list in a column of `lists` becomes the text that JSON has for it; in another one it is an empty text.
    `.jsonl` and `.ndjson` are JSON lines, `.parquet`, `.arrow` and `.feather` what they say, all else is CSV.
    Raises InputError for a file that cannot be read.
    """
    if is_json_lines(path):
        return JsonTable(path, wanted, lists)
    if path.suffix.lower() in COLUMNAR:
        return ColumnarTable(path, wanted, lists)
    return CsvTable(path, quoting)


def is_json_lines(path: str | Path) -> bool:
    """Returns True if the file's name says that each of its lines is a JSON object."""
    return Path(path).suffix.lower() in (".jsonl", ".ndjson")


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file of data. Raises InputError, with the nearest name, for one that cannot be read."""
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(
            f"{path}: no such file{did_you_mean(path.name, near)}; give an existing file"
        ) from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, and a file is needed; name a file inside it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check path and permissions") from error
    with file:
        yield file


def read_text(path: str | Path) -> str:
    """Reads a UTF-8 file without its byte order mark, line ends as they are; InputError has file and line."""
    with open_binary(Path(path)) as file:
        return "".join(Lines(Path(path), file))


# --- CSV ----------------------------------------------------------------------------------------------------


class CsvTable(Table):
    """Comma-separated, or tab-separated where the name ends in .tsv or the header has a tab.

    `quoting=False` takes quotes as plain characters. Raises InputError for a missing or unreadable header.
    """

    def __init__(self, path: Path, quoting: bool = True):
        super().__init__(path)
        self._options = {} if quoting else {"quoting": csv.QUOTE_NONE, "quotechar": None}
        self._delimiter = ","
        with open_binary(path) as file:
            first = next((line for line in Lines(path, file) if line.strip(" \r\n")), None)
            if first is None:
                raise InputError(f"{path}: has no header; the first line has to name the columns")
            if "\t" in first or path.suffix.lower() == ".tsv":
                self._delimiter = "\t"
            _, line, header, problem = next(self._rows(file, at_once=1))
        if problem:
            raise InputError(f"{path}:{line}: the header cannot be read: {problem}; mend that line")
        self.columns = tuple(name.strip() for name in header)

    def records(self) -> Iterator[Record]:
        with open_binary(self.path) as file:
            rows = self._rows(file)
            next(rows)  # the header
            for place, line, fields, problem in rows:
                yield self._record(place, line, fields, problem)

    def record_at(self, place: int) -> Record:
        with open_binary(self.path) as file:
            return self._record(*next(self._rows(file, place, at_once=1)))

    def _rows(
        self, file: IO[bytes], place: int = 0, at_once: int = ROWS_AT_ONCE
    ) -> Iterator[tuple[int, int, list[str], str | None]]:
        """Yields (place, first line, fields, problem) of each row that is not blank."""
        lines = _WithEnd(self.path, file, place)
        reader = csv.reader(lines, delimiter=self._delimiter, **self._options)
        size = file.seek(0, io.SEEK_END)
        file.seek(place)
        while not lines.ended:
            rows = []
            with _fields_of_any_length(size):
                while len(rows) < at_once and not lines.ended:
                    row = self._row(reader, lines)
                    if row is not None:
                        rows.append(row)
            yield from rows
        self.lines = lines.number - 1

    def _row(self, reader: Any, lines: "_WithEnd") -> tuple[int, int, list[str], str | None] | None:
        """Returns the next row; None for a blank line and for the line at the end that the file has not."""
        place, line, fields, problem = lines.offset, lines.number + 1, [], None
        try:
            fields = next(reader)
        except csv.Error as error:
            lone_return = "new-line character" in str(error)
            problem = "a carriage return stands outside quotes" if lone_return else f"not a row ({error})"
        if lines.ended:
            if lines.number == line:
                return None
            fields = [*fields[:-1], fields[-1].removesuffix(_LAST_LINE)] if fields else []
            problem = problem or "a quote opens here and is not closed before the file ends"
        elif not problem and len(fields) < 2 and lines.number == line and not lines.last.strip(" \r\n"):
            return None
        return place, line, fields, problem

    def _record(self, place: int, line: int, fields: list[str], problem: str | None) -> Record:
        if problem is None and self._delimiter == "\t":
            # Real text has no tabs: an unmatched quote has taken up the lines to the next quote.
            if any("\n" in field and "\t" in field for field in fields):
                count = sum(field.count("\n") for field in fields)
                problem = (
                    f"lines {line} to {line + count} stand inside one pair of quotes, tabs and all; "
                    "close the quote, or read the file without quoting"
                )
        if problem is None and len(fields) != len(self.columns):
            problem = f"{len(fields)} fields where the header has {len(self.columns)}"
        values = zip(self.columns, fields, strict=False)
        return Record({column: field.strip() for column, field in values}, line, problem, place)


class _WithEnd(Lines):
    """Lines, and one of ours at the end of the file.

    The csv module forgives a quote that is open at the end of the file, having taken in all that follows it.
    The last line tells: it comes back as a row of its own, or it was taken in too.
    """

    ended = False
    last = ""

    def __next__(self) -> str:
        try:
            self.last = super().__next__()
        except StopIteration:
            if self.ended:
                raise
            self.ended = True
            self.number += 1
            self.last = _LAST_LINE
        return self.last


@contextmanager
def _fields_of_any_length(characters: int) -> Iterator[None]:
    """Lets the csv module read fields of that many characters; its limit belongs to the whole process."""
    with _field_limit_lock:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, characters + len(_LAST_LINE) + 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)


# --- JSON lines ---------------------------------------------------------------------------------------------


class JsonTable(Table):
    """JSON lines; an object, null, or a list but in `lists`, is an empty text. InputError without any row.

    Columns are those of the first SEEN rows, and those of `wanted` that any row names.
    """

    def __init__(self, path: Path, wanted: Collection[str] = (), lists: Collection[str] = ()):
        super().__init__(path)
        self._lists = lists
        columns: dict[str, None] = {}
        first, count = None, 0
        for record in _json_lines(path):
            first, count = first or record, count + 1
            columns.update(dict.fromkeys(record.values))
            if columns and count >= SEEN:
                break
        _check_columns(path, columns, first)
        missing = {*wanted} - columns.keys()
        if missing and count >= SEEN:
            columns.update(dict.fromkeys(name for name in wanted if name in _named_later(path, missing)))
        self.columns = tuple(columns)

    def records(self) -> Iterator[Record]:
        for record in _json_lines(self.path):
            self.lines = record.line
            yield self._as_texts(record)

    def record_at(self, place: int) -> Record:
        return self._as_texts(next(_json_lines(self.path, place)))

    def _as_texts(self, record: Record) -> Record:
        values = {name: _as_text(value, name in self._lists) for name, value in record.values.items()}
        return record._replace(values=values)


def _named_later(path: Path, missing: set[str]) -> set[str]:
    """Returns which of the names some row of the file has; parses only lines that hold one of them."""
    spelled = {spelling.encode() for name in missing for spelling in (json.dumps(name), f'"{name}"')}
    found: set[str] = set()
    with open_binary(path) as file:
        for line in file:
            if any(name in line for name in spelled) or b"\\u" in line:
                found |= missing & _json_row(line.decode(errors="replace"), 0).values.keys()
            if found == missing:
                break
    return found


def json_rows(path: str | Path) -> tuple[tuple[str, ...], list[Record]]:
    """Returns columns and rows with the values as JSON has them. Raises InputError without either."""
    rows = [*_json_lines(Path(path))]
    columns = dict.fromkeys(name for row in rows for name in row.values)
    _check_columns(path, columns, rows[0] if rows else None)
    return tuple(columns), rows


def _check_columns(path: str | Path, columns: Collection[str], first: Record | None) -> None:
    if first is None:
        raise InputError(f"{path}: has no header and no row; each line has to be one JSON object")
    if not columns:
        problem = first.problem or "an object without fields"
        raise InputError(f"{path}:{first.line}: {problem}; each line has to be one JSON object")


def _json_lines(path: Path, place: int = 0) -> Iterator[Record]:
    with open_binary(path) as file:
        lines = Lines(path, file, place)
        for line in lines:
            if line.strip():
                yield _json_row(line, lines.number)._replace(place=place)
            place = lines.offset


def _json_row(line: str, number: int) -> Record:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Record({}, number, f"not JSON ({error})")
    if not isinstance(row, dict):
        return Record({}, number, f"a JSON {type(row).__name__} where an object is needed")
    return Record(row, number)


# --- plain text ---------------------------------------------------------------------------------------------


class TextTable(Table):
    """Plain text, a row a line, in the column "text"."""

    columns = ("text",)

    def records(self) -> Iterator[Record]:
        yield from self._records(0)

    def record_at(self, place: int) -> Record:
        return next(self._records(place))

    def _records(self, place: int) -> Iterator[Record]:
        with open_binary(self.path) as file:
            lines = Lines(self.path, file, place)
            for line in lines:
                self.lines = lines.number
                if text := line.strip():
                    yield Record({"text": text}, lines.number, None, place)
                place = lines.offset


# --- Parquet and Arrow --------------------------------------------------------------------------------------


class ColumnarTable(Table):
    """Parquet, and Arrow's files and streams; a row's line is its number from 1.

    Values become texts as in JSON lines. Raises InputError without
    pyarrow, and for a file that is not one of the two.
    """

    def __init__(self, path: Path, wanted: Collection[str] = (), lists: Collection[str] = ()):
        super().__init__(path)
        self._lists = lists
        with open_binary(path):
            pass
        try:
            import pyarrow
        except ImportError:
            raise InputError(
                f'{path}: {path.suffix} files need pyarrow; pip install "minbert[data]", or give CSV or JSONL'
            ) from None
        self._error = pyarrow.ArrowException
        with self._open() as reader:
            schema = reader.schema_arrow if path.suffix.lower() == ".parquet" else reader.schema
            self.columns = tuple(schema.names)
        self._wanted = [column for column in self.columns if column in wanted]
        self._kept: tuple[int, list[Record]] = (0, [])  # the batch that `record_at` read last

    def records(self) -> Iterator[Record]:
        for rows in self._batches():
            yield from rows
            self.lines = rows[-1].line if rows else self.lines

    def record_at(self, place: int) -> Record:
        start, rows = self._kept
        if not start <= place < start + len(rows):
            start = 0
            for rows in self._batches():
                if place < start + len(rows):
                    break
                start += len(rows)
            self._kept = start, rows
        return rows[place - start]

    @contextmanager
    def _open(self) -> Iterator[Any]:
        import pyarrow
        from pyarrow import ipc, parquet

        try:
            if self.path.suffix.lower() == ".parquet":
                with parquet.ParquetFile(self.path) as reader:
                    yield reader
                return
            with pyarrow.memory_map(str(self.path)) as source:
                try:
                    yield ipc.open_file(source)
                except pyarrow.ArrowInvalid:
                    source.seek(0)
                    yield ipc.open_stream(source)
        except self._error as error:
            line = str(error).splitlines()[0]
            raise InputError(f"{self.path} cannot be read ({line}); write the file again") from None

    def _batches(self) -> Iterator[list[Record]]:
        number = 0
        with self._open() as reader:
            for batch in self._record_batches(reader):
                names = [name for name in batch.schema.names if name in self._wanted]
                columns = [
                    [_as_text(value, name in self._lists) for value in batch.column(name).to_pylist()]
                    for name in names
                ]
                rows = zip(*columns, strict=True) if columns else ((),) * batch.num_rows
                yield [
                    Record(dict(zip(names, row, strict=True)), number + i + 1, None, number + i)
                    for i, row in enumerate(rows)
                ]
                number += batch.num_rows

    def _record_batches(self, reader: Any) -> Iterator[Any]:
        if hasattr(reader, "iter_batches"):
            yield from reader.iter_batches(ROWS_AT_ONCE, columns=self._wanted)
            return
        batches = reader if not hasattr(reader, "num_record_batches") else None
        whole = batches or (reader.get_batch(i) for i in range(reader.num_record_batches))
        for batch in whole:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield batch.slice(start, ROWS_AT_ONCE)


def _as_text(value: Any, as_list: bool) -> str:
    if as_list and isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "" if isinstance(value, list | dict | None) else str(value).strip()


def files_of(path: str | Path) -> tuple[Path, ...]:
    """Returns the file of that name, or the files of a folder or those that match a glob pattern, sorted.

    Of a folder, files whose names begin with a dot or an underscore are left out. A name without files comes
    back as it is, for its reader to refuse.
    """
    path = Path(path)
    found: Sequence[Path] = ()
    if path.is_dir():
        found = [entry for entry in path.iterdir() if entry.is_file() and entry.name[0] not in "._"]
    elif not path.exists() and any(mark in path.name for mark in "*?["):
        found = [entry for entry in path.parent.glob(path.name) if entry.is_file()]
    return tuple(sorted(found)) or (path,)


def has_files(path: str | Path) -> bool:
    """Returns True if the path is a file, a folder or a glob pattern with a file in it."""
    return files_of(path)[0].exists()
