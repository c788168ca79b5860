"""A split of a task's data: the folder it lies in, the bundled corpus included, and what was rejected."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from minbert import InputError, Tokenizer
from multitask.config.run_folder import MEMORY_FOLDER, SAMPLE_FOLDER
from multitask.data.cache_folder import file_hash
from multitask.data.doctor import spacing_key
from multitask.data.given_rows import MEMORY
from multitask.data.limit import Limit
from multitask.data.readers import Example, Examples, label_counts
from multitask.data.records import has_files
from multitask.data.sample import write_sample
from multitask.data.token_store import NOTED, Rejected, TokenStore, open_store, store_key
from multitask.runtime.messages import logger
from multitask.tasks.base import ClassLabels, TrainingTask

SAMPLE = "sample"
CLASSES_SHOWN = 40
SMALL = 2**21  # bytes of a split whose rows stay in memory, and whose tokens are not kept for later runs


@contextmanager
def open_data(data: str | Path) -> Iterator[Path]:
    """Yields a data folder; `sample` is the bundled corpus, unpacked. Raises InputError for a missing one."""
    if str(data) == MEMORY:
        raise InputError("the rows were given in Python and are in the run's folder; give --data RUN/data")
    if str(data) == SAMPLE:
        with TemporaryDirectory(prefix="minbert-sample-") as folder:
            write_sample(folder)
            yield Path(folder)
        return
    if not Path(data).is_dir():
        kind = "is a file" if Path(data).exists() else "does not exist"
        raise InputError(f"data folder {data} {kind}; give a folder with the data files, or `sample`")
    yield Path(data)


def kept_data(data: str | Path, run: Path) -> str | Path:
    """Returns the data folder of a run: what its folder keeps of the bundled corpus, of rows from Python."""
    kept = {SAMPLE: SAMPLE_FOLDER, MEMORY: MEMORY_FOLDER}.get(str(data))
    return run / kept if kept and (run / kept).is_dir() else data


def missing_split(task: TrainingTask, folder: Path, split: str) -> str | None:
    """Returns a note for a split without a file, a folder or a glob pattern that matches one; else None."""
    name = task.file(split)
    if name is not None and has_files(folder / name):
        return None
    missing = f"no file {folder / name}" if name else f"{task.name}.{split} names no file"
    return f"{task.name}: no {split} split ({missing}), left out"


def load_split(
    task: TrainingTask, folder: Path, split: str, limit: int | None = None
) -> tuple[Examples | None, list[str]]:
    """Returns a split's examples and notes on what was rejected; None, with a note, without a file.

    With a `limit` they are a part of the split, the same as `tokenize_split` takes.
    """
    if missing := missing_split(task, folder, split):
        return None, [missing]
    examples = task.load(folder, split)
    first, rejected = [], 0
    for reject in examples.rejects:
        rejected += 1
        if rejected <= NOTED:
            first.append(f"{reject.file or examples.path}:{reject.line} rejected: {reject.reason}")
    notes = rejection_notes(task, examples.path, rejected, first)
    if limit is not None:
        part = part_of(examples, limit)
        examples = replace(examples, rows=tuple(part.kept(examples)))
    return examples, notes


def files_of_split(examples: Examples) -> list[Path]:
    """Returns the files that a split was read from."""
    return [Path(examples.path)] if examples.source is None else examples.source.files


def part_of(examples: Examples, count: int, cache: Path | None = None) -> Limit:
    """Returns a limit to `count` rows, by the content of the split's files."""
    hashes = [file_hash(file, cache) for file in files_of_split(examples)]
    return Limit(count, hashlib.sha256("".join(hashes).encode()).hexdigest())


def check_rejected(task: TrainingTask, path: str, rejected: Rejected, most: float) -> None:
    """Raises InputError, with the first reason, where more than the share `most` of a split was rejected."""
    if rejected.count <= most * rejected.rows:
        return
    for note in rejection_notes(task, path, rejected.count, list(rejected.first)):
        logger.info(note)
    raise InputError(
        f"{task.name}: {rejected.count:,} of {rejected.rows:,} rows of {path} cannot be used; "
        f"{rejected.first[0]}; mend them, or go on without them: --max-rejected 1"
    )


def class_notes(task: TrainingTask, rows: Sequence[Example]) -> list[str]:
    """Returns a line with a training split's classes and their rows, and a note on classes spelled alike.

    Where words are tagged, their tags are counted.
    """
    if not isinstance(task, ClassLabels) and task.target_kind not in ("classes", "binary"):
        return []
    counts: Counter = Counter()
    for label, count in label_counts(rows).items():
        for name in label if isinstance(label, tuple) else (label,):
            counts[str(name)] += count
    names = list(dict.fromkeys([*getattr(task, "labels", ()), *sorted(counts)]))
    shown = ", ".join(
        f"{repr(name) if {*name} & {*', '} else name} {counts[name]:,}" for name in names[:CLASSES_SHOWN]
    )
    more = f" and {len(names) - CLASSES_SHOWN} more" if len(names) > CLASSES_SHOWN else ""
    spelled: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spelled[spacing_key(name)].append(name)
    return [f"{len(names)} classes: {shown}{more}"] + [
        f"the classes {', '.join(map(repr, alike))} differ in case or spacing alone; if they mean the same, "
        f"spell them alike"
        for alike in spelled.values()
        if len(alike) > 1
    ]


def rejection_notes(task: TrainingTask, path: str, count: int, first: list[str]) -> list[str]:
    """Returns a note on each of the `first` rejected rows, and on their number where there are more."""
    notes = [f"{task.name}: {reject}" for reject in first]
    if count > len(first):
        notes.append(f"{task.name}: {count} rows of {path} rejected in all")
    return notes


def tokenize_split(
    task: TrainingTask,
    examples: Examples,
    split: str,
    tokenizer: Tokenizer,
    cache: Path,
    limit: int | None = None,
) -> tuple[TokenStore, list[str]]:
    """Returns the tokens of a split, or of `limit` of its examples, and notes on what was rejected.

    They are kept in `cache` for later runs, but for small files, rows that the task's `load` holds in memory,
    and classes outside of this package without a `data_version`.
    """
    key, source = None, examples.source
    part = None if limit is None else part_of(examples, limit, cache)
    if source is not None and sum(path.stat().st_size for path in source.files) < SMALL:
        examples = examples.in_memory()
    elif source is not None and (facts := task.data_facts(split)) is not None:
        facts |= {"limit": limit, "suffixes": [path.suffix.lower() for path in source.files]}
        key = store_key(facts, tokenizer, [file_hash(path, cache) for path in source.files])
    store = open_store(examples, task.tokenize, tokenizer, key, cache, part, task.contrastive)
    return store, rejection_notes(task, examples.path, store.rejected.count, list(store.rejected.first))
