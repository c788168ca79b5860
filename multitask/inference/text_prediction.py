"""Predictions for texts that come one a line: from the command line or from standard input."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from minbert import InputError
from multitask.inference.run import Run
from multitask.tasks.predictions import PredictionFormat, text_of

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


class Predicted(NamedTuple):
    """A text, or the two of a pair, its prediction and, where asked for, class -> probability."""

    texts: tuple[str, ...]
    value: Any
    probabilities: dict[str, float] | None = None


def predict_lines(
    run: Run,
    task: str,
    texts: Iterable[tuple[str, ...]],
    at_once: int = LINES_AT_ONCE,
    probabilities: bool = False,
) -> Iterator[Predicted]:
    """Yields each text, or pair, with its prediction, in order and in constant memory."""
    kind, texts = run.task(task), iter(texts)
    names = list(map(str, kind.classes)) if probabilities else []
    while chunk := list(islice(texts, at_once)):
        sides = [list(side) for side in zip(*chunk, strict=True)]
        if not probabilities:
            yield from map(Predicted, chunk, run.predict(task, *sides))
            continue
        scores = run.example_scores(task, run.examples(task, *sides))
        shares = [dict(zip(names, row, strict=True)) for row in kind.probabilities(scores).tolist()]
        yield from map(Predicted, chunk, kind.hard(scores), shares)


def as_line(predicted: Predicted, format: PredictionFormat) -> str:
    """Formats a prediction as one line; tags have spaces between. Probabilities follow after tabs."""
    shares = (predicted.probabilities or {}).items()
    return "\t".join([text_of(predicted.value, format), *(f"{name} {share:.4f}" for name, share in shares)])


def as_json(task: str, predicted: Iterable[Predicted]) -> str:
    rows = []
    for texts, value, probabilities in predicted:
        row = {"text": texts[0] if len(texts) == 1 else texts, "prediction": value}
        rows.append(row if probabilities is None else row | {"probabilities": probabilities})
    return json.dumps({"task": task, "predictions": rows})
