"""A split of a task's data: the folder it lies in, the bundled corpus included, and what was rejected."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from minbert import InputError
from multitask.data.readers import Examples
from multitask.data.sample import write_sample
from multitask.tasks.base import TrainingTask

SAMPLE = "sample"
NOTED = 5  # rejected rows that are named one by one


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


def load_split(
    task: TrainingTask, folder: Path, split: str, limit: int | None = None
) -> tuple[Examples | None, list[str]]:
    """Returns a split's examples and notes on what was rejected; None, with a note, without a file."""
    name = task.file(split)
    if name is None or not (folder / name).exists():
        missing = f"no file {folder / name}" if name else f"{task.name}.{split} names no file"
        return None, [f"{task.name}: no {split} split ({missing}), left out"]
    examples = task.load(folder, split)
    notes = [
        f"{task.name}: {examples.path}:{reject.line} rejected: {reject.reason}"
        for reject in examples.rejects[:NOTED]
    ]
    if len(examples.rejects) > NOTED:
        notes.append(f"{task.name}: {len(examples.rejects)} rows of {examples.path} rejected in all")
    if limit is not None:
        examples = replace(examples, rows=examples.rows[:limit])
    return examples, notes
