"""Rows as the formats give them, before their values are judged: CSV, JSON, plain text, Parquet, Arrow.

Files are read in pieces, JSON arrays and indented JSON whole. Parquet and Arrow, and with them the folders
that `datasets.save_to_disk` writes, need the extra `data`.

A record's `place` is where it can be read again without what stands before it: the byte at which it begins,
in Parquet and Arrow files its number.
"""

import csv
import io
import json
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from minbert import InputError, did_you_mean, parse_json, read_json_object, refuse_pipe
from multitask.config.task_config import DELIMITERS

COLUMNAR = (".parquet", ".arrow", ".feather")
DATASET = ("dataset_info.json", "state.json")  # beside the data files of datasets.save_to_disk
ROWS_AT_ONCE = 1024
SEEN = (
    1000  # rows of a JSON lines file that say which columns it has; more are read only where one is missing
)
WHOLE = 10**9  # bytes of a JSON document that is read at once
_LAST_LINE = "end"
_SPACE = re.compile(r"[ \t\r\n]*")
_field_limit_lock = threading.Lock()


class Record(NamedTuple):
    """A row as the format gives it, before its values are judged; `problem` says why it cannot be used.

    Values are texts, but for `Table.objects`.
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


class ObjectTable(Table):
    """A file whose values have types; as texts lists, objects and null are empty.

    Lists in the columns `lists` become the text that JSON has for them.
    """

    lists: Collection[str] = ()

    def objects(self) -> Iterator[Record]:
        """Yields all rows with their values as they are."""
        raise NotImplementedError

    def records(self) -> Iterator[Record]:
        for record in self.objects():
            self.lines = record.line
            yield self.as_texts(record)

    def as_texts(self, record: Record) -> Record:
        """Returns a row with its values as texts."""
        return record._replace(
            values={name: self._text(name, value) for name, value in record.values.items()}
        )

    def _text(self, name: str, value: Any) -> str:
        if isinstance(value, list) and name in self.lists:
            return json.dumps(value, ensure_ascii=False)
        return "" if isinstance(value, list | dict | None) else str(value).strip()


def open_table(
    path: Path,
    wanted: Collection[str] = (),
    quoting: bool = True,
    delimiter: str | None = None,
    lists: Collection[str] = (),
) -> Table:
    """Opens a table in the format that its name or its header tells, to read the columns `wanted`.

    `.json`, `.jsonl` and `.ndjson` are JSON, `.parquet`, `.arrow` and `.feather` what they say, `.txt` may be
    LabelledLines, all else is CSV, whose `delimiter` is found in the header unless it is given. For `lists`
    see ObjectTable. Raises InputError for a file that cannot be read, and for a delimiter of another format
    than CSV.
    """
    if has_objects(path):
        if delimiter is not None:
            raise InputError(
                f"{path}: delimiter is {delimiter!r}, and {path.suffix} files have none; leave it out"
            )
        table = open_objects(path, wanted)
        table.lists = lists
        return table
    if delimiter is None and path.suffix.lower() == ".txt" and LabelledLines.are_in(path):
        return LabelledLines(path)
    return CsvTable(path, quoting, delimiter, wanted)


def has_objects(path: str | Path) -> bool:
    """Returns True if the file's name says that its values have types."""
    return is_json(path) or Path(path).suffix.lower() in COLUMNAR


def open_objects(path: Path, wanted: Collection[str] = ()) -> ObjectTable:
    """Opens a file of JSON, Parquet or Arrow, as `open_table` does."""
    return JsonTable(path, wanted) if is_json(path) else ColumnarTable(path, wanted)


def is_json(path: str | Path) -> bool:
    """Returns True if the file's name says that its rows are JSON objects."""
    return Path(path).suffix.lower() in (".json", ".jsonl", ".ndjson")


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file of data. Raises InputError, with the nearest name, for one that cannot be read."""
    refuse_pipe(path)
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
    """Text with the columns' names in its first line; `delimiter` is that one of DELIMITERS.

    Where it is not given, it is a tab in files whose names end in .tsv, else the one with which the header
    has most of the columns `wanted`, then most columns. `quoting=False` takes quotes as plain characters.
    Raises InputError for a missing or unreadable header.
    """

    def __init__(
        self, path: Path, quoting: bool = True, delimiter: str | None = None, wanted: Collection[str] = ()
    ):
        super().__init__(path)
        self._options = {} if quoting else {"quoting": csv.QUOTE_NONE, "quotechar": None}
        with open_binary(path) as file:
            first = next((line for line in Lines(path, file) if line.strip(" \r\n")), None)
            if first is None:
                raise InputError(f"{path}: has no header; the first line has to name the columns")
            if delimiter is None:
                delimiter = "\t" if path.suffix.lower() == ".tsv" else self._found_in(first, wanted)
            self.delimiter = DELIMITERS.get(delimiter, delimiter)
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

    def _found_in(self, header: str, wanted: Collection[str]) -> str:
        """Returns the delimiter of a header; a comma where none stands out."""

        def rank(delimiter: str) -> tuple[int, int]:
            names = next(csv.reader([header], delimiter=delimiter, **self._options))
            return len({*wanted} & {name.strip() for name in names}), len(names)

        with _fields_of_any_length(len(header)):
            try:
                return max(DELIMITERS.values(), key=rank)
            except csv.Error:  # a carriage return: named when the header is read
                return ","

    def _rows(
        self, file: IO[bytes], place: int = 0, at_once: int = ROWS_AT_ONCE
    ) -> Iterator[tuple[int, int, list[str], str | None]]:
        """Yields (place, first line, fields, problem) of each row that is not blank."""
        lines = _WithEnd(self.path, file, place)
        reader = csv.reader(lines, delimiter=self.delimiter, **self._options)
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
        if problem is None and self.delimiter == "\t":
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


# --- CMU's edition of the assignment ------------------------------------------------------------------------


class LabelledLines(Table):
    """Lines `label ||| sentence` without a header, as the edition of Carnegie Mellon has its data."""

    columns = ("sentiment", "sentence")
    mark = " ||| "

    @classmethod
    def are_in(cls, path: Path) -> bool:
        """Returns True if the first line has the mark."""
        with open_binary(path) as file:
            return cls.mark in next(Lines(path, file), "")

    def records(self) -> Iterator[Record]:
        with open_binary(self.path) as file:
            lines, place = Lines(self.path, file), 0
            for line in lines:
                if line.strip():
                    yield self._record(line, lines.number, place)
                place, self.lines = lines.offset, lines.number

    def record_at(self, place: int) -> Record:
        with open_binary(self.path) as file:
            return self._record(next(Lines(self.path, file, place)), 1, place)

    def _record(self, line: str, number: int, place: int) -> Record:
        values = dict(zip(self.columns, map(str.strip, line.split(self.mark, 1)), strict=False))
        problem = None if len(values) == 2 else f"it has no{self.mark}between label and sentence"
        return Record(values, number, problem, place)


# --- JSON ---------------------------------------------------------------------------------------------------


class JsonTable(ObjectTable):
    """JSON: an object a line, or a document, which is an array of objects or objects over several lines.

    Columns are those of the first SEEN rows, and those of `wanted` that any row names. Raises InputError
    without a row or a column.
    """

    def __init__(self, path: Path, wanted: Collection[str] = ()):
        super().__init__(path)
        self.document = _is_document(path)
        columns: dict[str, None] = {}
        first, count = None, 0
        for record in self.objects():
            first, count = first or record, count + 1
            columns.update(dict.fromkeys(record.values))
            if columns and count >= SEEN:
                break
        if first is None:
            raise InputError(f"{path}: has no header and no row; give one JSON object a line, or an array")
        if not columns:
            problem = first.problem or "an object without fields"
            raise InputError(f"{path}:{first.line}: {problem}; each row has to be one JSON object")
        missing = {*wanted} - columns.keys()
        if missing and count >= SEEN:
            columns.update(dict.fromkeys(name for name in wanted if name in self._named_later(missing)))
        self.columns = tuple(columns)

    def objects(self) -> Iterator[Record]:
        return _document_rows(self.path) if self.document else _json_lines(self.path)

    def record_at(self, place: int) -> Record:
        if not self.document:
            return self.as_texts(next(_json_lines(self.path, place)))
        return self.as_texts(_object_row(_value_at(self.path, place), 1))

    def _named_later(self, missing: set[str]) -> set[str]:
        """Returns which of the names some row of the file has; parses only lines that hold one of them."""
        if self.document:
            return missing & {name for record in self.objects() for name in record.values}
        spelled = {spelling.encode() for name in missing for spelling in (json.dumps(name), f'"{name}"')}
        found: set[str] = set()
        with open_binary(self.path) as file:
            for line in file:
                if any(name in line for name in spelled) or b"\\u" in line:
                    found |= missing & _json_row(line.decode(errors="replace"), 0).values.keys()
                if found == missing:
                    break
        return found


def _json_lines(path: Path, place: int = 0) -> Iterator[Record]:
    with open_binary(path) as file:
        lines = Lines(path, file, place)
        for line in lines:
            if line.strip():
                yield _json_row(line, lines.number)._replace(place=place)
            place = lines.offset


def _json_row(line: str, number: int) -> Record:
    try:
        row = parse_json(line, strict=False)
    except ValueError as error:
        return Record({}, number, f"not JSON ({error})")
    return _object_row(row, number)


def _object_row(row: Any, number: int) -> Record:
    if not isinstance(row, dict):
        return Record({}, number, f"a JSON {type(row).__name__} where an object is needed")
    return Record(row, number)


def _is_document(path: Path) -> bool:
    """Returns True unless the first line of a JSON file is an object."""
    with open_binary(path) as file:
        lines = iter(lambda: file.readline(2**16).removeprefix(b"\xef\xbb\xbf"), b"")
        first = next((line.strip() for line in lines if line.strip()), b"")
    if not first.startswith(b"{") or first == b"{":
        return first[:1] in (b"[", b"{")
    # In JSON lines a line that is cut is a reject of its own; .json files are as often indented.
    broken = _json_row(first.decode(errors="replace"), 1).problem is not None
    return broken and path.suffix.lower() == ".json"


def _document_rows(path: Path) -> Iterator[Record]:
    """Yields the objects of arrays, and those outside of one. Raises InputError for what is not JSON."""
    size = path.stat().st_size
    if size > WHOLE:
        raise InputError(
            f"{path}: {size / 1e9:.1f} GB of JSON that is not one object a line, and at most "
            f"{WHOLE / 1e9:g} GB is read whole; write it as JSON lines (.jsonl)"
        )
    with open_binary(path) as file:
        place = 3 if file.read(3) == b"\xef\xbb\xbf" else 0
    text, decode = read_text(path), json.JSONDecoder().raw_decode
    line, position, counted, before = 1, 0, 0, ""  # before: what stands before this place in an array
    while (start := _SPACE.match(text, position).end()) < len(text):
        mark, position = text[start], start + 1
        if not before and mark == "[":
            before = mark
        elif before and before != "," and mark == "]":
            before = ""
        elif before == "row" and mark == ",":
            before = mark
        else:
            place += len(text[counted:start].encode())
            line += text.count("\n", counted, start)
            counted = start
            try:
                if before == "row":
                    raise ValueError(f"a comma or ] is missing before {mark!r}")
                _, position = decode(text, start)
                value = parse_json(text[start:position], strict=False)
            except (ValueError, RecursionError) as error:
                what = getattr(error, "msg", error)
                line += text.count("\n", counted, getattr(error, "pos", start))
                raise InputError(f"{path}:{line}: not JSON ({what}); mend that line") from None
            yield _object_row(value, line)._replace(place=place)
            before = before and "row"
    if before:
        raise InputError(f"{path}: the array is not closed; the file is cut: write it again")


def _value_at(path: Path, place: int) -> Any:
    """Returns the JSON value that begins at a byte of a file."""
    size = 2**16
    with open_binary(path) as file:
        while True:
            file.seek(place)
            raw = file.read(size)
            try:
                return json.JSONDecoder().raw_decode(raw.decode("utf-8", "ignore"))[0]
            except ValueError:
                if len(raw) < size:
                    raise
            size *= 4


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


class ColumnarTable(ObjectTable):
    """Parquet, and Arrow's files and streams; a row's line is its number from 1.

    Without `wanted` all columns are read. Raises InputError without pyarrow, and for a file that is not one
    of the two.
    """

    def __init__(self, path: Path, wanted: Collection[str] = ()):
        super().__init__(path)
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
            self.schema = reader.schema_arrow if path.suffix.lower() == ".parquet" else reader.schema
        self.columns = tuple(self.schema.names)
        self._wanted = [column for column in self.columns if column in wanted or not wanted]
        self._kept: tuple[int, list[Record]] = (0, [])  # the batch that `record_at` read last

    def objects(self) -> Iterator[Record]:
        for rows in self._batches():
            yield from rows

    def record_at(self, place: int) -> Record:
        start, rows = self._kept
        if not start <= place < start + len(rows):
            start = 0
            for rows in self._batches():
                if place < start + len(rows):
                    break
                start += len(rows)
            self._kept = start, rows
        return self.as_texts(rows[place - start])

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
                columns = [batch.column(name).to_pylist() for name in names]
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


def class_names(path: str | Path, column: str) -> tuple[str, ...] | None:
    """Returns the names of the numbers in a column of lists, where the file says them, as `datasets` does."""
    file = files_of(path)[0]
    if file.suffix.lower() not in COLUMNAR:
        return None
    described = (ColumnarTable(file).schema.metadata or {}).get(b"huggingface")
    try:
        facts = (
            parse_json(described.decode("utf-8"))["info"]
            if described
            else read_json_object(file.parent / DATASET[0])
        )
        feature = facts["features"][column]
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
        return tuple(feature["names"]) if feature["_type"] == "ClassLabel" else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _saved_dataset(folder: Path) -> list[Path] | None:
    """Returns the files of a folder that `datasets.save_to_disk` wrote, None for another folder.

    Raises InputError for the folder of a DatasetDict, which has a folder for each split.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = [str(name) for name in read_json_object(folder / "dataset_dict.json").get("splits", [])]
        raise InputError(
            f"{folder}: has the splits {', '.join(splits)}; name the folder of one, as in "
            f"{folder.name}/{splits[0] if splits else 'train'}"
        )
    if not all((folder / name).is_file() for name in DATASET):
        return None
    entries = read_json_object(folder / DATASET[1]).get("_data_files")
    try:
        return [folder / entry["filename"] for entry in entries]
    except (TypeError, KeyError):
        raise InputError(f"{folder / DATASET[1]}: names no data files; save the dataset again") from None


def files_of(path: str | Path) -> tuple[Path, ...]:
    """Returns the file of that name, or the files of a folder or those that match a glob pattern, sorted.

    Of a folder, files whose names begin with a dot or an underscore are left out; of one that
    `datasets.save_to_disk` wrote, its data files come in their order. A name without files comes back as it
    is, for its reader to refuse.
    """
    path = Path(path)
    found: Sequence[Path] = ()
    if path.is_dir():
        if (saved := _saved_dataset(path)) is not None:
            return tuple(saved) or (path,)
        found = [entry for entry in path.iterdir() if entry.is_file() and entry.name[0] not in "._"]
    elif not path.exists() and any(mark in path.name for mark in "*?["):
        found = [entry for entry in path.parent.glob(path.name) if entry.is_file()]
    return tuple(sorted(found)) or (path,)


def has_files(path: str | Path) -> bool:
    """Returns True if the path is a file, a folder or a glob pattern with a file in it."""
    return files_of(path)[0].exists()
