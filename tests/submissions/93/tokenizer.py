"""BERT's uncased WordPiece tokenizer."""

import unicodedata

CJK_RANGES = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
LONGEST_WORD = 100


def is_space(char):
    return char in " \t\n\r" or unicodedata.category(char) == "Zs"


def is_control(char):
    return char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf", "Co")


def is_punctuation(char):
    code = ord(char)
    in_ascii = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return in_ascii or unicodedata.category(char).startswith("P")


def is_cjk(char):
    return any(first <= ord(char) <= last for first, last in CJK_RANGES)


def clean(text):
    kept = []
    for char in text:
        if ord(char) in (0, 0xFFFD) or is_control(char):
            continue
        if is_space(char):
            kept.append(" ")
        elif is_cjk(char):
            kept.append(f" {char} ")
        else:
            kept.append(char)
    return "".join(kept)


def strip_accents(text):
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def split_words(text):
    words = []
    for chunk in clean(text).split():
        current = ""
        for char in strip_accents(chunk.lower()):
            if is_punctuation(char):
                words.extend([current, char])
                current = ""
            else:
                current += char
        words.append(current)
    return [word for word in words if word.strip()]


def word_pieces(word, vocabulary):
    if len(word) > LONGEST_WORD:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            return pieces + ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def tokenize(text, vocabulary):
    tokens = ["[CLS]"]
    for word in split_words(text):
        tokens += word_pieces(word, vocabulary)
    return [vocabulary[token] for token in tokens + ["[SEP]"]]
