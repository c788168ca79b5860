"""SentenceEncoder: texts -> vectors, in batches cut by tokens, equal to encoding each text alone.

Its names are those of sentence-transformers' SentenceTransformer. N sentences, D features.
"""

import copy
import ctypes
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from minbert.adapters.registry import adapted_modules
from minbert.batch import sorted_batches
from minbert.errors import InputError, check, or_null, whole
from minbert.model import BertModel, BertOutput
from minbert.pooling import FROM_FOLDER, SentenceModules, normalize
from minbert.tokenizer import Tokenizer, TokenSequence, pack
from minbert.weights.hub import find_folder
from minbert.weights.sentence_transformers import SIMILARITIES, lower_case_first, read_sentence_folder


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


COMPUTES = ("fp32", "bf16", "fp16", "auto")
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = {  # of vectors; binary ones hold eight features a byte
    "float32": np.float32,
    "int8": np.int8,
    "uint8": np.uint8,
    "binary": np.int8,
    "ubinary": np.uint8,
}
BATCH_TOKENS = 4096  # larger batches gain nothing on two cores
STEP = 256  # sizes of batches are multiples of it in a piece of many tokens; see _step
TRIM_EVERY = 4  # batches; each time costs 0.4 % of a small model's time
CHUNK = 4096  # texts sorted by length together; bounds the memory of a stream
QUERY = ("query",)  # the names of prompts, of which the first that there is is taken
DOCUMENT = ("document", "passage", "corpus")
_RULES = dict.fromkeys(("batch_size", "truncate_dim"), or_null(whole(1)))


class SentenceEncoder:
    """Encodes sentences with a BertModel.

    `modules` make vectors of its outputs; the default is mean pooling. `prompts` are texts by name that are
    put before sentences, the one called `default_prompt_name` where none is asked for. `truncate_dim` keeps
    that number of features. `similarity_fn_name` is cosine, dot, euclidean or manhattan.
    Raises InputError for modules of another size, and for settings that are not known.
    """

    def __init__(
        self,
        model: BertModel,
        tokenizer: Tokenizer,
        modules: SentenceModules | None = None,
        max_length: int | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        truncate_dim: int | None = None,
        similarity_fn_name: str = "cosine",
    ):
        size = model.config.hidden_size
        modules = SentenceModules.of(size) if modules is None else modules
        if modules.pooling.size != size:
            raise InputError(
                f"embedding_dimension of the pooling is {modules.pooling.size}, and the model's hidden_size "
                f"{size}; take the modules that belong to the model"
            )
        if "pooler" in modules.pooling.modes and not model.config.family.pooler:
            raise InputError(
                f"pooling is 'pooler', and {model.config.family.name} has none; take cls or mean"
            )
        tokenizer.check_embeddings(model.config.vocab_size)
        check({"truncate_dim": truncate_dim}, {"truncate_dim": _RULES["truncate_dim"]})
        self.model = model.eval()
        self.half = HalfPrecisionCopy(self.model)
        self.tokenizer = tokenizer
        self.modules = modules.eval()
        limit = model.config.max_length
        self.max_length = limit if max_length is None else min(max_length, limit)
        given = {name: text or "" for name, text in (prompts or {}).items()}
        self.prompts = {"query": "", "document": ""} | given
        self.default_prompt_name = default_prompt_name
        self.resolve_prompt()
        self.truncate_dim = truncate_dim
        self.similarity_fn_name = similarity_fn_name
        _similarity_functions(similarity_fn_name)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        pooling: str | None = None,
        normalize: str | None = FROM_FOLDER,
        adapter: str | None = None,
        weights_prefix: str | None = None,
        **settings: Any,
    ) -> Self:
        """From a folder; what is not given is as the folder says, else mean pooling, not normalised.

        `pooling` takes the place of the folder's, `normalize` (l1, l2, None) that of a normalisation that is
        the last step. `adapter` names the task whose adapter is used, in a folder that holds one for each;
        `weights_prefix` one of several encoders, see BertModel.from_pretrained.
        `settings` are `prompts`, which are added to the folder's, and the class's other ones.

        Raises InputError for a folder without a BERT, and for settings and modules that are not supported.
        """
        folder = find_folder(source)
        found = read_sentence_folder(folder)
        model = BertModel.from_pretrained(found.transformer, adapter=adapter, weights_prefix=weights_prefix)
        tokenizer = Tokenizer.from_pretrained(found.transformer)
        if found.lower_case:
            lower_case_first(tokenizer)
        modules = found.modules or SentenceModules.of(model.config.hidden_size)
        given = {name: value for name, value in settings.items() if value is not None}
        given["prompts"] = {**found.settings.get("prompts", {}), **given.get("prompts", {})}
        return cls(
            model,
            tokenizer,
            modules.changed(pooling, normalize),
            **{"max_length": found.max_length, **found.settings, **given},
        )

    @property
    def size(self) -> int:
        """D, the number of features of a vector."""
        return self.columns()

    def get_embedding_dimension(self) -> int:
        """Returns D, the number of features of a vector."""
        return self.size

    get_sentence_embedding_dimension = get_embedding_dimension  # its name before version 6

    @property
    def max_seq_length(self) -> int:
        """The number of tokens to which sentences are cut."""
        return self.max_length

    @max_seq_length.setter
    def max_seq_length(self, length: int) -> None:
        check({"max_seq_length": length}, {"max_seq_length": whole(3)})
        self.max_length = min(length, self.model.config.max_length)

    def get_max_seq_length(self) -> int:
        """Returns the number of tokens to which sentences are cut."""
        return self.max_length

    @property
    def device(self) -> torch.device:
        return self.model.embeddings.word.weight.device

    def to(self, device: torch.device | str) -> Self:
        """Moves the weights to a device; returns the encoder."""
        self.model.to(device)
        self.modules.to(device)
        return self

    def __repr__(self) -> str:
        modules = ", ".join(self.modules.describe())
        return f"SentenceEncoder({modules}, max_length={self.max_length}, device={str(self.device)!r})"

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a folder that `from_pretrained` and sentence-transformers load.

        Raises InputError for poolings and normalisations that sentence-transformers does not have.
        """
        from minbert.export import write_sentence_encoder

        write_sentence_encoder(Path(folder), self)

    def encode(
        self,
        sentences: str | Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        convert_to_tensor: bool = False,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        compute: str = "fp32",
        show_progress_bar: bool = False,
        progress: bool | None = None,
    ) -> np.ndarray | Tensor | list[Tensor]:
        """One vector a sentence -> (N, D), in the order of `sentences`; of one string (D,).

        `prompt`, or the one called `prompt_name`, is put before each sentence. A batch has at most
        `batch_size` sentences, by default as many as compute fastest. Vectors are cut to `truncate_dim`
        features, then divided by their length with `normalize_embeddings`, then brought to `precision`:
        float32, int8 or uint8 (256 steps between the least and largest value of each feature), binary or
        ubinary (eight signs a byte). With `output_value="token_embeddings"` the result is a list of tensors
        (S, D): the rows of each sentence's tokens. `compute` is that of the model: fp32, bf16, fp16 or auto.

        Raises InputError for options that are not known, and for vectors that are not finite.
        """
        precision, compute = _old_precision(precision, compute)
        if progress is not None:
            warnings.warn("progress is show_progress_bar now", DeprecationWarning, stacklevel=2)
            show_progress_bar = progress
        if output_value not in ("sentence_embedding", "token_embeddings"):
            raise InputError(
                f"output_value is {output_value!r}; choose sentence_embedding or token_embeddings"
            )
        single = isinstance(sentences, str)
        texts = [sentences] if single else sentences if hasattr(sentences, "__len__") else list(sentences)
        common = dict(prompt=prompt, prompt_name=prompt_name, batch_size=batch_size, compute=compute)
        with tqdm(total=len(texts), unit=" texts", disable=not show_progress_bar) as bar:
            if output_value == "token_embeddings":
                if precision != "float32" or normalize_embeddings or truncate_dim is not None:
                    raise InputError(
                        "precision, normalize_embeddings and truncate_dim are for sentence_embedding; leave "
                        "them out with token_embeddings"
                    )
                rows: list[Tensor] = []
                for piece in self._token_rows(texts, **common):
                    rows += piece
                    bar.update(len(piece))
                return rows[0] if single else rows
            streamed = "float32" if precision in ("int8", "uint8") else precision
            common |= dict(normalize_embeddings=normalize_embeddings, truncate_dim=truncate_dim)
            shape = len(texts), self.columns(truncate_dim, streamed)
            encoded, done = np.empty(shape, PRECISIONS[streamed]), 0
            for vectors in self.stream(texts, precision=streamed, **common):
                encoded[done : done + len(vectors)] = vectors
                done += len(vectors)
                bar.update(len(vectors))
        if streamed != precision:
            encoded = quantize(encoded, precision)
        found = torch.from_numpy(encoded).to(self.device) if convert_to_tensor else encoded
        return found[0] if single else found

    def encode_query(
        self,
        sentences: str | Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        **options: Any,
    ) -> np.ndarray | Tensor | list[Tensor]:
        """`encode` with the prompt called "query", unless another one is asked for."""
        return self.encode(sentences, prompt=self.resolve_prompt(prompt, prompt_name, QUERY), **options)

    def encode_document(
        self,
        sentences: str | Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        **options: Any,
    ) -> np.ndarray | Tensor | list[Tensor]:
        """`encode` with the prompt called "document", "passage" or "corpus", unless another is asked for."""
        return self.encode(sentences, prompt=self.resolve_prompt(prompt, prompt_name, DOCUMENT), **options)

    def resolve_prompt(
        self, prompt: str | None = None, prompt_name: str | None = None, names: Sequence[str] = ()
    ) -> str:
        """Returns the text to put before sentences: `prompt`, the one called `prompt_name`, or a default.

        That is the first of `names` that there is, else the encoder's. Raises InputError for a name that is
        not there, and for both of `prompt` and `prompt_name`.
        """
        if prompt is not None and prompt_name is not None:
            raise InputError("prompt and prompt_name are both given; give one of them")
        if prompt is not None:
            return prompt
        if prompt_name is None:
            prompt_name = next((name for name in names if name in self.prompts), self.default_prompt_name)
        if prompt_name is None:
            return ""
        if prompt_name not in self.prompts:
            raise InputError(f"there is no prompt {prompt_name!r}; choose from {', '.join(self.prompts)}")
        return self.prompts[prompt_name]

    def stream(
        self,
        texts: Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        precision: str = "float32",
        compute: str = "fp32",
    ) -> Iterator[np.ndarray]:
        """The vectors of any number of texts, in their order, in pieces (n, D) and constant memory.

        Options are those of `encode`; int8 and uint8, which need all vectors, raise InputError.
        While the model computes a piece, a thread tokenizes the next one.
        """
        precision, compute = _old_precision(precision, compute)
        if precision in ("int8", "uint8"):
            raise InputError(f"precision {precision} needs the ranges of all vectors; take encode")
        width, done = self.columns(truncate_dim), 0
        prompt = self.resolve_prompt(prompt, prompt_name)
        prompt_length = self._prompt_length(prompt)
        pooling = self.modules.pooling
        reads = {"cls_only": pooling.first_token_only, "pooler": "pooler" in pooling.modes}
        model = self._model_for(compute)
        for sequences in self._sequences(texts, prompt):
            vectors = np.empty((len(sequences), width), dtype=np.float32)
            with torch.inference_mode():
                for indices, output in self._outputs(model, sequences, batch_size, **reads):
                    found = self.modules(output, prompt_length)[: len(indices), :width]
                    found = normalize(found, "l2") if normalize_embeddings else found
                    vectors[indices] = found.cpu().numpy()
            self._check_finite(np.isfinite(vectors).all(axis=1), done, compute)
            yield quantize(vectors, precision)
            done += len(vectors)

    def _token_rows(
        self,
        texts: Iterable[str],
        prompt: str | None,
        prompt_name: str | None,
        batch_size: int | None,
        compute: str,
    ) -> Iterator[list[Tensor]]:
        """The rows (S, D) of each text's tokens, prompt and special tokens too."""
        model, done = self._model_for(compute), 0
        for sequences in self._sequences(texts, self.resolve_prompt(prompt, prompt_name)):
            rows: list[Tensor] = [torch.empty(0)] * len(sequences)
            with torch.inference_mode():
                for indices, output in self._outputs(model, sequences, batch_size, pooler=False):
                    padded = output.last_hidden_state.float()
                    for row, index in zip(padded[: len(indices)], indices, strict=True):
                        rows[index] = row[: len(sequences[index].ids)].clone()
            self._check_finite(np.array([bool(row.isfinite().all()) for row in rows]), done, compute)
            yield rows
            done += len(rows)

    def _model_for(self, compute: str) -> BertModel:
        half = HALF.get(self.resolve(compute))
        return self.model if half is None else self.half.current(half)

    def _sequences(self, texts: Iterable[str], prompt: str) -> Iterator[list[TokenSequence]]:
        """The tokens of CHUNK texts at a time; those of the next ones are made meanwhile."""
        texts = iter(texts)
        pieces = iter(lambda: list(islice(texts, CHUNK)), [])
        with ThreadPoolExecutor(1) as tokenizing:
            waiting = tokenizing.submit(self._tokenize, next(pieces, []), prompt)
            while sequences := waiting.result():
                waiting = tokenizing.submit(self._tokenize, next(pieces, []), prompt)
                yield sequences

    def _tokenize(self, texts: list[str], prompt: str) -> list[TokenSequence]:
        if prompt:  # what is not a string is the tokenizer's to refuse
            texts = [prompt + text if isinstance(text, str) else text for text in texts]
        return self.tokenizer.encode(texts, max_length=self.max_length)

    def _outputs(
        self, model: BertModel, sequences: list[TokenSequence], batch_size: int | None, **reads: bool
    ) -> Iterator[tuple[list[int], BertOutput]]:
        """The model's outputs for batches of a piece, each with the indices of its sequences; then filler."""
        lengths = [len(sequence.ids) for sequence in sequences]
        step = _step(sum(lengths))
        for number, indices in enumerate(_batches(lengths, batch_size), start=1):
            chosen = [sequences[i] for i in indices]
            # The longest sequence comes first, so it has a token, or none is wanted.
            filler = -sum(lengths[i] for i in indices) % step
            chosen += _filler(filler, self.model.config.max_length, chosen[0].ids[:1])
            yield indices, model(pack(chosen).to(self.device), **reads)
            if number % TRIM_EVERY == 0 and self.device.type == "cpu":
                return_freed_memory()

    def columns(self, truncate_dim: int | None = None, precision: str = "float32") -> int:
        """Returns the number of columns of the vectors with these options of `encode`."""
        check({"truncate_dim": truncate_dim}, {"truncate_dim": _RULES["truncate_dim"]})
        size = self.modules.size
        features = min(size, truncate_dim or self.truncate_dim or size)
        return -(-features // 8) if precision in ("binary", "ubinary") else features

    def _prompt_length(self, prompt: str) -> int:
        """Returns the number of tokens that pooling leaves out: those of the prompt, without a last [SEP]."""
        if not prompt or self.modules.pooling.include_prompt:
            return 0
        alone, empty = self.tokenizer.encode([prompt, ""], max_length=self.max_length)
        return len(alone.ids) - (alone.ids[-1:] == empty.ids[-1:])

    def _check_finite(self, finite: np.ndarray, start: int, compute: str) -> None:
        """Raises InputError if a vector from number `start` on is not finite, and names the cause."""
        if finite.all():
            return
        for name, parameter in chain(self.model.named_parameters(), self.modules.named_parameters()):
            if not parameter.isfinite().all():
                raise InputError(f"the weights have NaN or infinite numbers in {name}; take other weights")
        raise InputError(
            f"the vector of text {start + int(np.argmin(finite))} is not finite with compute {compute}; take "
            f"compute fp32, or other weights"
        )

    def similarity(self, a: Any, b: Any) -> Tensor:
        """Compares all vectors (N, D) or (D,) of `a` with all of `b` by `similarity_fn_name` -> (N, M)."""
        a, b = (_vectors(given).reshape(-1, _vectors(given).shape[-1]) for given in (a, b))
        return _similarity_functions(self.similarity_fn_name)[0](a, b)

    def similarity_pairwise(self, a: Any, b: Any) -> Tensor:
        """Compares the vectors (N, D) of `a` with those of `b` one by one -> (N,)."""
        return _similarity_functions(self.similarity_fn_name)[1](_vectors(a), _vectors(b))

    def resolve(self, compute: str) -> str:
        """Returns fp32, bf16 or fp16: what `compute` means on this machine.

        "auto" is bf16 where the hardware has it, else fp16 on CUDA, fp32 elsewhere. Raises InputError for
        fp16 without CUDA, where it is slower than fp32.
        """
        if compute not in COMPUTES:
            raise InputError(f"compute is {compute!r}; choose from {', '.join(COMPUTES)}")
        on_cuda = self.device.type == "cuda"
        if compute == "fp16" and not on_cuda:
            raise InputError(f"compute fp16 needs a CUDA device, this is {self.device}; take bf16 or fp32")
        if compute != "auto":
            return compute
        if on_cuda:
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return "bf16" if has_bf16_instructions() else "fp32"


def quantize(vectors: np.ndarray, precision: str, ranges: np.ndarray | None = None) -> np.ndarray:
    """Vectors (N, D) of float32 in one of PRECISIONS, as sentence-transformers' quantize_embeddings.

    int8 and uint8 have 256 steps from the least to the largest value of each feature, `ranges` (2, D), by
    default those of the vectors. binary and ubinary hold the signs of eight features in a byte, (N, D / 8).
    """
    if precision == "float32":
        return vectors
    if precision in ("binary", "ubinary"):
        signs = np.packbits(vectors > 0, axis=-1)
        return signs if precision == "ubinary" else (signs ^ 128).view(np.int8)
    if ranges is None:
        if len(vectors) == 1:
            raise InputError(
                f"precision {precision} needs the ranges of several vectors; take float32 for one"
            )
        ranges = value_ranges(vectors)
    low, high = ranges
    steps = (high - low) / 255
    levels = np.clip(np.floor((vectors - low) / np.where(steps == 0, 1, steps)), 0, 255)
    return levels.astype(np.uint8) if precision == "uint8" else (levels - 128).astype(np.int8)


def value_ranges(vectors: np.ndarray, ranges: np.ndarray | None = None) -> np.ndarray:
    """The least and the largest value of each feature, (2, D), those of `ranges` among them."""
    seen = vectors if ranges is None else np.concatenate([ranges, vectors])
    return np.stack([seen.min(axis=0), seen.max(axis=0)]) if len(seen) else np.zeros((2, vectors.shape[1]))


def _old_precision(precision: str, compute: str) -> tuple[str, str]:
    """Returns both; `precision` was the model's, which is `compute` now."""
    if precision in COMPUTES:
        warnings.warn(
            f"precision={precision!r} is compute={precision!r} now; precision is that of the vectors",
            DeprecationWarning,
            stacklevel=3,
        )
        return "float32", precision
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}; choose from {', '.join(PRECISIONS)}")
    return precision, compute


def _similarity_functions(name: str):
    """Returns the functions of all pairs of vectors, and of one by one."""
    if name not in SIMILARITIES:
        raise InputError(f"similarity_fn_name is {name!r}; choose from {', '.join(SIMILARITIES)}")
    return {
        "cosine": (
            lambda a, b: normalize(a, "l2") @ normalize(b, "l2").T,
            lambda a, b: (normalize(a, "l2") * normalize(b, "l2")).sum(dim=-1),
        ),
        "dot": (lambda a, b: a @ b.T, lambda a, b: (a * b).sum(dim=-1)),
        "euclidean": (lambda a, b: -torch.cdist(a, b), lambda a, b: -(a - b).norm(dim=-1)),
        "manhattan": (lambda a, b: -torch.cdist(a, b, p=1), lambda a, b: -(a - b).abs().sum(dim=-1)),
    }[name]


def _vectors(values: Any) -> Tensor:
    """A tensor of at least fp32, from a tensor, an array, or a list of either."""
    if isinstance(values, list | tuple):
        values = torch.stack([torch.as_tensor(value) for value in values])
    found = torch.as_tensor(values)
    return found.to(torch.promote_types(found.dtype, torch.float32))


def _batches(lengths: Sequence[int], batch_size: int | None) -> Iterator[list[int]]:
    """Indices of the texts of each batch, longest first, of at most BATCH_TOKENS and `batch_size` texts."""
    check({"batch_size": batch_size}, {"batch_size": _RULES["batch_size"]})
    for indices in sorted_batches(lengths, BATCH_TOKENS):
        size = batch_size or len(indices)
        yield from (indices[start : start + size] for start in range(0, len(indices), size))


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
