"""The tokenizer checked: the ids of short texts, each stage with texts that need one step of it."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from types import ModuleType

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.mistakes import tokenizer_pieces as pieces
from minbert.check.mistakes import tokenizer_words as words
from minbert.check.mistakes.tokenizer import Tokenizing, mistakes, output_name
from minbert.check.stage import BadAnswer, NotThere, Outputs, Part, Stage

Tokenize = Callable[[str, Mapping[str, int]], list[int]]


def load(module: ModuleType) -> Tokenize | None:
    """The function tokenize of a file, or None where there is none."""
    return getattr(module, "tokenize", None)


def own() -> Tokenize:
    from tokenizers.implementations import BertWordPieceTokenizer

    from minbert.tokenizer import Tokenizer

    @cache
    def tokenizer_of(tokens: tuple[str, ...]) -> Tokenizer:
        vocabulary = {token: number for number, token in enumerate(tokens)}
        return Tokenizer(BertWordPieceTokenizer(vocabulary, lowercase=True)._tokenizer)

    def tokenize(text: str, vocabulary: Mapping[str, int]) -> list[int]:
        tokenizer = tokenizer_of(tuple(sorted(vocabulary, key=vocabulary.get)))
        return tokenizer.encode([text])[0].ids

    return tokenize


def run(stage: str, candidate: Tokenize | None) -> Outputs:
    """The ids of a stage's texts."""
    if candidate is None:
        raise NotThere("the file has no function tokenize")
    _, settings = model_fixture("tokenizer")
    vocabulary = {token: number for number, token in enumerate(settings["vocabulary"])}
    texts = settings["texts"][stage]
    return {output_name(n, text): ids(candidate(text, dict(vocabulary))) for n, text in enumerate(texts)}


def ids(answer: Iterable[int]) -> np.ndarray:
    answer = list(answer)
    if any(isinstance(token, str) for token in answer):
        raise BadAnswer("tokenize returned tokens; it has to return their ids")
    return np.array(answer, dtype=np.float64)


def expected(stage: str) -> Outputs:
    tensors, settings = model_fixture("tokenizer")
    return {
        output_name(number, text): tensors[f"{stage}/{number}"]
        for number, text in enumerate(settings["texts"][stage])
    }


def stage(name: str, kinds: tuple[type[Tokenizing], ...], *builds_on: str) -> Stage:
    return Stage(
        name=name,
        run=partial(run, name),
        expected=partial(expected, name),
        mistakes=mistakes(name, kinds),
        builds_on=("words", *builds_on) if name != "words" else (),
    )


TOKENIZER = Part(
    name="tokenizer",
    file="tokenizer.py",
    stages=(
        stage("words", (*pieces.AROUND, pieces.ShortestFirst)),
        stage("accents", words.ACCENTED_LETTERS),
        stage("capital letters", words.CAPITAL_LETTERS, "accents"),
        stage("spaces", words.SPACES),
        stage("control characters", words.CONTROL_CHARACTERS),
        stage("punctuation", words.MARKS_IN_TEXT, "accents"),
        stage("ideographs", words.CJK, "accents"),
        stage("word pieces", pieces.WORD_PIECES),
        stage("unknown words", pieces.UNKNOWN_WORDS, "word pieces"),
        stage("long words", pieces.LONG_WORDS, "word pieces"),
        stage("symbols", words.SYMBOLS, "accents", "word pieces", "unknown words"),
    ),
    load=load,
    own=own,
)
