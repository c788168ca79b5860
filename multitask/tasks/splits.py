"""A split of a task's data: the folder it lies in, the bundled corpus included, and what was rejected."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from minbert import InputError, Tokenizer
from multitask.data.cache_folder import file_hash
from multitask.data.readers import Examples
from multitask.data.records import has_files
from multitask.data.sample import write_sample
from multitask.data.token_store import NOTED, TokenStore, open_store, store_key
from multitask.tasks.base import TrainingTask

SAMPLE = "sample"
SMALL = 2**21  # bytes of a split whose rows stay in memory, and whose tokens are not kept for later runs


@contextmanager
def open_data(data: str | Path) -> Iterator[Path]:
    """Yields a data folder; `sample` is the bundled corpus, unpacked. Raises InputError for a missing one."""
    if str(data) == SAMPLE:
        with TemporaryDirectory(prefix="minbert-sample-") as folder:
            write_sample(folder)
            yield Path(folder)
        return
    if not Path(data).is_dir():
        kind = "is a file" if Path(data).exists() else "does not exist"
        raise InputError(f"data folder {data} {kind}; give a folder with the data files, or `sample`")
    yield Path(data)


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
    """Returns a split's examples and notes on what was rejected; None, with a note, without a file."""
    if missing := missing_split(task, folder, split):
        return None, [missing]
    examples = task.load(folder, split)
    first, rejected = [], 0
    for reject in examples.rejects:
        rejected += 1
        if rejected <= NOTED:
            first.append(f"{reject.file or examples.path}:{reject.line} rejected: {reject.reason}")
    if limit is not None:
        examples = replace(examples, rows=examples.rows[:limit])
    return examples, rejection_notes(task, examples.path, rejected, first)


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
    """Returns the tokens of a split, at most the first `limit` examples, and notes on what was rejected.

    They are kept in `cache` for later runs, but for small files, rows that the task's `load` holds in memory,
    and classes outside of this package without a `data_version`.
    """
    key, source = None, examples.source
    if source is not None and sum(path.stat().st_size for path in source.files) < SMALL:
        examples = examples.in_memory()
    elif source is not None and (facts := task.data_facts(split)) is not None:
        facts |= {"limit": limit, "suffixes": [path.suffix.lower() for path in source.files]}
        key = store_key(facts, tokenizer, [file_hash(path, cache) for path in source.files])
    store = open_store(examples, task.tokenize, tokenizer, key, cache, limit, task.contrastive)
    return store, rejection_notes(task, examples.path, store.rejected.count, list(store.rejected.first))
