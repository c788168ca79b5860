"""SentenceEncoder: texts -> vectors, in batches cut by tokens, equal to encoding each text alone."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from minbert.batch import sorted_batches
from minbert.errors import InputError
from minbert.hub import find_folder
from minbert.model import BertModel
from minbert.pooling import NORMALIZATIONS, POOLINGS, Projection, normalize, pool
from minbert.tokenizer import Tokenizer, TokenSequence, pack
from minbert.weights import read_tensors

PRECISIONS = ("fp32", "bf16", "auto")
BATCH_TOKENS = 4096  # larger batches gain nothing on two cores
CHUNK = 4096  # texts sorted by length together; bounds the memory of a stream
MODULES = ("Transformer", "Pooling", "Dense", "Normalize")  # of a sentence-transformers folder
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
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.normalize = normalize
        self.projection = projection
        limit = model.config.max_position_embeddings
        self.max_length = limit if max_length is None else min(max_length, limit)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, pooling: str | None = None, normalize: str | None = FROM_FOLDER
    ) -> "SentenceEncoder":
        """From a folder; what is not given is as its `modules.json` says, else mean pooling, not normalised.

        Raises InputError for a folder that holds no BERT, or modules that are not known.
        """
        folder = find_folder(source)
        found = read_modules(folder)
        return cls(
            BertModel.from_pretrained(folder),
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
        with tqdm(total=len(texts), unit=" texts", disable=not progress) as bar:
            chunks = []
            for vectors in self.stream(texts, precision):
                chunks.append(vectors)
                bar.update(len(vectors))
        return np.concatenate(chunks) if chunks else np.zeros((0, self.size), dtype=np.float32)

    def stream(self, texts: Iterable[str], precision: str = "fp32") -> Iterator[np.ndarray]:
        """The vectors of any number of texts, in their order, in pieces (n, D) and constant memory."""
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.resolve(precision) == "bf16")
        texts = iter(texts)
        while chunk := list(islice(texts, CHUNK)):
            sequences = self.tokenizer.encode(chunk, max_length=self.max_length)
            vectors = np.empty((len(chunk), self.size), dtype=np.float32)
            lengths = [len(sequence.ids) for sequence in sequences]
            for indices in sorted_batches(lengths, BATCH_TOKENS):
                batch = [sequences[i] for i in indices]
                with torch.inference_mode(), autocast:
                    vectors[indices] = self._vectors(batch).cpu().numpy()
            yield vectors

    @property
    def device(self) -> torch.device:
        return self.model.embeddings.word.weight.device

    def resolve(self, precision: str) -> str:
        """fp32 or bf16: what `precision` means on this machine ("auto": bf16 on CUDA cards that have it)."""
        if precision not in PRECISIONS:
            raise InputError(f"precision is {precision!r}; choose from {', '.join(PRECISIONS)}")
        if precision != "auto":
            return precision
        return "bf16" if self.device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"

    def _vectors(self, sequences: list[TokenSequence]) -> torch.Tensor:
        output = self.model(pack(sequences).to(self.device))
        with torch.autocast(self.device.type, enabled=False):
            vectors = pool(output, self.pooling)
            if self.projection is not None:
                vectors = self.projection(vectors)
            return normalize(vectors, self.normalize)


def read_modules(folder: Path) -> dict:
    """pooling, normalize, projection and max_length as a sentence-transformers folder gives them.

    Reads the dialects of versions 2 to 6. Raises InputError for a module or a pooling that is not known.
    """
    found = {"pooling": "mean", "normalize": None, "projection": None, "max_length": _max_length(folder)}
    path = folder / "modules.json"
    if not path.is_file():
        return found
    try:
        modules = [(entry["type"].rpartition(".")[2], folder / entry["path"]) for entry in _read_json(path)]
    except (AttributeError, KeyError, TypeError):
        raise InputError(f"{path} is no list of modules with type and path; fetch the folder again") from None
    kinds = [kind for kind, _ in modules]
    if kinds != [kind for kind in MODULES if kind in kinds]:
        raise InputError(
            f"{path} asks for {', '.join(kinds)}; {', '.join(MODULES)} are supported, in this order"
        )
    for kind, module in modules:
        if kind == "Pooling":
            found["pooling"] = _pooling_name(module / "config.json")
        elif kind == "Dense":
            found["projection"] = _read_projection(module)
        elif kind == "Normalize":
            found["normalize"] = "l2"
    return found


def _max_length(folder: Path) -> int | None:
    """The length that sentences are cut to: from `max_seq_length`, or from where version 6 writes it."""
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        length = _read_settings(folder / name).get(key) if (folder / name).is_file() else None
        if length is not None:
            return int(length)
    return None


def _pooling_name(path: Path) -> str:
    settings = _read_settings(path)
    prefix = "pooling_mode_"
    chosen = [key.removeprefix(prefix) for key, on in settings.items() if key.startswith(prefix) and on]
    if "pooling_mode" in settings:  # the dialect of version 6
        chosen = [settings["pooling_mode"]]
    names = {"cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean"}
    names |= {"max": "max", "max_tokens": "max"}
    if len(chosen) != 1 or str(chosen[0]) not in names:
        raise InputError(f"{path} asks for the pooling {chosen}; one of cls, mean, max is supported")
    return names[chosen[0]]


def _read_projection(folder: Path) -> Projection:
    settings = _read_settings(folder / "config.json")
    activation = settings.get("activation_function", "Tanh").rpartition(".")[2].lower()
    tensors = {name: tensor.float() for name, tensor in read_tensors(folder / "model.safetensors").items()}
    try:
        sizes = settings["in_features"], settings["out_features"]
        projection = Projection(*sizes, activation, bool(settings.get("bias", True)))
        projection.load_state_dict(tensors)  # copies
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder} holds no Dense module ({error}); fetch the folder again") from None
    return projection.eval()


def _read_settings(path: Path) -> dict:
    settings = _read_json(path)
    if not isinstance(settings, dict):
        raise InputError(f"{path} holds a {type(settings).__name__}; it must hold one JSON object")
    return settings


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); fetch the folder again") from None
