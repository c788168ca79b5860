"""The tokenizer checked: the ids of short texts, each stage with texts that need one step of it."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from types import ModuleType

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.mistakes import tokenizer as table
from minbert.check.mistakes.table import Wrong, mistakes, replay_of
from minbert.check.references.tokenizer import Tokenizer as Formulas
from minbert.check.stage import InvalidOutput, MissingImplementation, Outputs, Part, Stage

Tokenize = Callable[[str, Mapping[str, int]], list[int]]


def load(module: ModuleType) -> Tokenize | None:
    """The function tokenize of a file, or None where there is none."""
    return getattr(module, "tokenize", None)


def own() -> Tokenize:
    from minbert.tokenizer import Tokenizer

    @cache
    def tokenizer_of(tokens: tuple[str, ...]) -> Tokenizer:
        return Tokenizer.from_vocabulary({token: number for number, token in enumerate(tokens)})

    def tokenize(text: str, vocabulary: Mapping[str, int]) -> list[int]:
        tokenizer = tokenizer_of(tuple(sorted(vocabulary, key=vocabulary.get)))
        return tokenizer.encode([text])[0].ids

    return tokenize


def inputs(stage: str) -> tuple[dict[str, str], dict[str, int]]:
    """A stage's texts by the name of their output, and the vocabulary."""
    _, settings = model_fixture("tokenizer")
    texts = {}
    for number, text in enumerate(settings["texts"][stage], start=1):
        shown = ascii(text if len(text) <= 30 else text[:30] + "...")
        texts[f"ids of text {number}, {shown}"] = text
    return texts, {token: number for number, token in enumerate(settings["vocabulary"])}


def run(stage: str, candidate: Tokenize | None) -> Outputs:
    """The ids of a stage's texts."""
    if candidate is None:
        raise MissingImplementation("the file has no function tokenize")
    texts, vocabulary = inputs(stage)
    return {name: ids(candidate(text, dict(vocabulary))) for name, text in texts.items()}


def ids(answer: Iterable[int]) -> np.ndarray:
    answer = list(answer)
    if any(isinstance(token, str) for token in answer):
        raise InvalidOutput("tokenize returned tokens; it has to return their ids")
    return np.array(answer, dtype=np.float64)


def expected(stage: str) -> Outputs:
    return {
        name: model_fixture("tokenizer")[0][f"{stage}/{number}"]
        for number, name in enumerate(inputs(stage)[0])
    }


def stage(name: str, rows: tuple[Wrong, ...], *builds_on: str) -> Stage:
    def outputs(kind: type[Formulas]) -> Outputs:
        texts, vocabulary = inputs(name)
        return {output: np.array(kind(vocabulary).ids(text)) for output, text in texts.items()}

    return Stage(
        name=name,
        run=partial(run, name),
        expected=partial(expected, name),
        mistakes=mistakes(rows, Formulas, outputs),
        builds_on=("words", *builds_on) if name != "words" else (),
        replay=replay_of(Formulas, outputs),
    )


TOKENIZER = Part(
    name="tokenizer",
    file="tokenizer.py",
    stages=(
        stage("words", table.WORDS),
        stage("accents", table.ACCENTED_LETTERS),
        stage("capital letters", table.CAPITAL_LETTERS, "accents"),
        stage("spaces", table.SPACES),
        stage("control characters", table.CONTROL_CHARACTERS),
        stage("punctuation", table.MARKS_IN_TEXT, "accents"),
        stage("ideographs", table.CJK, "accents"),
        stage("word pieces", table.WORD_PIECES),
        stage("unknown words", table.UNKNOWN_WORDS, "word pieces"),
        stage("long words", table.LONG_WORDS, "word pieces"),
        stage("symbols", table.SYMBOLS, "accents", "word pieces", "unknown words"),
    ),
    load=load,
    own=own,
    names=("tokenize",),
)
