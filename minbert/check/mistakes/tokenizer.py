"""BERT's uncased tokenizer, one method for each step; a mistake is a subclass in which one step is wrong."""

import string
import unicodedata
from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.stage import Mistake, Outputs

UNKNOWN = "[UNK]"
PIECES = "Take the longest piece from the left, with ## after the first; one missing makes the word [UNK]."
PUNCTUATION = "Make a word of each character of string.punctuation, and of each of Unicode's category P."
CONTROL = "Remove characters of categories Cc and Cf, save tab and line ends, which are spaces; and U+FFFD."
IDEOGRAPHS = "Put spaces around each CJK ideograph, in the rare blocks too; kana and hangul stay in words."
ACCENTS = 'Decompose by unicodedata.normalize("NFD", ...) and remove characters of category Mn.'
MARKS = "Return the ids of [CLS], the pieces and [SEP]."


def category(character: str) -> str:
    return unicodedata.category(character)


def is_ascii_mark(character: str) -> bool:
    return character in string.punctuation


class Tokenizing:
    """A text -> ids, step by step in BERT's order."""

    name = cause = remedy = ""  # of a mistake

    def __init__(self, vocabulary: Mapping[str, int]):
        self.vocabulary = vocabulary

    def ids(self, text: str) -> list[int]:
        tokens = [piece for word in self.words(text) for piece in self.pieces(word)]
        return [self.vocabulary[token] for token in self.marked(tokens)]

    def marked(self, tokens: list[str]) -> list[str]:
        return ["[CLS]", *tokens, "[SEP]"]

    def words(self, text: str) -> list[str]:
        text = "".join(self.cleaned(character) for character in text)
        text = "".join(f" {c} " if self.is_ideograph(c) else c for c in text)
        return [
            word
            for part in self.parts(text)
            for word in self.parts(self.split(self.without_accents(self.lower(part))))
        ]

    def cleaned(self, character: str) -> str:
        """The character, a space, or nothing."""
        if self.is_space(character):
            return " "
        return "" if self.is_removed(character) else character

    def is_space(self, character: str) -> bool:
        return character in "\t\n\r" or category(character) == "Zs"

    def is_removed(self, character: str) -> bool:
        return character == "\ufffd" or category(character) in ("Cc", "Cf")

    def is_ideograph(self, character: str) -> bool:
        name = unicodedata.name(character, "")
        return name.startswith(("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH"))

    def parts(self, text: str) -> list[str]:
        return [part for part in text.split(" ") if part]

    def lower(self, part: str) -> str:
        return part.lower()

    def without_accents(self, part: str) -> str:
        return "".join(c for c in unicodedata.normalize("NFD", part) if category(c) != "Mn")

    def split(self, part: str) -> str:
        """The part with spaces around punctuation."""
        return "".join(f" {c} " if self.is_punctuation(c) else c for c in part)

    def is_punctuation(self, character: str) -> bool:
        return is_ascii_mark(character) or category(character).startswith("P")

    def pieces(self, word: str) -> list[str]:
        if self.is_too_long(word):
            return [UNKNOWN]
        found = []
        while word:
            piece = self.next_piece(word, bool(found))
            if not piece:
                return self.partly_unknown(found, word)
            found.append(piece)
            word = word[len(piece) - (2 if piece.startswith("##") else 0) :]
        return found

    def is_too_long(self, word: str) -> bool:
        return len(word) > 100

    def next_piece(self, word: str, inside: bool) -> str | None:
        """The piece that the rest of a word begins with; `inside`: not the word's first piece."""
        marked = "##" + word if inside else word
        shortest = 3 if inside else 1
        return next(
            (marked[:n] for n in self.sizes(shortest, len(marked)) if marked[:n] in self.vocabulary), None
        )

    def sizes(self, shortest: int, longest: int) -> Iterable[int]:
        return range(longest, shortest - 1, -1)

    def partly_unknown(self, found: list[str], rest: str) -> list[str]:
        return [UNKNOWN]


def outputs(stage: str, kind: type[Tokenizing] = Tokenizing) -> dict[str, np.ndarray]:
    """The ids of a stage's texts by a kind of tokenizing."""
    _, settings = model_fixture("tokenizer")
    tokenizing = kind({token: number for number, token in enumerate(settings["vocabulary"])})
    texts = settings["texts"][stage]
    return {output_name(n, text): np.array(tokenizing.ids(text)) for n, text in enumerate(texts)}


def output_name(number: int, text: str) -> str:
    """ids of text 2, 'the cat'"""
    shown = ascii(text if len(text) <= 30 else text[:30] + "...")
    return f"ids of text {number + 1}, {shown}"


def mistakes(stage: str, kinds: Iterable[type[Tokenizing]]) -> tuple[Mistake, ...]:
    return tuple(Mistake(kind.name, kind.cause, kind.remedy, partial(predict, stage, kind)) for kind in kinds)


def predict(stage: str, kind: type[Tokenizing]) -> Outputs:
    return outputs(stage, kind)
