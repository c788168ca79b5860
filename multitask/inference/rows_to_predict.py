"""A prediction for each row of a file: rejects are predicted too, rows without text get a fallback."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minbert import InputError
from multitask.data.readers import Example, Examples, Row
from multitask.tasks.base import ScoredTask
from multitask.tasks.splits import NOTED, load_split


def has_text(task: ScoredTask, row: Row) -> bool:
    """Returns True for a row with all the texts that the task reads."""
    return len(row.texts) == (1 if task.config.text2 is None else 2) and all(row.texts)


def examples_with_text(task: ScoredTask, rows: Sequence[Row]) -> list[Example]:
    """Returns the rows that have text, rejects included, as examples without labels."""
    return [example_with_text(row) for row in rows if has_text(task, row)]


def example_with_text(row: Row) -> Example:
    """Returns a row that has text as an example without a label."""
    words = getattr(row, "words", None)  # a reject has none
    return Example(row.id, tuple(map(_encodable, row.texts)), None, row.line, words, row.file)


def rows_to_predict(task: ScoredTask, examples: Examples) -> tuple[Sequence[Row], Examples]:
    """Returns the rows that a prediction file lists, and those of them with text as examples.

    A row without an id is not listed. Tables are read whenever the rows are iterated over.
    """
    listed = examples.changed(lambda row: None if row.id is None else row)
    with_text = listed.changed(lambda row: example_with_text(row) if has_text(task, row) else None)
    return listed.in_file_order(), with_text


def fill_in(
    task: ScoredTask,
    rows: Sequence[Row],
    predicted: Sequence[Any],
    path: str,
    fallback: Callable[[], Any],
) -> tuple[list[Any], list[str]]:
    """Returns a prediction for each row of the file `path`; `predicted` are those of the rows with text.

    The others get what `fallback()` says, and a note names them; it is not asked where there is none.
    """
    complete = [has_text(task, row) for row in rows]
    if all(complete):
        return list(predicted), []
    value, following = fallback(), iter(predicted)
    values = [next(following) if usable else value for usable in complete]
    lines = [
        f"{row.file}:{row.line}" if row.file else str(row.line)
        for row, usable in zip(rows, complete, strict=True)
        if not usable
    ]
    named = ", ".join(lines[:NOTED]) + (f" and {len(lines) - NOTED} more" if len(lines) > NOTED else "")
    return values, [f"{task.name}: {path}:{named} has no text; predicted the training split's {value!r}"]


def find_fallback(task: ScoredTask, saved: Any, folder: Path) -> Any:
    """Returns the prediction for a row without text, from the checkpoint, else from the training split."""
    if saved is not None:
        return saved
    examples, _ = load_split(task, folder, "train")
    if examples is None or not examples.labelled or not examples.rows:
        raise InputError(
            f"{task.name}: a row has no text, and no training split says what to predict for it; "
            f"put {task.file('train')} into {folder}"
        )
    return task.majority_prediction(examples.rows)


def _encodable(text: str) -> str:
    """Replaces halves of surrogate pairs, which no tokenizer takes, by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
