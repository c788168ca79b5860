"""SentenceEncoder: texts -> vectors, in batches cut by tokens, equal to encoding each text alone."""

import copy
import ctypes
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from minbert.adapters.registry import adapted_modules
from minbert.batch import sorted_batches
from minbert.errors import InputError
from minbert.model import BertModel
from minbert.pooling import FIRST_TOKEN_POOLINGS, NORMALIZATIONS, POOLINGS, Projection, normalize, pool
from minbert.tokenizer import Tokenizer, TokenSequence, pack
from minbert.weights.hub import find_folder
from minbert.weights.sentence_transformers import read_modules


class HalfPrecisionCopy:
    """The copy of a model whose embeddings and layers compute in bf16 or fp16; the pooler stays fp32.

    It is made when it is first asked for, and anew when the model's weights or adapters in use have changed
    since, or the other format is asked for. Changes through `parameter.data`, which torch does not count, are
    not seen.
    """

    def __init__(self, model: BertModel):
        self.model = model
        self._copy: BertModel | None = None
        self._made_from: list | None = None

    def current(self, dtype: torch.dtype) -> BertModel:
        state = [
            dtype,
            *((parameter.data_ptr(), parameter._version) for parameter in self.model.parameters()),
        ]
        state += [module.active for module in adapted_modules(self.model)]
        if state != self._made_from:
            self._copy = copy.deepcopy(self.model).requires_grad_(False).eval()
            self._copy.embeddings.to(dtype)
            self._copy.encoder.to(dtype)
            self._made_from = state
        return self._copy


def has_bf16_instructions() -> bool:
    """Returns True if this CPU multiplies bf16 numbers (AVX-512 BF16 or AMX); without that bf16 is slower."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: an older torch may lack them
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


PRECISIONS = ("fp32", "bf16", "fp16", "auto")
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
BATCH_TOKENS = 4096  # larger batches gain nothing on two cores
STEP = 256  # sizes of batches are multiples of it in a piece of many tokens; see _step
TRIM_EVERY = 4  # batches; each time costs 0.4 % of a small model's time
CHUNK = 4096  # texts sorted by length together; bounds the memory of a stream
FROM_FOLDER = "from the folder"


class SentenceEncoder:
    """Encodes sentences with a BertModel. N sentences, D features.

    `pooling` is cls, pooler, mean or max; `normalize` l1, l2 or None; `projection` a last linear layer.
    """

    def __init__(
        self,
        model: BertModel,
        tokenizer: Tokenizer,
        pooling: str = "mean",
        normalize: str | None = None,
        projection: Projection | None = None,
        max_length: int | None = None,
    ):
        if pooling not in POOLINGS:
            raise InputError(f"pooling is {pooling!r}; choose from {', '.join(POOLINGS)}")
        if normalize not in NORMALIZATIONS:
            raise InputError(f"normalize is {normalize!r}; choose l1, l2 or None")
        if pooling == "pooler" and not model.config.family.pooler:
            raise InputError(
                f"pooling is 'pooler', and {model.config.family.name} has none; take cls or mean"
            )
        tokenizer.check_embeddings(model.config.vocab_size)
        self.model = model.eval()
        self.half = HalfPrecisionCopy(self.model)
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.normalize = normalize
        self.projection = projection
        limit = model.config.max_length
        self.max_length = limit if max_length is None else min(max_length, limit)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        pooling: str | None = None,
        normalize: str | None = FROM_FOLDER,
        adapter: str | None = None,
    ) -> "SentenceEncoder":
        """From a folder; what is not given is as its `modules.json` says, else mean pooling, not normalised.

        `adapter` names the task whose adapter is used, in a folder that holds one for each.

        Raises InputError for a folder without a BERT, or with unknown modules.
        """
        folder = find_folder(source)
        found = read_modules(folder)
        return cls(
            BertModel.from_pretrained(folder, adapter=adapter),
            Tokenizer.from_pretrained(folder),
            pooling or found["pooling"],
            found["normalize"] if normalize == FROM_FOLDER else normalize,
            found["projection"],
            found["max_length"],
        )

    @property
    def size(self) -> int:
        """D, the number of features of a vector."""
        return self.projection.linear.out_features if self.projection else self.model.config.hidden_size

    def encode(self, texts: Sequence[str], precision: str = "fp32", progress: bool = False) -> np.ndarray:
        """One vector a text -> (N, D) float32, in the order of `texts`."""
        if isinstance(texts, str):
            raise InputError("texts is one string; give a list of texts")
        encoded, done = np.empty((len(texts), self.size), dtype=np.float32), 0
        with tqdm(total=len(texts), unit=" texts", disable=not progress) as bar:
            for vectors in self.stream(texts, precision):
                encoded[done : done + len(vectors)] = vectors
                done += len(vectors)
                bar.update(len(vectors))
        return encoded

    def stream(self, texts: Iterable[str], precision: str = "fp32") -> Iterator[np.ndarray]:
        """The vectors of any number of texts, in their order, in pieces (n, D) and constant memory.

        While the model computes a piece, a thread tokenizes the next one.
        """
        half = HALF.get(self.resolve(precision))
        model = self.model if half is None else self.half.current(half)
        texts = iter(texts)
        pieces = iter(lambda: list(islice(texts, CHUNK)), [])
        with ThreadPoolExecutor(1) as tokenizing:
            waiting = tokenizing.submit(self._tokenize, next(pieces, []))
            while sequences := waiting.result():
                waiting = tokenizing.submit(self._tokenize, next(pieces, []))
                yield self._encode_piece(model, sequences)

    def _tokenize(self, texts: list[str]) -> list[TokenSequence]:
        return self.tokenizer.encode(texts, max_length=self.max_length)

    @torch.inference_mode()
    def _encode_piece(self, model: BertModel, sequences: list[TokenSequence]) -> np.ndarray:  # (n, D)
        vectors = np.empty((len(sequences), self.size), dtype=np.float32)
        lengths = [len(sequence.ids) for sequence in sequences]
        step = _step(sum(lengths))
        for number, indices in enumerate(sorted_batches(lengths, BATCH_TOKENS), start=1):
            chosen = [sequences[i] for i in indices]
            # The longest sequence comes first, so it has a token, or none is wanted.
            filler = -sum(lengths[i] for i in indices) % step
            chosen += _filler(filler, self.model.config.max_length, chosen[0].ids[:1])
            batch = pack(chosen).to(self.device)
            output = model(
                batch, cls_only=self.pooling in FIRST_TOKEN_POOLINGS, pooler=self.pooling == "pooler"
            )
            pooled = pool(output, self.pooling)[: len(indices)]
            if self.projection is not None:
                pooled = self.projection(pooled)
            vectors[indices] = normalize(pooled, self.normalize).cpu().numpy()
            if number % TRIM_EVERY == 0 and self.device.type == "cpu":
                return_freed_memory()
        return vectors

    @property
    def device(self) -> torch.device:
        return self.model.embeddings.word.weight.device

    def resolve(self, precision: str) -> str:
        """Returns fp32, bf16 or fp16: what `precision` means on this machine.

        "auto" is bf16 where the hardware has it, else fp16 on CUDA, fp32 elsewhere. Raises InputError for
        fp16 without CUDA, where it is slower than fp32.
        """
        if precision not in PRECISIONS:
            raise InputError(f"precision is {precision!r}; choose from {', '.join(PRECISIONS)}")
        on_cuda = self.device.type == "cuda"
        if precision == "fp16" and not on_cuda:
            raise InputError(f"precision fp16 needs a CUDA device, this is {self.device}; take bf16 or fp32")
        if precision != "auto":
            return precision
        if on_cuda:
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return "bf16" if has_bf16_instructions() else "fp32"


def _step(tokens: int) -> int:
    """Returns what the sizes of the batches of a piece are multiples of: a power of 2, 1/64 of it at most.

    oneDNN keeps compiled kernels for each size of a batch, some 100 kB each, and tensors of many sizes leave
    gaps in the heap: over 10^6 lines of any number of tokens in the last batch of a piece both take 300 MB.
    """
    return min(STEP, 1 << max(tokens // 64, 1).bit_length() - 1)


def _filler(tokens: int, longest: int, token: list[int]) -> list[TokenSequence]:
    """Returns sequences of one token, `tokens` in all, none of more than `longest`."""
    lengths = [longest] * (tokens // longest) + [tokens % longest] * (tokens % longest > 0)
    return [TokenSequence(token * length, [0] * length) for length in lengths]


def return_freed_memory() -> None:
    """Returns freed memory to the system where the C library is glibc, whose heap else keeps all gaps."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)
