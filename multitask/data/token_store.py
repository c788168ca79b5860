"""TokenStore: the tokenized examples of a split as memory-mapped arrays, written once and read by all.

Python lists of a row of 25 tokens take 5 kB, arrays some 50 bytes, and these are the file's. A store of
tables also has what is asked of each row (its id, label and line) and where its texts stand in their file;
these are read when asked for. docs/scaling.md has the layout. N examples of K sequences, T tokens.
"""

import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from minbert import (
    ANYTHING,
    TEXT,
    InputError,
    Rule,
    Tokenizer,
    TokenSequence,
    by_key,
    list_of,
    make_folder,
    or_null,
    read_json_object,
    sync_folder,
    whole,
)
from multitask.data.collate import TokenizedExample
from multitask.data.limit import Limit
from multitask.data.readers import Example, Examples, Reject, Source, Summary, hash_texts

# Raise it with every change of what reading or tokenizing gives: a store of another version is not found.
FORMAT = 2
ROWS_AT_ONCE = 4096
NOTED = 5  # rejected rows that are named one by one
ARRAYS = {  # the files of a store, by name: their numbers, and what they hold
    "lengths": np.int32,  # (N,) tokens of each example
    "ends": np.int64,  # (N * K,) where each sequence ends in `tokens`
    "tokens": np.uint16,  # (T,) token ids; uint32 where the vocabulary has more than 65,536 entries
    "types": np.uint8,  # (T,) token types; empty where all are 0
    "words": np.int32,  # (T,) the word that a token is from; empty without words
    "truncated": np.bool_,  # (N,) whether a sequence was cut
    "used": np.int64,  # the distinct token ids, ascending
    "places": np.int64,  # (N,) where each row begins in its file
    "lines": np.uint32,  # (N,) its line there
    "ids": np.uint8,  # UTF-8, one after the other
    "id_ends": np.int64,  # (N,) where each ends
    "labels": np.int64,  # (N,) numbers (float64 for fractions), or places in the names of facts.json
    "hashes": np.uint64,  # (rows, texts) of all rows of the files, for losses that compare texts
    "kept": np.int64,  # (N,) where each row stands among them; empty without a limit
}

_KINDS = {np.dtype(kind).str for kind in (*ARRAYS.values(), np.uint32, np.float64)}
_ARRAY = Rule(
    lambda value: (
        isinstance(value, list)
        and len(value) == 2
        and value[0] in [*_KINDS]
        and isinstance(value[1], list)
        and all(map(whole(0).accepts, value[1]))
    ),
    "the kind of a number, and a shape",
)
_COUNTED = Rule(
    lambda value: isinstance(value, list) and len(value) == 2 and whole(0).accepts(value[1]),
    "a label and how often it is there",
)
FACTS = {
    "arrays": by_key(dict.fromkeys(ARRAYS, _ARRAY)),
    **dict.fromkeys(("sides", "repeated"), whole(1)),
    **dict.fromkeys(("examples", "rows", "dropped", "rejected"), whole(0)),
    "rejects": list_of(TEXT),
    "unlabelled": ANYTHING,
    "label_kind": TEXT,
    "label_names": list_of(ANYTHING),
    "labels": or_null(list_of(_COUNTED)),
    "file_ends": list_of(whole(0)),
}


class Rejected(NamedTuple):
    """The number of rejected rows, of all `rows`, and the first of them as `FILE:LINE rejected: REASON`."""

    count: int
    rows: int
    first: tuple[str, ...]


def _label_of(value: Any) -> Any:
    """Returns a label as it was before JSON: several are a tuple."""
    return tuple(value) if isinstance(value, list) else value


class StoredRows(Sequence[Example]):
    """The rows of a store: id, label and line from arrays, texts from the file when they are asked for."""

    def __init__(self, arrays: dict[str, np.ndarray], facts: dict[str, Any], source: Source):
        self.source = source
        self._arrays = arrays
        self._file_ends = np.array(facts["file_ends"])
        self._kind = facts["label_kind"]
        self._names = list(map(_label_of, facts["label_names"]))
        self._hashes, self._kept = arrays["hashes"], arrays["kept"]
        whole = self._kind in ("int", "name") and facts["examples"] == facts["rows"]
        self._counted = [(_label_of(label), n) for label, n in facts["labels"]] if whole else None

    def __len__(self) -> int:
        return len(self._arrays["places"])

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._row(range(len(self))[index])

    def __iter__(self) -> Iterator[Example]:
        return map(self._row, range(len(self)))

    def _row(self, index: int) -> Example:
        arrays, several = self._arrays, len(self.source.files) > 1
        file = int(np.searchsorted(self._file_ends, index, side="right")) if several else 0
        place, ends = int(arrays["places"][index]), arrays["id_ends"]
        known: dict[str, Any] = {
            "id": arrays["ids"][ends[index - 1] if index else 0 : ends[index]].tobytes().decode(),
            "line": int(arrays["lines"][index]),
            "words": None,
            "file": str(self.source.files[file]) if several else None,
        }
        if self._kind != "file":
            known["label"] = self._label(index)
        if self._hashes.size:
            among_all = int(self._kept[index]) if len(self._kept) else index
            known["_text_hashes"] = self._hashes[among_all].tolist()
        return Example.stored(lambda: self.source.read(file, place), **known)

    def _label(self, index: int) -> Any:
        if self._kind == "none":
            return None
        value = self._arrays["labels"][index].item()
        return self._names[value] if self._kind == "name" else value

    @property
    def labels(self) -> Iterable[Any]:
        """The labels, one an example."""
        if self._kind in ("none", "file"):
            return [row.label for row in self]
        values = memoryview(np.ascontiguousarray(self._arrays["labels"]))
        return [self._names[value] for value in values] if self._kind == "name" else values

    def label_counts(self) -> Counter:
        """Returns the labels and how often each stands there, in the order of their appearance."""
        if self._counted is not None:
            return Counter(dict(self._counted))
        if self._kind in ("none", "file"):
            return Counter(row.label for row in self)
        values, first, counts = np.unique(self._arrays["labels"], return_index=True, return_counts=True)
        named = self._names.__getitem__ if self._kind == "name" else lambda value: value
        return Counter({named(values[i].item()): int(counts[i]) for i in np.argsort(first)})

    @property
    def text_hashes(self) -> np.ndarray:
        """(N, texts) 8 bytes for each text, of tasks that ask for them."""
        return self._hashes[self._kept] if len(self._kept) else self._hashes

    @property
    def all_text_hashes(self) -> np.ndarray:
        """The same of all rows of the files, those beyond --limit included."""
        return self._hashes


class TokenStore(Sequence[TokenizedExample]):
    """The tokenized examples of a split. `rows` are its examples, `rejected` its rejects.

    `lengths` (N,) are tokens of each example, `token_ids` the distinct ones, ascending; `truncated` is the
    share of examples that were cut.
    """

    def __init__(self, folder: Path, rows: Sequence[Example] | Source):
        facts = read_facts(folder)
        arrays = {name: _mapped(folder, name, *facts["arrays"][name]) for name in ARRAYS}
        self._sides = facts["sides"]
        self._repeated = facts["repeated"]
        self._ends, self._tokens = arrays["ends"], arrays["tokens"]
        self._types, self._words = arrays["types"], arrays["words"]
        self._cut = arrays["truncated"]
        self.lengths = arrays["lengths"]
        self.token_ids = arrays["used"]
        self.truncated = float(self._cut.mean()) if len(self._cut) else 0.0
        read = facts["rows"] + facts["dropped"] + facts["rejected"]
        self.rejected = Rejected(facts["rejected"], read, tuple(facts["rejects"]))
        self.rows = StoredRows(arrays, facts, rows) if isinstance(rows, Source) else rows
        self.unlabelled = facts["unlabelled"]
        if isinstance(rows, Source) and facts["labels"] is not None:
            labels = Counter({_label_of(label): count for label, count in facts["labels"]})
            rows.summary = Summary(facts["rows"], facts["dropped"], labels)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        first = index * self._sides
        sides = [self._sequence(i, bool(self._cut[index])) for i in range(first, first + self._sides)]
        return TokenizedExample(self.rows[index], tuple(sides * self._repeated))

    def _sequence(self, number: int, truncated: bool) -> TokenSequence:
        start, end = int(self._ends[number - 1]) if number else 0, int(self._ends[number])
        return TokenSequence(
            self._tokens[start:end].tolist(),
            self._types[start:end].tolist() if len(self._types) else [0] * (end - start),
            self._words[start:end].tolist() if len(self._words) else None,
            truncated,
        )


def _mapped(folder: Path, name: str, kind: str, shape: list[int]) -> np.ndarray:
    if 0 in shape:
        return np.zeros(shape, kind)
    return np.asarray(np.memmap(folder / f"{name}.bin", kind, mode="r", shape=tuple(shape)))


def open_store(
    examples: Examples,
    tokenize: Callable[[Tokenizer, Sequence[Example]], Sequence[TokenizedExample]],
    tokenizer: Tokenizer,
    key: str | None = None,
    cache: Path | None = None,
    limit: Limit | None = None,
    hashed: bool = False,
) -> TokenStore:
    """Returns the tokenized examples of a split, or of a part of it, from the cache where it has them.

    `tokenize` is called for pieces of the split, or once for none where the cache has it. `key` says what
    decides the tokens (see `store_key`); without it, or without a `cache`, the store is in a temporary folder
    that goes with it. One process of a machine writes, others wait for it. `hashed` keeps hashes of texts.
    """
    if examples.source is None and limit is not None:
        rows: Sequence[Example] | Source = tuple(limit.kept(examples))
    else:
        rows = examples.source or examples.rows
    write = _Writing(examples, rows, tokenize, tokenizer, limit, hashed)
    if key is None or cache is None or not _can_write(cache / "tokens"):
        with tempfile.TemporaryDirectory(prefix="minbert-tokens-") as name:
            write.into(Path(name))
            return TokenStore(Path(name), rows)  # has the files mapped, which the disk keeps meanwhile
    folder = cache / "tokens" / key
    if not _is_whole(folder):
        from filelock import FileLock

        with FileLock(folder.with_name(f"{key}.lock")):
            if not _is_whole(folder):
                _write_whole(folder, write)
    tokenize(tokenizer, [])
    return TokenStore(folder, rows)


def _can_write(folder: Path) -> bool:
    try:
        make_folder(folder)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _write_whole(folder: Path, write: "_Writing") -> None:
    """Writes a store that is there whole or not at all; that of another machine may come first."""
    prefix = f".{folder.name}.{socket.gethostname()}."
    for left in folder.parent.glob(f"{prefix}*"):  # of a process that was killed: this one has the lock
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        partial.chmod(0o777 & ~_umask())
        write.into(partial)
        for file in partial.iterdir():
            sync_folder(file)
        if folder.exists() and not _is_whole(folder):
            shutil.rmtree(folder)
        try:
            os.rename(partial, folder)
        except OSError:
            if not _is_whole(folder):
                raise
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_facts(folder: Path) -> dict[str, Any]:
    return read_json_object(folder / "facts.json", FACTS, "remove its folder, which is made anew")


def _is_whole(folder: Path) -> bool:
    """Returns True for a store whose files have the sizes that it says."""
    try:
        facts = read_facts(folder)
        sizes = {
            name: int(np.prod(shape)) * np.dtype(kind).itemsize
            for name, (kind, shape) in facts["arrays"].items()
        }
        return all((folder / f"{name}.bin").stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def store_key(facts: dict[str, Any], tokenizer: Tokenizer, hashes: Sequence[str]) -> str:
    """Returns the name of a store: a hash of all that decides its content.

    `facts` are those of the task and its reader, `hashes` those of the data files, in their order.
    """
    everything = {
        "format": FORMAT,
        "task": facts,
        "tokenizer": tokenizer.fingerprint(),
        "files": list(hashes),
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


class _Writing:
    """Writes the arrays of a store, a piece of the split at a time."""

    def __init__(
        self,
        examples: Examples,
        rows: Sequence[Example] | Source,
        tokenize: Callable[[Tokenizer, Sequence[Example]], Sequence[TokenizedExample]],
        tokenizer: Tokenizer,
        limit: Limit | None,
        hashed: bool,
    ):
        self.examples = examples
        self.rows = rows
        self.tokenize = tokenize
        self.tokenizer = tokenizer
        self.limit = limit
        self.hashed = hashed

    def into(self, folder: Path) -> None:
        source, rows = self.examples.source, self.rows
        with ExitStack() as files:
            writer = _Arrays(folder, files, self.tokenizer.vocab_size)
            if source is None:
                writer.rows = len(self.examples.rows)
                for start in range(0, len(rows), ROWS_AT_ONCE):
                    self._tokens(writer, rows[start : start + ROWS_AT_ONCE])
                for reject in self.examples.rejects:
                    writer.reject(reject, self.examples.path)
                writer.unlabelled = any(row.label is None for row in rows)
                if not len(rows):
                    self.tokenize(self.tokenizer, [])
            else:
                before = _states(source)
                self._of_source(writer, source)
                if _states(source) != before:
                    raise InputError(f"{self.examples.path} changed while it was read; start again")
            writer.close()

    def _of_source(self, writer: "_Arrays", source: Source) -> None:
        takes = None if self.limit is None else self.limit.taker(self.examples)
        piece: list[Example] = []
        for number, (file, place, row) in enumerate(source.entries(), start=1):
            if not number % ROWS_AT_ONCE:
                writer.flush()
            if row is None:
                writer.dropped += 1
            elif isinstance(row, Reject):
                writer.reject(row, self.examples.path)
            else:
                if takes is None or takes(row):
                    if takes is not None and self.hashed:
                        writer.add("kept", (writer.rows,))
                    piece.append(row)
                    writer.row(file, place, row)
                    if len(piece) == ROWS_AT_ONCE:
                        self._tokens(writer, piece)
                        piece = []
                writer.count(row)
                if self.hashed:
                    writer.add("hashes", hash_texts(row.texts))
        self._tokens(writer, piece)

    def _tokens(self, writer: "_Arrays", rows: Sequence[Example]) -> None:
        writer.tokens(self.tokenize(self.tokenizer, rows))


def _states(source: Source) -> list[tuple[int, int]]:
    return [(status.st_size, status.st_mtime_ns) for status in (path.stat() for path in source.files)]


class _Arrays:
    """The arrays of a store while they grow, and the facts beside them."""

    def __init__(self, folder: Path, files: ExitStack, vocab_size: int):
        self.folder = folder
        self.kinds = {name: np.dtype(kind) for name, kind in ARRAYS.items()}
        if vocab_size > 2**16:
            self.kinds["tokens"] = np.dtype(np.uint32)
        self._files: dict[str, IO[bytes]] = {
            name: files.enter_context(open(folder / f"{name}.bin", "wb")) for name in ARRAYS
        }
        self._pending: dict[str, list] = {name: [] for name in ARRAYS}
        self._sizes = dict.fromkeys(ARRAYS, 0)
        self._used = np.zeros(vocab_size, dtype=bool)
        self._sides: int | None = None
        self._repeated = 1
        self._typed = False
        self._end = self._id_end = 0
        self._id_bytes = bytearray()
        self._file_rows: Counter = Counter()
        self._label_kind: str | None = None
        self._names: dict[Any, int] = {}
        self.labels: Counter | None = Counter()
        self.rows = self.dropped = self.rejected = 0
        self._rejects: list[str] = []
        self.unlabelled = False

    def add(self, name: str, values: Iterable) -> None:
        self._pending[name].extend(values)

    def flush(self) -> None:
        """Writes what was added."""
        for name, values in self._pending.items():
            if values:
                self._write(name, np.array(values, self.kinds[name]))
                values.clear()
        self._write("ids", np.frombuffer(bytes(self._id_bytes), np.uint8))
        self._id_bytes.clear()

    def _write(self, name: str, values: np.ndarray) -> None:
        self._files[name].write(values.tobytes())
        self._sizes[name] += values.size

    # Rows

    def reject(self, row: Reject, path: str) -> None:
        self.rejected += 1
        if len(self._rejects) < NOTED:
            self._rejects.append(f"{row.file or path}:{row.line} rejected: {row.reason}")

    def count(self, row: Example) -> None:
        """Counts a usable row of the files, whether or not it is kept."""
        self.rows += 1
        if self.labels is not None and row.label is not None and not isinstance(row.label, float):
            if isinstance(row.label, (int, str, tuple)):
                self.labels[row.label] += 1
            else:
                self.labels = None

    def row(self, file: int, place: int, row: Example) -> None:
        pending, name = self._pending, row.id.encode()
        self._file_rows[file] += 1
        pending["places"].append(place)
        pending["lines"].append(row.line)
        self._id_bytes += name
        self._id_end += len(name)
        pending["id_ends"].append(self._id_end)
        self._add_label(row.label)

    def _add_label(self, label: Any) -> None:
        kinds = {int: "int", float: "float", str: "name", tuple: "name", type(None): "none"}
        kind = kinds.get(type(label), "file")
        self.unlabelled = self.unlabelled or label is None
        if self._label_kind is None:
            self._label_kind = kind
            if kind == "float":
                self.kinds["labels"] = np.dtype(np.float64)
        if self._label_kind != kind or (kind == "int" and not -(2**63) <= label < 2**63):
            self._label_kind = "file"  # of several types: read from the file when asked for
        if self._label_kind in ("int", "float"):
            self._pending["labels"].append(label)
        elif self._label_kind == "name":
            self._pending["labels"].append(self._names.setdefault(label, len(self._names)))

    # Tokens

    def tokens(self, examples: Sequence[TokenizedExample]) -> None:
        """Writes the sequences of a piece of the split."""
        if not examples:
            return
        if self._sides is None:
            sides = examples[0].sides
            self._repeated = len(sides) if all(side is sides[0] for side in sides) else 1
            self._sides = len(sides) // self._repeated
        sequences = [side for entry in examples for side in self._own(entry)]
        lengths = np.fromiter((len(side.ids) for side in sequences), np.int64, len(sequences))
        total = int(lengths.sum())
        ids = np.fromiter(chain.from_iterable(side.ids for side in sequences), np.int64, total)
        if total and not 0 <= int(ids.min()) <= int(ids.max()) < len(self._used):
            raise InputError(
                f"tokenizing gave the tokens {ids.min()} to {ids.max()}; the vocabulary has {len(self._used)}"
            )
        self._used[ids] = True
        self._write("tokens", ids.astype(self.kinds["tokens"]))
        self._write("ends", self._end + lengths.cumsum())
        self._write_types(sequences, total)
        self._write_words(sequences, total)
        self._end += total
        of_examples = lengths.reshape(len(examples), self._sides).sum(axis=1) * self._repeated
        self._write("lengths", of_examples.astype(np.int32))
        cut = np.fromiter((side.truncated for side in sequences), np.bool_, len(sequences))
        self._write("truncated", cut.reshape(len(examples), self._sides).any(axis=1))

    def _own(self, entry: TokenizedExample) -> tuple[TokenSequence, ...]:
        if len(entry.sides) != self._sides * self._repeated:
            raise InputError(
                f"tokenizing gave {len(entry.sides)} sequences for {entry.example.id} and "
                f"{self._sides * self._repeated} for another example; give the same number for each"
            )
        if self._repeated > 1 and any(side != entry.sides[0] for side in entry.sides):
            raise InputError(f"the sequences of {entry.example.id} differ, unlike those of the first example")
        return entry.sides[: self._sides]

    def _write_types(self, sequences: Sequence[TokenSequence], total: int) -> None:
        types = np.fromiter(chain.from_iterable(side.types for side in sequences), np.uint8, total)
        if not self._typed and types.any():
            self._typed = True
            self._fill("types", 0)
        if self._typed:
            self._write("types", types)

    def _fill(self, name: str, value: int) -> None:
        """Writes a value for each of the tokens before this piece."""
        for start in range(0, self._end, 2**20):
            count = min(2**20, self._end - start)
            self._write(name, np.full(count, value, self.kinds[name]))

    def _write_words(self, sequences: Sequence[TokenSequence], total: int) -> None:
        having = {side.words is not None for side in sequences}
        if len(having) > 1 or (self._sizes["words"] == 0) != (self._end == 0 or having == {False}):
            raise InputError("tokenizing gave words for a part of the examples; give them for all or none")
        if having == {True}:
            words = chain.from_iterable(side.words for side in sequences)
            self._write("words", np.fromiter(words, np.int32, total))

    def close(self) -> None:
        """Writes what is left, and the facts."""
        self.flush()
        self._write("used", np.flatnonzero(self._used))
        for file in self._files.values():
            file.flush()
        count = self._sizes["lengths"]
        if self._label_kind not in ("int", "float", "name"):
            self._sizes["labels"] = 0
            self._files["labels"].truncate(0)
        shapes = {name: [size] for name, size in self._sizes.items()}
        shapes["hashes"] = [self.rows, self._sizes["hashes"] // self.rows if self.rows else 0]
        by_file = [self._file_rows[file] for file in range(max(self._file_rows, default=0) + 1)]
        facts = {
            "arrays": {name: [self.kinds[name].str, shapes[name]] for name in ARRAYS},
            "sides": self._sides or 1,
            "repeated": self._repeated,
            "examples": count,
            "rows": self.rows,
            "dropped": self.dropped,
            "rejected": self.rejected,
            "rejects": [line.encode("utf-8", "replace").decode() for line in self._rejects],
            "unlabelled": self.unlabelled,
            "label_kind": self._label_kind or "none",
            "label_names": list(self._names),
            "labels": None if self.labels is None else list(self.labels.items()),
            "file_ends": np.cumsum(by_file).tolist(),
        }
        (self.folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
