"""`multitask predict RUN --task TASK --text ...`: texts from the command line and from standard input."""

import io
import json
import sys

import pytest

from minbert import InputError
from multitask.cli.main import run as run_command
from multitask.inference.text_prediction import predict_lines, texts_of

TEXTS = ["a good movie", "very dull", "", "what is a cat"]


@pytest.fixture
def predict(run, monkeypatch, capsys):
    """`predict(*arguments, given=b"")` -> the lines printed, with these bytes on standard input."""

    def command(*arguments: str, given: bytes = b"") -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="ascii"))
        assert not run_command(["predict", str(run.folder), *arguments])
        return capsys.readouterr().out.splitlines()

    return command


def test_one_text_and_a_pair(predict, run):
    assert predict("--task", "sst", "--text", TEXTS[0]) == [str(run.predict("sst", TEXTS[:1])[0])]
    pair = "a cat", "the dog"
    assert predict("--task", "sts", "--text", *pair) == [str(run.predict("sts", pair[:1], pair[1:])[0])]


def test_standard_input_a_text_a_line(predict, run):
    given = "\r\n".join(TEXTS[:2]) + "\n" + "\n".join(TEXTS[2:])
    assert predict("--task", "sst", "--text", "-", given=given.encode()) == [
        str(label) for label in run.predict("sst", TEXTS)
    ]
    accents = "café naïve"
    found = predict("--task", "sst", "--text", "-", given=accents.encode())
    assert found == [str(run.predict("sst", [accents])[0])]
    assert predict("--task", "sst", "--text", "-") == []
    sides = ["a cat", "a good film"], ["the dog", "a book"]
    lines = "".join(f"{one}\t{two}\n" for one, two in zip(*sides, strict=True)).encode()
    scores = [float(line) for line in predict("--task", "sts", "--text", "-", given=lines)]
    assert scores == pytest.approx(run.predict("sts", *sides), abs=1e-6)


def test_one_json_object(predict, run):
    labels = run.predict("sst", TEXTS[:2])
    lines = predict("--task", "sst", "--text", "-", "--json", given="\n".join(TEXTS[:2]).encode())
    rows = [{"text": text, "prediction": label} for text, label in zip(TEXTS, labels, strict=False)]
    assert len(lines) == 1 and json.loads(lines[0]) == {"task": "sst", "predictions": rows}


def test_lines_are_read_as_they_are_answered(run):
    """A terminal's line is answered before the next one is read, and a long file is not read at once."""
    read = []

    def lines():
        for text in TEXTS:
            read.append(text)
            yield text.encode()

    answers = predict_lines(run, "sst", texts_of(run, "sst", lines()), at_once=1)
    next(answers)
    assert len(read) == 1
    assert len([*answers]) == len(TEXTS) - 1


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        (("--task", "sst", "--text", "a", "b"), b"", "2 texts; sst takes one text"),
        (("--task", "sts", "--text", "a"), b"", "1 texts; sts takes the two texts of a pair"),
        (("--task", "sts", "--text", "-"), b"a\tb\na cat\n", "line 2 of standard input has 1 texts"),
        (("--task", "sst", "--text", "-"), b"a\n\xff\n", "line 2 of standard input is not UTF-8"),
        (("--task", "news", "--text", "a"), b"", "no task 'news'"),
        (("--json",), b"", "--json goes with --text"),
    ],
)
def test_what_is_refused(predict, arguments, given, message):
    with pytest.raises(InputError, match=message):
        predict(*arguments, given=given)
