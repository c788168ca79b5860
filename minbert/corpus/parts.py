"""A folder of parts: the vectors of a corpus in files of `part_size` rows, each whole or not there.

`encoding.json` says what the vectors were made of and where the rows of each part begin, so that a process
that encodes a part reads that part alone, and a second start does what is missing. Beside it lie
`part-00042.parquet` with the columns `id` (int64, the row's number from 0) and `vector` (a list of D
float32), or `part-00042.npy` (rows, D) with `part-00042.ids.npy`.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout

from minbert.corpus.texts import Place, TextFiles, import_parquet
from minbert.errors import ANYTHING, TEXT, InputError, Rule, by_name, list_of, whole
from minbert.files import atomic_write, make_folder, read_json_object, write_json

DESCRIPTION = "encoding.json"
LOCK = ".encoding.lock"


def describe_encoder(encoder, compute: str) -> dict[str, Any]:
    """Returns all that decides on the vectors of a text with its prompt, hashes for what is large."""
    from minbert.adapters.lora import base_hash

    return {
        "weights": base_hash(encoder.model),
        "modules": encoder.modules.describe(),
        "modules_weights": base_hash(encoder.modules),
        "tokenizer": encoder.tokenizer.fingerprint(),
        "max_length": encoder.max_length,
        "truncate_dim": encoder.truncate_dim,
        "compute": encoder.resolve(compute),
    }


_PLACE = Rule(
    lambda value: isinstance(value, list) and len(value) == 3 and all(map(whole(0).accepts, value)),
    "three whole numbers: file, byte and line",
)
_RULES = {
    "id": TEXT,
    "settings": by_name(ANYTHING),
    "source": TEXT,
    "rows": whole(0),
    "features": whole(1),
    "starts": list_of(_PLACE),
}


@dataclass(frozen=True)
class PartFolder:
    """The parts of one corpus; `rows` texts with D = `features` numbers each.

    `settings` decide on the vectors and on how they are cut; `source` is the corpus; `starts` has the place
    of the first row of each part; `id` is drawn when the folder is begun.
    """

    path: Path
    id: str
    settings: dict[str, Any]
    source: str
    rows: int
    features: int
    starts: tuple[Place, ...]

    @classmethod
    def open(cls, path: str | Path) -> "PartFolder":
        """Raises InputError for a folder that `begin` did not make."""
        path = Path(path)
        if not (path / DESCRIPTION).is_file():
            raise InputError(f"{path} has no {DESCRIPTION}; give a folder that minbert encode has written")
        record = read_json_object(path / DESCRIPTION, _RULES, "encode into another folder")
        starts = tuple(Place(*place) for place in record["starts"])
        return cls(path, starts=starts, **{name: record[name] for name in _RULES if name != "starts"})

    def check(self, settings: dict[str, Any], hint: str) -> None:
        """Raises InputError, with the hint, for the first setting that is not the folder's."""
        for name, value in settings.items():
            if name not in self.settings:
                raise InputError(
                    f"{self.path} was begun by an earlier version, which kept no {name}; encode into another "
                    f"folder"
                )
            if value != self.settings[name]:
                there, now = _short(self.settings[name]), _short(value)
                raise InputError(f"{self.path} was begun with {name} {there}, and now it is {now}; {hint}")

    @classmethod
    def begin(
        cls,
        path: str | Path,
        files: TextFiles,
        encoder: dict[str, Any],
        features: int,
        format: str,
        size: int,
    ) -> "PartFolder":
        """Returns the folder, planned anew or as it was left.

        `encoder` is what `describe_encoder` returns, and the prompt before each text.

        Reads all texts once when it is planned, so that a row without text is found before hours of work.
        Raises InputError for a folder with other files, or of other settings; nothing is changed then.
        """
        path = Path(path)
        settings = {
            **encoder,
            "column": files.column if files.kind != "text" else None,
            "format": format,
            "part_size": size,
            "files": files.sizes(),
        }
        if (path / DESCRIPTION).exists():
            found = cls.open(path)
            found.check(settings, "give the same input and options, or another folder")
            return found
        if path.exists() and (not path.is_dir() or any(entry.name != LOCK for entry in path.iterdir())):
            raise InputError(
                f"{path} exists and is not a folder of parts; give a new folder, or a name ending in .npy"
            )
        starts, rows = [], 0
        for rows, (place, _) in enumerate(files.rows(), start=1):
            if rows % size == 1 or size == 1:
                starts.append(place)
        if not rows:
            raise InputError(f"{files.source} is empty; give a file with at least one text")
        source = str(files.source.resolve())
        folder = cls(path, uuid.uuid4().hex, settings, source, rows, features, tuple(starts))
        make_folder(path)
        record = {field.name: getattr(folder, field.name) for field in fields(cls) if field.name != "path"}
        write_json(path / DESCRIPTION, record)
        return folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other commands from writing parts; removes what killed ones left half-written."""
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"another command is writing to {self.path}; wait for its end") from None
        try:
            self._remove_partial()
            yield
        finally:
            self._remove_partial()  # of workers that died
            lock.release()

    def _remove_partial(self) -> None:
        for path in self.path.glob(".part-*.partial"):
            path.unlink(missing_ok=True)

    @cached_property
    def files(self) -> TextFiles:
        """The corpus. Raises InputError where its files are not those that were encoded."""
        files = TextFiles(self.source, self.settings["column"])
        if files.sizes() != self.settings["files"]:
            raise InputError(f"the files of {self.source} are no longer those that {self.path} was made of")
        return files

    def part_file(self, number: int) -> Path:
        return self.path / f"part-{number:05d}.{self.settings['format']}"

    def missing(self) -> list[int]:
        """Returns the numbers of the parts that are not there."""
        return [number for number in range(len(self.starts)) if not self.part_file(number).exists()]

    def rows_of(self, number: int) -> int:
        """Returns the number of rows of a part."""
        size = self.settings["part_size"]
        return min(size, self.rows - number * size)

    def encode(self, number: int, encoder, done: Callable[[int], object]) -> None:
        """Writes a part, whole or not at all; calls `done` with the number of rows of each piece of it.

        The batches depend on the part alone, so its vectors are the same whichever process encodes it.
        Raises InputError if the part has fewer rows than planned.
        """
        rows, start = self.rows_of(number), number * self.settings["part_size"]
        texts = (text for _, text in islice(self.files.rows(self.starts[number]), rows))
        ids, path = np.arange(start, start + rows), self.part_file(number)
        settings = {name: self.settings[name] for name in ("prompt", "compute")}
        pieces = encoder.stream(texts, **settings)
        if self.settings["format"] == "npy":
            with atomic_write(path.with_suffix(".ids.npy"), "wb") as file:
                np.save(file, ids)
        with atomic_write(path, "wb") as file:
            if self.settings["format"] == "npy":
                written = write_vectors(file, (rows, self.features), pieces, done)
            else:
                written = _write_parquet(file, ids, self.features, pieces, done)
            if written != rows:
                raise InputError(
                    f"the texts of {path.name} changed while they were read; give files that stay"
                )

    def pieces(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the vectors (n, D) in order, each piece with the number of its first row.

        A piece is a memory-mapped part, or some thousand rows of a Parquet file. Raises InputError where a
        part is missing.
        """
        missing = self.missing()
        if missing:
            raise InputError(
                f"{self.path} has {len(self.starts) - len(missing)} of {len(self.starts)} parts; start "
                f"minbert encode again to make the others"
            )
        for number in range(len(self.starts)):
            start, path = number * self.settings["part_size"], self.part_file(number)
            if self.settings["format"] == "npy":
                yield start, np.load(path, mmap_mode="r")
                continue
            with import_parquet(f"to read {path}").ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    vectors = file.read_row_group(group, columns=["vector"]).column(0).combine_chunks()
                    yield start, vectors.flatten().to_numpy().reshape(-1, self.features)
                    start += len(vectors)

    def texts(self, wanted: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Returns "file", "line" (from 1) and "text" of rows. Raises InputError if the corpus has changed."""
        files, size, found = self.files, self.settings["part_size"], {}
        wanted = set(wanted)
        for number in {row // size for row in wanted}:
            rows = files.rows(self.starts[number])
            for row, (place, text) in enumerate(islice(rows, self.rows_of(number)), start=number * size):
                if row in wanted:
                    found[row] = {"file": str(files.paths[place.file]), "line": place.line, "text": text}
        return found


def _short(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 100 else f"{shown[:80]} ... {shown[-10:]}"


def _write_parquet(
    file: IO[bytes],
    ids: np.ndarray,
    features: int,
    pieces: Iterable[np.ndarray],
    done: Callable[[int], object],
) -> int:
    """Writes a row group a piece, as `write_vectors` does; vectors do not compress."""
    parquet = import_parquet("to write parts of Parquet, or choose --format npy")
    import pyarrow

    kind = pyarrow.list_(pyarrow.float32(), features)
    schema = pyarrow.schema([("id", pyarrow.int64()), ("vector", kind)])
    written = 0
    with parquet.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer:
        for vectors in pieces:
            flat = pyarrow.array(vectors.reshape(-1))
            arrays = [
                pyarrow.array(ids[written : written + len(vectors)]),
                pyarrow.FixedSizeListArray.from_arrays(flat, type=kind),
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            written += len(vectors)
            done(len(vectors))
    return written


def write_vectors(
    file: IO[bytes],
    shape: tuple[int, int],
    pieces: Iterable[np.ndarray],
    done: Callable[[int], object],
    dtype: type[np.generic] = np.float32,
) -> int:
    """Writes a .npy file with this shape (rows, D); returns the number of rows written.

    `done` is called with the number of rows of each piece.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    np.lib.format.write_array_header_1_0(file, {"descr": kind.str, "fortran_order": False, "shape": shape})
    written = 0
    for vectors in pieces:
        file.write(vectors.astype(kind, copy=False).tobytes())
        written += len(vectors)
        done(len(vectors))
    return written
