"""Text -> token ids, around the `tokenizers` library: BERT's WordPiece with our own truncation, no padding.

What a file bakes in of truncation and padding is switched off: a tokenizer.json that pads everything to 128
tokens (as that of all-MiniLM-L6-v2 does) must not decide what the model computes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import tokenizers
from tokenizers.implementations import BertWordPieceTokenizer
from tokenizers.models import WordPiece

from minbert.batch import Batch
from minbert.errors import InputError
from minbert.files import atomic_write, read_json_object, write_json
from minbert.weights.hub import find_folder

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALPHABET = 1000  # letters that a trained vocabulary holds at most, the library's default


class TokenSequence(NamedTuple):
    """[CLS] a [SEP] or [CLS] a [SEP] b [SEP] as ids; `words` maps tokens to words, -1 is none."""

    ids: list[int]
    types: list[int]
    words: list[int] | None = None
    truncated: bool = False


class Tokenizer:
    """BERT's tokenizer. `tokenizer(texts)` is a packed Batch, `tokenizer.encode(texts)` its sequences."""

    def __init__(self, backend: tokenizers.Tokenizer, lowercase: bool = True):
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.lowercase = lowercase

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "Tokenizer":
        """From `tokenizer.json`, else from `vocab.txt` with what `tokenizer_config.json` says of lower case.

        Raises InputError where the folder holds neither, or a damaged one.
        """
        folder = find_folder(source)
        described = folder / "tokenizer_config.json"
        settings = read_json_object(described) if described.is_file() else {}
        lowercase = bool(settings.get("do_lower_case", True))
        path = folder / "tokenizer.json"
        if not path.is_file():
            path = folder / "vocab.txt"
        if not path.is_file():
            raise InputError(f"{folder} holds no tokenizer.json and no vocab.txt; fetch the folder again")
        try:
            if path.name == "tokenizer.json":
                return cls(tokenizers.Tokenizer.from_file(str(path)), lowercase)
            backend = BertWordPieceTokenizer(
                WordPiece.read_file(str(path)),
                lowercase=lowercase,
                handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
                strip_accents=settings.get("strip_accents"),
            )
            return cls(backend._tokenizer, lowercase)
        except Exception as error:  # the library raises Exception itself
            raise InputError(f"{path} is damaged ({error}); fetch it again") from None

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 8000) -> "Tokenizer":
        """A lower-casing WordPiece tokenizer whose vocabulary is learnt from `texts`, always the same one.

        The library numbers the pieces ##x in the order of a hash table, and breaks ties between merges by
        these numbers. Given as special tokens they have a fixed order.
        """
        backend = BertWordPieceTokenizer(lowercase=True)
        counts = Counter(piece for text in texts for piece in backend.normalize(text).split())
        letters, inner = Counter(), set()
        for piece, count in counts.items():
            for word, _ in backend.pre_tokenizer.pre_tokenize_str(piece):
                letters.update({letter: count * word.count(letter) for letter in word})
                inner.update(word[1:])
        alphabet = sorted(letters, key=lambda letter: (-letters[letter], letter))[:ALPHABET]
        backend.train_from_iterator(
            (" ".join([piece] * count) for piece, count in counts.items()),
            vocab_size=vocab_size,
            min_frequency=1,
            limit_alphabet=len(alphabet),
            initial_alphabet=alphabet,
            special_tokens=[*MARKS, *(f"##{letter}" for letter in sorted(inner & set(alphabet)))],
            show_progress=False,
        )
        # Built anew from its vocabulary, so that [CLS] and [SEP] are put around each text.
        return cls(BertWordPieceTokenizer(backend.get_vocab(), lowercase=True)._tokenizer)

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size()

    def encode(
        self,
        texts: Sequence[str] | Sequence[Sequence[str]],
        pairs: Sequence[str] | None = None,
        words: bool = False,
        max_length: int = 512,
    ) -> list[TokenSequence]:
        """Each text (with its pair), cut to `max_length` tokens, the longer one of a pair first.

        `words=True`: each text is a list of words, and `TokenSequence.words` says which one a token is from.
        Raises InputError for sides of unequal number, text that is not a string, and a max_length too small.
        """
        self._check(texts, pairs, words, max_length)
        self.backend.enable_truncation(max_length)  # "longest first" is the library's default
        inputs = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        if words:
            inputs = [list(item) if pairs is None else (list(item[0]), list(item[1])) for item in inputs]
        # Without the characters' offsets, which nothing here reads, it takes three quarters of the time.
        encode = self.backend.encode_batch if words else self.backend.encode_batch_fast
        try:
            encodings = encode(inputs, is_pretokenized=words)
        except TypeError:  # strings they are, so this is what the library cannot take
            raise InputError("a text holds half of a surrogate pair; decode it from its file anew") from None
        self.backend.no_truncation()
        return [
            TokenSequence(
                encoding.ids,
                encoding.type_ids,
                [-1 if word is None else word for word in encoding.word_ids] if words else None,
                bool(encoding.overflowing),
            )
            for encoding in encodings
        ]

    def __call__(
        self,
        texts: Sequence[str] | Sequence[Sequence[str]],
        pairs: Sequence[str] | None = None,
        words: bool = False,
        max_length: int = 512,
    ) -> Batch:
        """The encoded texts as one packed Batch; see `encode`. Raises InputError for no text at all."""
        return pack(self.encode(texts, pairs, words, max_length))

    def save(self, folder: str | Path) -> None:
        """Writes tokenizer.json, vocab.txt and tokenizer_config.json, as transformers reads them."""
        folder = Path(folder)
        vocabulary = sorted(self.backend.get_vocab().items(), key=lambda item: item[1])
        settings = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lowercase,
            "cls_token": "[CLS]",
            "mask_token": "[MASK]",
            "pad_token": "[PAD]",
            "sep_token": "[SEP]",
            "unk_token": "[UNK]",
        }
        with atomic_write(folder / "tokenizer.json") as file:
            file.write(self.backend.to_str(pretty=True))
        with atomic_write(folder / "vocab.txt") as file:
            file.writelines(token + "\n" for token, _ in vocabulary)
        write_json(folder / "tokenizer_config.json", settings)

    def _check(self, texts, pairs, words: bool, max_length: int) -> None:
        if isinstance(texts, str):
            raise InputError("texts is one string; give a list of texts")
        if pairs is not None and len(texts) != len(pairs):
            raise InputError(f"{len(texts)} texts and {len(pairs)} pairs; give one pair for each text")
        least = 3 if pairs is None else 5
        if max_length < least:
            raise InputError(
                f"max_length is {max_length}; it must be at least {least} to hold a token and the marks"
            )
        for number, text in [*enumerate(texts), *enumerate(pairs or ())]:
            if words and (isinstance(text, str) or not all(isinstance(word, str) for word in text)):
                raise InputError(
                    f"text {number} is not a list of strings; with words=True give lists of words"
                )
            if not words and not isinstance(text, str):
                raise InputError(f"text {number} is a {type(text).__name__}; give strings")


def pack(sequences: Sequence[TokenSequence]) -> Batch:
    """One packed Batch of the sequences. Raises InputError for none."""
    words = [sequence.words for sequence in sequences]
    return Batch.from_sequences(
        [sequence.ids for sequence in sequences],
        [sequence.types for sequence in sequences],
        None if any(entry is None for entry in words) else words,
    )
