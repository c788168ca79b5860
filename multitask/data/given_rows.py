"""Rows that are given in Python, written as the files that tasks read.

A run keeps them in its folder, so that `resume` and `evaluate` find them again.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from minbert import InputError
from multitask.config.option_types import one_of
from multitask.config.run_config import RunConfig
from multitask.config.task_config import TaskConfig
from multitask.config.task_kinds import find_kind
from multitask.data.records import ROWS_AT_ONCE

GivenRows = Mapping[str, Mapping[str, Any]]  # rows by task and split
MEMORY = "<memory>"  # the `data` of a run whose rows were given
SPLITS = ("train", "dev", "test")


def given_config(config: RunConfig, data: GivenRows) -> RunConfig:
    """Returns a run's configuration for rows that are given.

    Raises InputError for rows of no task or split of the run, and for a task without rows.
    """
    if config.data is not None:
        raise InputError(f"data are given twice, as rows and as the folder {config.data!r}; leave one out")
    for name, splits in data.items():
        one_of("task in data", name, config.tasks)
        for split in splits:
            one_of(f"split in data[{name!r}]", split, SPLITS)
    tasks = {}
    for name, task in config.tasks.items():
        if not data.get(name):
            raise InputError(
                f"data has no rows of the task {name}; give data[{name!r}], or leave the task out"
            )
        files = {split: _given_file(name, task, split) if split in data[name] else None for split in SPLITS}
        tasks[name] = replace(task, **files)
    return replace(config, data=MEMORY, tasks=tasks)


def _given_file(name: str, task: TaskConfig, split: str) -> str:
    return f"{name}-{split}.{'txt' if find_kind(task.type).reads == 'lines' else 'jsonl'}"


def write_given(config: RunConfig, data: GivenRows, folder: Path) -> None:
    """Writes the rows of a run as the files that its configuration, from `given_config`, names."""
    for name, splits in data.items():
        task = config.tasks[name]
        for split, rows in splits.items():
            text = task.text if find_kind(task.type).reads == "lines" else None
            _write_rows(rows, folder / _given_file(name, task, split), text)


def _write_rows(given: Any, path: Path, text: str | None = None) -> None:
    """Writes rows as JSON lines, or with `text` the texts of that column as plain text, one a line.

    `given` is a list of dictionaries, a pandas DataFrame, a pyarrow Table or a dataset of `datasets`; of
    plain texts a list of strings too. A missing value becomes null. Raises InputError for other rows.
    """
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        for number, row in enumerate(_rows_of(given)):
            if text is not None and isinstance(row, str):
                row = {text: row}
            if not isinstance(row, Mapping):
                raise InputError(
                    f"row {number} of {path.stem} is of type {type(row).__name__}; give a list of "
                    f"dictionaries, or a table of pandas, pyarrow or datasets"
                )
            try:
                line = json.dumps(dict(row), default=_plain)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"row {number} of {path.stem}: {error}; give texts, numbers or lists"
                ) from None
            if text is not None:
                line = " ".join(str(row.get(text) or "").splitlines())
            file.write(f"{line}\n")


def _rows_of(given: Any) -> Iterator[Any]:
    if hasattr(given, "iloc"):  # pandas
        for start in range(0, len(given), ROWS_AT_ONCE):
            piece = given.iloc[start : start + ROWS_AT_ONCE].astype(object)
            yield from piece.where(piece.notna(), None).to_dict("records")
    elif hasattr(given, "to_batches"):  # pyarrow
        for batch in given.to_batches(ROWS_AT_ONCE):
            yield from batch.to_pylist()
    else:
        yield from given


def _plain(value: Any) -> Any:
    """Returns the Python value of a number or an array of numpy, torch or pandas."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"{value!r} is of type {type(value).__name__}")
    return value.tolist()
