"""The reference tokenizer against transformers' BertTokenizer and the `tokenizers` library, on tricky text.

Run: pytest tests/minbert/check/references/test_tokenizer.py
"""

import random

import pytest
from tokenizers.implementations import BertWordPieceTokenizer

from minbert.check.references.tokenizer import TEXTS, VOCABULARY, Tokenizer

TOKENIZER = Tokenizer({token: number for number, token in enumerate(VOCABULARY)})
ALL_TEXTS = [text for texts in TEXTS.values() for text in texts]
# What random texts are made of: words, pieces, and characters of every kind that BERT treats in its own way.
PARTS = [
    *(token.removeprefix("##") for token in VOCABULARY if not token.startswith("[")),
    *"É ñ ü Å İ ß ẞ Σ ς ﬁ Ǆ Ж".split(),
    *("\u0301", "\u0308", "\u20e3", "\ufe0f", "\u200d", "\u200b", "\ufeff", "\u00ad", "\x00", "\x07", "\x7f"),
    *(" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2009", "\u3000", "\u2028", "\ufffd"),
    *("«", "»", "、", "。", "·", "§", "€", "©", "№", "½", "١", "한", "ひ", "\uf900", "\U0002a6d6"),
    *("👨", "🏽", "❤", "🇨🇭", "x" * 99),
]


@pytest.fixture(scope="module")
def vocabulary_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def rust():
    return BertWordPieceTokenizer({token: n for n, token in enumerate(VOCABULARY)}, lowercase=True)


def test_equals_transformers(vocabulary_file):
    transformers = pytest.importorskip("transformers", reason="compares with transformers")
    theirs = transformers.BertTokenizer(vocabulary_file, do_lower_case=True)
    assert len(theirs) == len(VOCABULARY) == len(set(VOCABULARY))
    for text in ALL_TEXTS:
        assert TOKENIZER.ids(text) == theirs(text)["input_ids"], ascii(text)


def test_equals_the_library(rust):
    for text in ALL_TEXTS:
        assert TOKENIZER.ids(text) == rust.encode(text).ids, ascii(text)


def test_equals_the_library_on_random_text(rust):
    generator = random.Random(0)
    for _ in range(3000):
        text = "".join(generator.choices(PARTS, k=generator.randint(1, 12)))
        assert TOKENIZER.ids(text) == rust.encode(text).ids, ascii(text)
