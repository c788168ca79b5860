"""Text -> token ids, around the `tokenizers` library, with our own truncation; padding only where asked for.

A folder's tokenizer is that of transformers (weights/tokenizer_folder.py). What tokenizer.json bakes in of
lengths and padding is switched off: one that pads everything to 128 tokens (as that of all-MiniLM-L6-v2 does)
must not decide what the model computes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import tokenizers
import torch
from tokenizers.implementations import BertWordPieceTokenizer
from torch import Tensor

from minbert.batch import Batch
from minbert.errors import InputError
from minbert.weights.hub import find_folder
from minbert.weights.tokenizer_folder import NAMES, build_tokenizer, read_tokenizer, write_tokenizer

# The settings of a backend alone: as it is, with the token types that it gives.
WITHOUT_FOLDER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
}
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # of a trained vocabulary
ALPHABET = 1000  # letters that a trained vocabulary holds at most, the library's default
# The values of `truncation` and `padding`, those of transformers; None is neither.
TRUNCATIONS = {
    True: "longest_first",
    False: None,
    "longest_first": "longest_first",
    "only_first": "only_first",
    "only_second": "only_second",
    "do_not_truncate": None,
}
PADDINGS = {
    True: "longest",
    False: None,
    "longest": "longest",
    "max_length": "max_length",
    "do_not_pad": None,
}
# The replacements of transformers' clean_up_tokenization_spaces in decoded text, in this order.
CLEANED = (
    *((mark, mark[1:]) for mark in (" .", " ?", " !", " ,")),
    (" ' ", "'"),
    *((mark, mark[1:]) for mark in (" n't", " 'm", " 's", " 've", " 're")),
)


class TokenSequence(NamedTuple):
    """A text or a pair as ids, with special tokens; `words` maps tokens to words, -1 is none."""

    ids: list[int]
    types: list[int]
    words: list[int] | None = None
    truncated: bool = False


class Frame(NamedTuple):
    """The special tokens around one text or two: `ids[0]` before the first, `ids[1]` after it, and so on.

    `types` are their token types, `text_types` those of the texts.
    """

    ids: list[list[int]]
    types: list[list[int]]
    text_types: list[int]

    @property
    def size(self) -> int:
        return sum(map(len, self.ids))

    def around(self, texts: Sequence[list[int]]) -> tuple[list[int], list[int]]:
        """Returns ids and token types of texts with their special tokens."""
        ids, types = [*self.ids[0]], [*self.types[0]]
        for text, kind, after, after_types in zip(
            texts, self.text_types, self.ids[1:], self.types[1:], strict=True
        ):
            ids += text
            ids += after
            types += [kind] * len(text)
            types += after_types
        return ids, types


class Tokenizer:
    """A BERT's tokenizer. `tokenizer(texts)` is a packed Batch, `tokenizer.encode(texts)` its sequences.

    `backend` is of the tokenizers library; `settings` has tokenizer_config.json's words for its class, its
    special tokens, and the sides that are cut and padded.
    """

    def __init__(self, backend: tokenizers.Tokenizer, settings: Mapping[str, Any] | None = None):
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.settings = dict(settings) if settings else WITHOUT_FOLDER
        self.special_tokens = {key: self.settings[key] for key in NAMES if self.settings.get(key)}
        self.model_max_length: int | None = self.settings.get("model_max_length")
        self.truncation_side: str = self.settings.get("truncation_side", "right")
        self.padding_side: str = self.settings.get("padding_side", "right")
        self.has_token_types = "token_type_ids" in self.settings.get("model_input_names", ())
        # The special tokens stand where the library puts them around a token, its own name.
        token = next((token.content for token in backend.get_added_tokens_decoder().values()), "a")
        self._frames = [self._frame(backend.encode(*[token] * count), count) for count in (1, 2)]

    @classmethod
    def from_pretrained(cls, source: str | Path, local_files_only: bool = False) -> "Tokenizer":
        """From a folder's tokenizer.json or vocab.txt and the files beside it, as transformers reads them.

        `source` is a folder or a model of the hub, which `local_files_only` does not ask.
        Raises InputError where the folder has neither, for damaged and contradictory files, and for classes
        and settings that are not supported.
        """
        return cls(*read_tokenizer(find_folder(source, local_files_only)))

    @classmethod
    def from_vocabulary(cls, vocabulary: Mapping[str, int]) -> "Tokenizer":
        """BERT's lower-casing WordPiece tokenizer of a vocabulary, token -> id."""
        return cls(*build_tokenizer("BertTokenizer", {"vocab": dict(vocabulary)}))

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
        return cls.from_vocabulary(backend.get_vocab())

    def __len__(self) -> int:
        """The number of tokens, added ones included."""
        return self.backend.get_vocab_size()

    def __repr__(self) -> str:
        return f"Tokenizer({self.settings['tokenizer_class']}, {len(self)} tokens)"

    @property
    def vocab(self) -> dict[str, int]:
        """Tokens -> ids, added ones included."""
        return self.backend.get_vocab()

    def get_vocab(self) -> dict[str, int]:
        return self.vocab

    @property
    def vocab_size(self) -> int:
        """The number of rows that a table of embeddings needs: the largest id, and one."""
        return max(self.vocab.values()) + 1

    def _special_id(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        return None if token is None else self.backend.token_to_id(token)

    @property
    def pad_token_id(self) -> int | None:
        return self._special_id("pad_token")

    @property
    def unk_token_id(self) -> int | None:
        return self._special_id("unk_token")

    @property
    def cls_token_id(self) -> int | None:
        return self._special_id("cls_token")

    @property
    def sep_token_id(self) -> int | None:
        return self._special_id("sep_token")

    @property
    def mask_token_id(self) -> int | None:
        return self._special_id("mask_token")

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of the special tokens that have a name, and of those that the folder lists beside them."""
        listed = self.settings.get("additional_special_tokens", ())
        named = [value for key, value in self.settings.items() if key.endswith("_token") and value]
        return [self.backend.token_to_id(token) for token in dict.fromkeys([*named, *listed])]

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """One token -> its id, several -> a list; one that is not in the vocabulary has that of unk_token."""
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(token) for token in tokens]
        number = self.backend.token_to_id(tokens)
        return self.unk_token_id if number is None else number

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """One id -> its token, several -> a list, without special tokens where asked for."""
        if isinstance(ids, int):
            return self.backend.id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self.backend.id_to_token(token) for token in map(int, ids) if token not in skipped]

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text, uncut and without special tokens but those in the text."""
        [encoding] = self._tokens([text], words=False)
        return self.convert_ids_to_tokens(encoding.ids)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of token ids, as far as they tell it."""
        text = self.backend.decode([int(token) for token in ids], skip_special_tokens=skip_special_tokens)
        is_bpe = isinstance(self.backend.model, tokenizers.models.BPE)
        if self.settings.get("clean_up_tokenization_spaces") and not is_bpe:
            for mark, cleaned in CLEANED:
                text = text.replace(mark, cleaned)
        return text

    def encode(
        self,
        texts: Sequence[str] | Sequence[Sequence[str]],
        pairs: Sequence[str] | None = None,
        words: bool = False,
        max_length: int | None = 512,
        truncation: bool | str = True,
    ) -> list[TokenSequence]:
        """Each text (with its pair), cut to `max_length` tokens, the longer one of a pair first.

        `words=True`: each text is a list of words, and `TokenSequence.words` says which one a token is from.
        `truncation` as transformers knows it: "only_first" and "only_second" cut one text of a pair, False
        none.
        Raises InputError for sides of unequal number, text that is not a string, and a max_length too small.
        """
        strategy = _choose("truncation", truncation, TRUNCATIONS)
        longest = max_length if strategy else None
        self._check(texts, pairs, words, longest)
        sides = [self._tokens(side, words) for side in ([texts] if pairs is None else [texts, pairs])]
        sequences = []
        for encodings in zip(*sides, strict=True):
            ids = [encoding.ids for encoding in encodings]
            numbers = [encoding.word_ids for encoding in encodings] if words else None
            sequences.append(self._framed(ids, numbers, longest, strategy))
        return sequences

    def _tokens(self, texts: Sequence, words: bool) -> list[tokenizers.Encoding]:
        """The tokens of texts, uncut and without special tokens."""
        # Without the characters' offsets, which nothing here reads, it takes three quarters of the time.
        encode = self.backend.encode_batch if words else self.backend.encode_batch_fast
        inputs = [list(text) for text in texts] if words else list(texts)
        try:
            return encode(inputs, is_pretokenized=words, add_special_tokens=False)
        except TypeError:  # strings they are, so this is what the library cannot take
            raise InputError("a text holds half of a surrogate pair; decode it from its file anew") from None

    def _framed(
        self,
        texts: Sequence[list[int]],
        words: Sequence[list[int | None]] | None,
        max_length: int | None,
        strategy: str | None = "longest_first",
    ) -> TokenSequence:
        """The ids of a text or a pair, cut, with special tokens; `words` as the library numbers them."""
        frame, kept = self._frames[len(texts) - 1], [len(text) for text in texts]
        truncated = max_length is not None and sum(kept) + frame.size > max_length
        if truncated:
            kept = kept_lengths(kept, max_length - frame.size, strategy)
            texts = self._cut(texts, kept)
        ids, types = frame.around(texts)
        if words is None:
            return TokenSequence(ids, types, None, truncated)
        numbers = [[-1 if word is None else word for word in side] for side in self._cut(words, kept)]
        marks = frame._replace(ids=[[-1] * len(part) for part in frame.ids])
        return TokenSequence(ids, types, marks.around(numbers)[0], truncated)

    def _cut(self, texts: Sequence[list], kept: Sequence[int]) -> list[list]:
        if self.truncation_side == "right":
            return [text[:count] for text, count in zip(texts, kept, strict=True)]
        return [text[len(text) - count :] for text, count in zip(texts, kept, strict=True)]

    def join(self, first: list[int], second: list[int], max_length: int) -> TokenSequence:
        """The pair of two texts given as ids without special tokens, cut as `encode` cuts."""
        return self._framed([first, second], None, max_length)

    @overload
    def __call__(
        self,
        texts: str | Sequence[str] | Sequence[Sequence[str]],
        pairs: str | Sequence[str] | None = None,
        words: bool = False,
        max_length: int | None = None,
        *,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        return_tensors: None = None,
    ) -> Batch: ...

    @overload
    def __call__(
        self,
        texts: str | Sequence[str] | Sequence[Sequence[str]],
        pairs: str | Sequence[str] | None = None,
        words: bool = False,
        max_length: int | None = None,
        *,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        return_tensors: str,
    ) -> dict[str, Tensor]: ...

    def __call__(
        self,
        texts: str | Sequence[str] | Sequence[Sequence[str]],
        pairs: str | Sequence[str] | None = None,
        words: bool = False,
        max_length: int | None = None,
        *,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        return_tensors: str | None = None,
    ) -> Batch | dict[str, Tensor]:
        """The encoded texts, or one, as a packed Batch, cut to `max_length` (512); see `encode`.

        With `return_tensors="pt"` a dict of tensors (B, S) that `model(**inputs)` takes; then `padding`,
        `truncation` and `max_length` are those of transformers, with its defaults: neither is done.
        Raises InputError for no text at all, and for tensors of texts of several lengths without padding.
        """
        if isinstance(texts, str) and not words:
            texts, pairs = [texts], None if pairs is None else [pairs]
        if return_tensors is None:
            if _choose("padding", padding, PADDINGS):
                raise InputError('a Batch has no padding; leave out padding, or add return_tensors="pt"')
            longest = 512 if max_length is None else max_length
            return pack(self.encode(texts, pairs, words, longest, True if truncation is None else truncation))
        if return_tensors != "pt":
            raise InputError(
                f'return_tensors is {return_tensors!r}; it must be "pt", or left out for a Batch'
            )
        if truncation is None:
            truncation = max_length is not None and padding is False
        longest = self.model_max_length if max_length is None else max_length
        sequences = self.encode(texts, pairs, words, longest, truncation)
        return self._tensors(sequences, _choose("padding", padding, PADDINGS), longest)

    def _tensors(
        self, sequences: Sequence[TokenSequence], padding: str | None, max_length: int | None
    ) -> dict[str, Tensor]:
        lengths = [len(sequence.ids) for sequence in sequences]
        if not lengths:
            raise InputError("the batch has no sequence; give at least one text")
        least = {"longest": max(lengths), "max_length": max_length}.get(padding) or 0
        width = max(lengths[0], least)
        if any(max(length, least) != width for length in lengths):
            raise InputError(
                f"the texts have {min(lengths)} to {max(lengths)} tokens; give padding=True, and "
                f"truncation=True where some are too long"
            )
        fill = self.pad_token_id
        if fill is None and min(lengths) < width:
            raise InputError("the tokenizer has no padding token; leave out return_tensors for a Batch")

        def rows(columns: Iterable[list[int]], filler: int | None) -> Tensor:
            padded = []
            for column in columns:
                filling = [filler] * (width - len(column))
                padded.append(column + filling if self.padding_side == "right" else filling + column)
            return torch.tensor(padded, dtype=torch.long)

        inputs = {
            "input_ids": rows((sequence.ids for sequence in sequences), fill),
            "token_type_ids": rows((sequence.types for sequence in sequences), 0),
            "attention_mask": rows(([1] * length for length in lengths), 0),
        }
        if not self.has_token_types:
            del inputs["token_type_ids"]
        return inputs

    def save_pretrained(self, folder: str | Path, max_length: int | None = None) -> None:
        """Writes tokenizer.json, tokenizer_config.json and vocab.txt, of which transformers makes the same.

        `max_length` is what it cuts to when it is asked to cut.
        """
        settings = self.settings if max_length is None else self.settings | {"model_max_length": max_length}
        write_tokenizer(Path(folder), self.backend, settings)

    save = save_pretrained  # its name in 0.1

    def fingerprint(self) -> str:
        """Returns a hash of all that decides the tokens of a text."""
        state = [self.backend.to_str(), self.truncation_side, self.has_token_types]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()

    def check_embeddings(self, rows: int) -> None:
        """Raises InputError where a table of embeddings has fewer rows than there are ids."""
        beyond = sorted((number, token) for token, number in self.vocab.items() if number >= rows)
        if beyond:
            named = ", ".join(f"{token!r} has {number}" for number, token in beyond[:3])
            raise InputError(
                f"the tokenizer has ids to {beyond[-1][0]}, the table of embeddings {rows} rows ({named}); "
                f"take the tokenizer that belongs to the weights"
            )

    def _frame(self, encoding: tokenizers.Encoding, count: int) -> Frame:
        """Reads off an encoding of `count` texts where the library puts special tokens."""
        ids, types, text_types = [[]], [[]], []
        for token, kind, side in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
            kind = kind if self.has_token_types else 0
            if side is None:
                ids[-1].append(token)
                types[-1].append(kind)
            elif side == len(text_types):
                text_types.append(kind)
                ids.append([])
                types.append([])
        if len(text_types) != count or not ids[0]:
            raise InputError(
                "the post-processor of tokenizer.json puts no special token before a text, or changes their "
                "order; name BertTokenizer as tokenizer_class in tokenizer_config.json, or mend the file"
            )
        return Frame(ids, types, text_types)

    def _check(self, texts, pairs, words: bool, max_length: int | None) -> None:
        if isinstance(texts, str):
            raise InputError("texts is one string; give a list of texts")
        if pairs is not None and len(texts) != len(pairs):
            raise InputError(f"{len(texts)} texts and {len(pairs)} pairs; give one pair for each text")
        frame = self._frames[pairs is not None]
        least = frame.size + len(frame.text_types)
        if max_length is not None and max_length < least:
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


def kept_lengths(lengths: Sequence[int], room: int, strategy: str = "longest_first") -> list[int]:
    """Returns how many tokens stay of one text or two that have more than `room`, as transformers cuts.

    "longest_first" takes tokens from the longer text until both are equal, then from both; an odd one stays
    with the longer text, or the second of equal ones.
    """
    if len(lengths) == 1:
        return [room]
    first, second = lengths
    if strategy == "longest_first":
        shorter = min(first, second, room // 2)
        return [shorter, room - shorter] if first <= second else [room - shorter, shorter]
    kept = [room - second, second] if strategy == "only_first" else [first, room - first]
    if kept[strategy == "only_second"] < 1:
        raise InputError(
            f"{strategy} leaves nothing of a text; cut the longer one first, or give more max_length"
        )
    return kept


def _choose(name: str, value: Any, known: Mapping[Any, Any]) -> Any:
    if not isinstance(value, bool | str) or value not in known:
        raise InputError(f"{name} is {value!r}; choose from {', '.join(map(repr, known))}")
    return known[value]


def pack(sequences: Sequence[TokenSequence]) -> Batch:
    """One packed Batch of the sequences. Raises InputError for none."""
    words = [sequence.words for sequence in sequences]
    return Batch.from_sequences(
        [sequence.ids for sequence in sequences],
        [sequence.types for sequence in sequences],
        None if any(entry is None for entry in words) else words,
    )
