"""Random weights and sentences of made-up words, for questions that only sizes and lengths decide."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import torch

from minbert import BertConfig, BertModel, Tokenizer

SIZES = {
    "MiniLM": BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    ),
    "bert-base": BertConfig(),
}
# Tokens, [CLS] and [SEP] too, that such shares of the course's training inputs do not exceed; a pair of Quora
# is one input.
SHARES = (0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
LENGTHS = {
    "SST": (4, 9, 16, 24, 33, 41, 46, 55, 63, 80),
    "Quora": (11, 17, 22, 27, 36, 47, 55, 74, 108, 327),
    "full 128": (128,) * len(SHARES),
}
WORDS = 12_000  # of the vocabulary, in the sentences; SST has as many
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CLASSES = 5
SEED = 11711


def drawn_lengths(name: str, count: int) -> list[int]:
    """Tokens of `count` inputs, spread as LENGTHS says, in random order."""
    shares = (np.arange(count) + 0.5) / count
    lengths = np.rint(np.interp(shares, SHARES, LENGTHS[name])).astype(int).tolist()
    Random(SEED).shuffle(lengths)
    return lengths


def sentences(sizes: BertConfig, lengths: Sequence[int]) -> list[str]:
    """A sentence of each length, in tokens, for the tokenizer of `made_up`."""
    draw, words = Random(SEED), vocabulary(sizes)[len(MARKS) :][:WORDS]
    return [" ".join(draw.choices(words, k=length - 2)) for length in lengths]


def vocabulary(sizes: BertConfig) -> list[str]:
    """The marks, then words that are one token each."""
    return [*MARKS, *(f"w{number}" for number in range(sizes.vocab_size - len(MARKS)))]


@contextmanager
def made_up(sizes: BertConfig, texts: Sequence[str]) -> Iterator[Path]:
    """A folder with random weights, a tokenizer, and the texts as SST's training file, for a while."""
    draw = Random(SEED)
    with TemporaryDirectory(prefix="minbert-made-up-") as name:
        folder = Path(name)
        (folder / "vocab.txt").write_text("\n".join(vocabulary(sizes)) + "\n", "utf-8")
        Tokenizer.from_pretrained(folder).save(folder)
        torch.manual_seed(SEED)
        BertModel(sizes).save_pretrained(folder)
        rows = [f"{i}\t{i}\t{text}\t{draw.randrange(CLASSES)}\n" for i, text in enumerate(texts)]
        (folder / "ids-sst-train.csv").write_text("".join(["\tid\tsentence\tsentiment\n", *rows]), "utf-8")
        yield folder
