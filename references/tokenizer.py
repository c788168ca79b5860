"""BERT's uncased tokenizer: Devlin et al. 2018, as the authors' description of it has it, step by step.

Clean up, spaces around ideographs, split at spaces, lower case, accents off, punctuation apart, then word
pieces, the longest first (Schuster and Nakajima 2012; Wu et al. 2016, section 4.1).
"""

import unicodedata
from typing import Any

import numpy as np

LONGEST_WORD = 100  # in characters; a longer one is unknown
IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
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


def is_control(character: str) -> bool:
    return character not in "\t\n\r" and unicodedata.category(character).startswith("C")


def is_space(character: str) -> bool:
    return character in " \t\n\r" or unicodedata.category(character) == "Zs"


def is_punctuation(character: str) -> bool:
    """Unicode's punctuation, and everything in ASCII that is no letter, digit, space or control character."""
    code = ord(character)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(character).startswith("P")


def is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in IDEOGRAPHS)


def words(text: str) -> list[str]:
    """The words and punctuation marks that word pieces are made of."""
    cleaned = []
    for character in text:
        if character in "\0\ufffd" or is_control(character):
            continue
        if is_space(character):
            cleaned.append(" ")
        elif is_ideograph(character):
            cleaned.append(f" {character} ")
        else:
            cleaned.append(character)
    found = []
    for word in "".join(cleaned).split():
        decomposed = unicodedata.normalize("NFD", word.lower())
        plain = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
        spaced = "".join(f" {c} " if is_punctuation(c) else c for c in plain)
        found.extend(spaced.split())
    return found


def pieces(word: str, vocabulary: set[str]) -> list[str]:
    """The longest piece from the left, again and again; [UNK] alone where one is missing."""
    if len(word) > LONGEST_WORD:
        return ["[UNK]"]
    found, start = [], 0
    while start < len(word):
        marked = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if marked + word[start:end] in vocabulary), None)
        if end is None:
            return ["[UNK]"]
        found.append(marked + word[start:end])
        start = end
    return found


def token_ids(text: str) -> list[int]:
    known = set(VOCABULARY)
    tokens = [piece for word in words(text) for piece in pieces(word, known)]
    return [VOCABULARY.index(token) for token in ("[CLS]", *tokens, "[SEP]")]


def fixture() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The ids of each text as "STAGE/NUMBER"; settings: the vocabulary by id, texts by stage."""
    tensors = {
        f"{stage}/{number}": np.array(token_ids(text))
        for stage, texts in TEXTS.items()
        for number, text in enumerate(texts)
    }
    return tensors, {"vocabulary": VOCABULARY, "texts": TEXTS}
