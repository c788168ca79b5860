"""Reads the texts of .txt, .jsonl, .csv and .parquet files, and of folders of them, one row at a time.

A Place says where a row begins, so that reading can start in the middle of terabytes.
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from minbert.errors import InputError, did_you_mean

KINDS = {
    ".txt": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
COLUMN = "text"
DELIMITERS = ",\t;|"
SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can escape halves of pairs, which no tokenizer takes
ROWS = 4096  # of a Parquet file that are decoded at a time


class Place(NamedTuple):
    """Where a row begins: the number of its file, its byte there, its line from 1.

    In a Parquet file `offset` is the row's number from 0, and `line` is that + 1.
    """

    file: int = 0
    offset: int = 0
    line: int = 1


FIRST = Place()


class TextFiles:
    """The texts of a file, or of all files of one kind in a folder and below it, sorted by path.

    `column` names the column (the key of a JSON object) with the text; None is "text". A file whose ending
    is none of KINDS is read as text, one a line. Raises InputError for what is missing or of several kinds.
    """

    def __init__(self, source: str | Path, column: str | None = None):
        self.source = Path(source)
        if self.source.is_dir():
            self.names = sorted(
                path.relative_to(self.source).as_posix()
                for path in self.source.rglob("*")
                if path.suffix.lower() in KINDS and path.is_file() and not _hidden(path, self.source)
            )
            kinds = {KINDS[Path(name).suffix.lower()] for name in self.names}
            if len(kinds) != 1:
                found = f"files of several kinds ({', '.join(sorted(kinds))})" if kinds else "no text files"
                raise InputError(
                    f"the folder {source} has {found}; give one with files of one kind of {', '.join(KINDS)}"
                )
            [self.kind] = kinds
            self.paths = [self.source / name for name in self.names]
        elif self.source.is_file():
            self.names, self.paths = [self.source.name], [self.source]
            self.kind = KINDS.get(self.source.suffix.lower(), "text")
        elif self.source.exists():
            raise InputError(
                f"{source} is a pipe or a device, and texts are read twice; write them to a file"
            )
        else:
            raise InputError(f"there is no file {source}; give a file or a folder of {', '.join(KINDS)}")
        if column is not None and self.kind == "text":
            raise InputError(
                f"--column is {column!r}, but {source} is plain text without columns; leave it out"
            )
        self.column = column or COLUMN

    def sizes(self) -> list[list]:
        """Returns the name and the size in bytes of each file."""
        pairs = zip(self.names, self.paths, strict=True)
        return [[name, path.stat().st_size] for name, path in pairs]

    def where(self, place: Place) -> str:
        """Returns `file:line`."""
        return f"{self.paths[place.file]}:{place.line}"

    def rows(self, start: Place = FIRST) -> Iterator[tuple[Place, str]]:
        """Yields each row's place and text, from the row at `start` on.

        Blank lines are texts in plain text files, and no rows in JSONL and CSV files. Raises InputError with
        file and line for a row that cannot be read or has no text.
        """
        read = {"text": _text_rows, "jsonl": _json_rows, "csv": _csv_rows, "parquet": _parquet_rows}[
            self.kind
        ]
        for number in range(start.file, len(self.paths)):
            yield from read(self, start if number == start.file else Place(number))

    def refusal(self, place: Place, reason: str) -> InputError:
        return InputError(f"{self.where(place)} {reason}")


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


def _lines(files: TextFiles, file: IO[bytes], place: Place) -> Iterator[tuple[Place, str]]:
    file.seek(place.offset)
    for line in file:
        try:
            yield place, line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise files.refusal(place, f"is not UTF-8 ({error.reason}); save the file as UTF-8") from None
        place = Place(place.file, place.offset + len(line), place.line + 1)


def _text_rows(files: TextFiles, start: Place) -> Iterator[tuple[Place, str]]:
    with open(files.paths[start.file], "rb") as file:
        for place, line in _lines(files, file, start):
            yield place, line.rstrip("\r\n")


def _json_rows(files: TextFiles, start: Place) -> Iterator[tuple[Place, str]]:
    with open(files.paths[start.file], "rb") as file:
        for place, line in _lines(files, file, start):
            if line.isspace():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise files.refusal(place, f"is not JSON ({error}); give one JSON object a line") from None
            if not isinstance(row, dict):
                raise files.refusal(place, f"holds a {type(row).__name__}; give one JSON object a line")
            if files.column not in row:
                hint = did_you_mean(files.column, row)
                raise files.refusal(place, f"has no key {files.column!r}{hint}; name it with --column")
            yield place, _checked(files, place, row[files.column])


def _csv_rows(files: TextFiles, start: Place) -> Iterator[tuple[Place, str]]:
    """Fields are separated as the header says; quoted as the csv module quotes."""
    first = Place(start.file)
    with open(files.paths[start.file], "rb") as file:
        rows = _csv_records(files, file, first, delimiter=None)
        place, header, delimiter = next(rows, (first, [], ","))
        header = [name.strip().removeprefix("\ufeff") for name in header]
        if header.count(files.column) != 1:
            many = "has the column {!r} more than once" if files.column in header else "has no column {!r}"
            hint = did_you_mean(files.column, header)
            raise InputError(
                f"{files.where(place)} {many.format(files.column)}{hint}; name one with --column; "
                f"its columns: {', '.join(header) or 'none'}"
            )
        index = header.index(files.column)
        if start.offset:
            rows = _csv_records(files, file, start, delimiter)
        for place, values, _ in rows:
            if len(values) != len(header):
                reason = f"has {len(values)} fields where the header has {len(header)}; mend the row"
                raise files.refusal(place, reason)
            yield place, _checked(files, place, values[index])


def _delimiter(header: str, column: str) -> str:
    """Returns the delimiter with which a header has the column, and then most columns."""

    def rank(delimiter: str) -> tuple[bool, int]:
        names = next(csv.reader([header], delimiter=delimiter), [])
        return column in [name.strip().removeprefix("\ufeff") for name in names], len(names)

    try:
        return max(DELIMITERS, key=rank)
    except csv.Error:  # named when the header is read
        return ","


def _csv_records(
    files: TextFiles, file: IO[bytes], start: Place, delimiter: str | None
) -> Iterator[tuple[Place, list[str], str]]:
    """Yields the place, the fields and the delimiter of each record that is not blank."""
    following = start  # the place after the lines that the csv module has taken

    def lines() -> Iterator[str]:
        nonlocal following
        for place, line in _lines(files, file, start):
            following = Place(place.file, file.tell(), place.line + 1)
            yield line

    source = lines()
    if delimiter is None:
        delimiter = _delimiter(next(source, ""), files.column)
        following, source = start, lines()
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        place = following
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise files.refusal(place, f"begins a row that is not CSV ({error}); mend the row") from None
        if values:
            yield place, values, delimiter


def _parquet_rows(files: TextFiles, start: Place) -> Iterator[tuple[Place, str]]:
    parquet = import_parquet(f"to read {files.paths[start.file]}")
    from pyarrow import ArrowInvalid, types

    path = files.paths[start.file]
    try:
        file = parquet.ParquetFile(path)
    except ArrowInvalid as error:
        raise InputError(f"{path} is not a Parquet file ({error}); write it again") from None
    with file:
        schema = file.schema_arrow
        if files.column not in schema.names:
            raise InputError(
                f"{path} has no column {files.column!r}{did_you_mean(files.column, schema.names)}; name one "
                f"with --column; its columns: {', '.join(schema.names)}"
            )
        kind = schema.field(files.column).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
            raise InputError(f"{path}: the column {files.column!r} has the type {kind}; give one of strings")
        row, groups = 0, []  # the groups from the one that holds the first row on
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if groups or row + rows > start.offset:
                groups.append(group)
            else:
                row += rows
        for batch in file.iter_batches(ROWS, row_groups=groups, columns=[files.column]):
            for text in batch.column(0).to_pylist():
                if row >= start.offset:
                    place = Place(start.file, row, row + 1)
                    yield place, _checked(files, place, text)
                row += 1


def _checked(files: TextFiles, place: Place, text) -> str:
    if not isinstance(text, str):
        found = "nothing" if text is None else f"a {type(text).__name__}"
        reason = f"has {found} in {files.column!r}, not a text; leave the row out or write a text there"
        raise files.refusal(place, reason)
    if not text.isascii() and SURROGATE.search(text):
        raise files.refusal(place, f"has half of a surrogate pair in {files.column!r}; decode the text anew")
    return text


def import_parquet(purpose: str):
    """Returns the module pyarrow.parquet. Raises InputError without it, naming the extra to install."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise InputError(f'pyarrow is needed {purpose}; pip install "minbert[data]" installs it') from None
    return pyarrow.parquet
