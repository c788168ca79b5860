"""Compares an exported folder with our own outputs, by the library that it is for.

Where that library is not installed, the folder is compared as this package reads it.
"""

import copy
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from minbert.errors import InputError
from minbert.export.hf import merged_encoder
from minbert.model import BertModel
from minbert.sentence import SentenceEncoder
from minbert.tokenizer import Tokenizer

TOLERANCE = 1e-4  # of the largest value; other tokens change far more
TEXTS = (
    "A short text, isn't it?",
    "Déjà VU in Ångström: naïve cafés, STRAẞE, İstanbul",
    "中文字符 and English日本語, 한국어, العربية, हिन्दी",
    "  spaces\tand\nlines; e\u0301 \ufb01 \u200b\u00ad 3.14 $5 a/b @user #tag 😀",
    "",
)


def encoder_difference(folder: Path, model: BertModel, tokenizer: Tokenizer, max_length: int) -> float:
    """Returns the largest difference of token rows of transformers' AutoModel and AutoTokenizer from ours.

    Raises InputError for other tokens, and for a difference beyond rounding.
    """
    texts = _texts(tokenizer, max_length)
    with torch.no_grad(), _quiet():
        ours = [model(tokenizer([text], max_length=max_length)).last_hidden_state[0] for text in texts]
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError:
            read, again = BertModel.from_pretrained(folder), Tokenizer.from_pretrained(folder)
            theirs = [read(again([text], max_length=max_length)).last_hidden_state[0] for text in texts]
        else:
            read = AutoModel.from_pretrained(folder, local_files_only=True).eval()
            again = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            inputs = [again([text], truncation=True, return_tensors="pt") for text in texts]
            theirs = [read(**tensors).last_hidden_state[0] for tensors in inputs]
    return _largest(theirs, ours, texts)


def sentence_difference(folder: Path, encoder: SentenceEncoder, adapter: str | None = None) -> float:
    """Returns the largest difference of SentenceTransformer's vectors from ours, with an adapter merged.

    Raises InputError for a difference beyond rounding.
    """
    merged = copy.copy(encoder)
    merged.model = merged_encoder(encoder.model, adapter)
    texts = _texts(encoder.tokenizer, encoder.max_length)
    with _quiet():
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            read = SentenceEncoder.from_pretrained(folder)
        else:
            read = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        theirs = torch.as_tensor(read.encode(texts))
    return _largest(list(theirs), list(torch.from_numpy(merged.encode(texts))), texts)


def _texts(tokenizer: Tokenizer, max_length: int) -> list[str]:
    """Returns texts of many kinds of letters, with the tokenizer's added tokens, and one that is cut."""
    added = [token.content for token in tokenizer.backend.get_added_tokens_decoder().values()]
    return [*TEXTS, f"Some {' '.join(added[-20:])} more", "Some words " * max_length]


def _largest(found: list[Tensor], expected: list[Tensor], texts: list[str]) -> float:
    largest, size = 0.0, max(float(rows.abs().amax()) for rows in expected)
    for theirs, ours, text in zip(found, expected, texts, strict=True):
        same = theirs.shape == ours.shape
        difference = float((theirs - ours).abs().amax()) if same else math.inf
        if not difference <= TOLERANCE * size:
            raise InputError(
                f"the exported folder gives other vectors than ours for {text[:40]!r}, by {difference:.1e} "
                f"of {size:.1e}; nothing was written: take --format onnx, or another version of the library"
            )
        largest = max(largest, difference)
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the libraries log, warn of and draw while they load a folder."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from transformers.utils import logging as bars
        except ImportError:
            bars = None
        drawn = bars is not None and bars.is_progress_bar_enabled()
        if drawn:
            bars.disable_progress_bar()
        try:
            yield
        finally:
            logging.disable(level)
            if drawn:
                bars.enable_progress_bar()
