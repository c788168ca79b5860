"""BERT's uncased tokenizer, a method for each step, and the texts on which it is checked.

Devlin et al. 2018, as the authors' description of it has it: clean up, spaces around ideographs, split at
spaces, lower case, accents off, punctuation apart, then word pieces, the longest first (Schuster and Nakajima
2012; Wu et al. 2016, section 4.1).
"""

import string
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

UNKNOWN = "[UNK]"
LONGEST_WORD = 100  # in characters; a longer one is unknown
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("! \" # $ % & ' ( ) * + , - . / : ; < = > ? @ [ \\ ] ^ _ ` { | } ~ “ ” — ¿ … ...").split(" "),
    *"the cat dog sat on a mat saw two at of is not do don t well known i it c s u e 5 3 8 50".split(),
    *"cafe caf naive nave resume straße able watch unwatch un run token x x² x2 ½".split(),
    *"##cat ##s ##able ##watch ##at ##ning ##ing ##ed ##ize".split(),
    *"##a ##b ##d ##e ##l ##n ##r ##t ##u ##w".split(),
    *"中 文 㐀 𠀀 ねこ 🙂 ❤ 👍 ж жук ##ук".split(),
]
TEXTS = {
    "words": ["the cat sat on the mat", "", "dog"],
    "accents": ["café", "a naïve résumé", "cafe\u0301", "nai\u0308ve"],
    "capital letters": ["The CAT sat", "tHE dOG", "Straße", "ЖУК"],
    "spaces": ["the\tcat\nsat", "  the   cat  ", "the\u00a0cat", "the\u3000dog\r\nsat"],
    "control characters": ["the c\x07at", "\x00dog", "c\u200bat", "do\u00adg", "the \ufffdcat", "dog\ufeff"],
    "punctuation": [
        "the cat, the dog!",
        "don't",
        "well-known",
        "not... it",
        "it is 5 + 3 = 8 $ ~ ^",
        "c_s <a|c>",
        "“the cat” — ¿ not?",
        "50%.",
    ],
    "ideographs": ["中文", "cat中文dog", "文中 文", "㐀𠀀", "ねこ"],
    "word pieces": ["unwatchable", "cats running", "catsat", "dogs watched", "tokenized"],
    "unknown words": ["zebra", "the zebra sat", "catz", "unwatchz cat", "catmat", "z"],
    "long words": ["the " + "a" * 100, "dog " + "a" * 101, "cat " + "u" + "n" * 150 + " sat"],
    "symbols": ["the cat 🙂", "i ❤\ufe0f cats", "x² ½", "👍 dog", "🙂🙂 cat"],
}


def category(character: str) -> str:
    return unicodedata.category(character)


def is_ascii_mark(character: str) -> bool:
    return character in string.punctuation


class Tokenizer:
    """Turns a text into ids, step by step in BERT's order."""

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
        return character in "\t\n\r" or category(character).startswith("Z")

    def is_removed(self, character: str) -> bool:
        return character == "\ufffd" or category(character).startswith("C")

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
        return len(word) > LONGEST_WORD

    def next_piece(self, word: str, inside: bool) -> str | None:
        """Returns the piece that the rest of a word begins with; `inside`: not the word's first piece."""
        marked = "##" + word if inside else word
        shortest = 3 if inside else 1
        return next(
            (marked[:n] for n in self.sizes(shortest, len(marked)) if marked[:n] in self.vocabulary), None
        )

    def sizes(self, shortest: int, longest: int) -> Iterable[int]:
        return range(longest, shortest - 1, -1)

    def partly_unknown(self, found: list[str], rest: str) -> list[str]:
        return [UNKNOWN]


def fixture() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The ids of each text as "STAGE/NUMBER"; settings: the vocabulary by id, texts by stage."""
    tokenizer = Tokenizer({token: number for number, token in enumerate(VOCABULARY)})
    tensors = {
        f"{stage}/{number}": np.array(tokenizer.ids(text))
        for stage, texts in TEXTS.items()
        for number, text in enumerate(texts)
    }
    return tensors, {"vocabulary": VOCABULARY, "texts": TEXTS}
