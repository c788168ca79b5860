"""Predictions for texts that come one a line: from the command line or from standard input."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from minbert import InputError
from multitask.inference.run import Run

STANDARD_INPUT = "-"
LINES_AT_ONCE = 256  # of a file; a terminal is answered line by line


def given_texts(run: Run, task: str, words: Sequence[str]) -> tuple[str, ...]:
    """Returns the one text, or the two of a pair, of a command line."""
    wanted = 1 if run.task(task).config.text2 is None else 2
    if len(words) != wanted:
        what = "one text" if wanted == 1 else "the two texts of a pair"
        raise InputError(f"{len(words)} texts; {task} takes {what}, each in quotes, or - for standard input")
    return tuple(words)


def texts_of(run: Run, task: str, lines: Iterable[bytes]) -> Iterator[tuple[str, ...]]:
    """Yields the text of each line, or the two of a pair with a tab between; InputError names a bad line."""
    wanted = 1 if run.task(task).config.text2 is None else 2
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"line {number} of standard input is not UTF-8 ({error.reason}); give UTF-8"
            ) from None
        texts = (text,) if wanted == 1 else tuple(text.split("\t"))
        if len(texts) != wanted:
            raise InputError(
                f"line {number} of standard input has {len(texts)} texts; {task} takes two with a tab between"
            )
        yield texts


def predict_lines(
    run: Run, task: str, texts: Iterable[tuple[str, ...]], at_once: int = LINES_AT_ONCE
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields each text, or pair, with its prediction, in order and in constant memory."""
    texts = iter(texts)
    while chunk := list(islice(texts, at_once)):
        sides = [list(side) for side in zip(*chunk, strict=True)]
        yield from zip(chunk, run.predict(task, *sides), strict=True)


def as_line(prediction: Any) -> str:
    """Formats a prediction as one line; tags have spaces between."""
    return " ".join(prediction) if isinstance(prediction, list | tuple) else str(prediction)


def as_json(task: str, predicted: Iterable[tuple[tuple[str, ...], Any]]) -> str:
    rows = [
        {"text": texts[0] if len(texts) == 1 else texts, "prediction": value} for texts, value in predicted
    ]
    return json.dumps({"task": task, "predictions": rows})
