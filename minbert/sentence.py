"""SentenceEncoder: texts -> vectors, in batches cut by tokens, equal to encoding each text alone."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from minbert.errors import InputError
from minbert.hub import find_folder
from minbert.model import BertModel
from minbert.pooling import NORMALIZATIONS, POOLINGS, Projection, normalize, pool
from minbert.tokenizer import Tokenizer, TokenSequence, pack
from minbert.weights import read_tensors

PRECISIONS = ("fp32", "bf16", "auto")
BATCH_TOKENS = 4096  # larger batches gain nothing on two cores
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
            for indices in token_batches([len(sequence.ids) for sequence in sequences], BATCH_TOKENS):
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


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of sequences in batches of at most `budget` tokens, longest first; a longer one stands alone."""
    batches: list[list[int]] = []
    tokens = budget + 1
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if tokens + lengths[index] > budget:
            batches.append([])
            tokens = 0
        batches[-1].append(index)
        tokens += lengths[index]
    return batches


def read_modules(folder: Path) -> dict:
    """pooling, normalize, projection and max_length as a sentence-transformers folder gives them.

    Reads the dialects of versions 2 to 6. Raises InputError for a module or a pooling that is not known.
    """
    found = {"pooling": "mean", "normalize": None, "projection": None, "max_length": None}
    if (folder / "sentence_bert_config.json").is_file():
        found["max_length"] = _read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    if not (folder / "modules.json").is_file():
        return found
    for module in _read_json(folder / "modules.json"):
        kind, path = module["type"].rpartition(".")[2], folder / module["path"]
        if kind == "Pooling":
            found["pooling"] = _pooling_name(_read_json(path / "config.json"), path)
        elif kind == "Normalize":
            found["normalize"] = "l2"
        elif kind == "Dense":
            found["projection"] = _read_projection(path)
        elif kind != "Transformer":
            raise InputError(f"{folder / 'modules.json'} asks for {module['type']}; Transformer, Pooling, Dense and "
                             f"Normalize are supported")  # fmt: skip
    return found


def _pooling_name(settings: dict, path: Path) -> str:
    names = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_max_tokens": "max",
    }
    chosen = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value]
    if "pooling_mode" in settings:  # the dialect of version 6
        chosen = [
            f"pooling_mode_{settings['pooling_mode']}"
            + ("_token" if settings["pooling_mode"] == "cls" else "_tokens")
        ]
    if len(chosen) != 1 or chosen[0] not in names:
        raise InputError(
            f"{path / 'config.json'} asks for {chosen or 'no pooling'}; one of cls, mean, max is supported"
        )
    return names[chosen[0]]


def _read_projection(path: Path) -> Projection:
    settings = _read_json(path / "config.json")
    activation = (
        settings.get("activation_function", "torch.nn.modules.activation.Tanh").rpartition(".")[2].lower()
    )
    bias = bool(settings.get("bias", True))
    projection = Projection(settings["in_features"], settings["out_features"], activation, bias)
    tensors = {
        name: tensor.float().clone() for name, tensor in read_tensors(path / "model.safetensors").items()
    }
    projection.load_state_dict(tensors)
    return projection.eval()


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); fetch the folder again") from None
