"""BertConfig: the sizes of a BERT, to and from Hugging Face's `config.json`. No torch here."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from minbert.errors import InputError, did_you_mean
from minbert.files import read_json_object, write_json


@dataclass(frozen=True)
class BertConfig:
    """The sizes and rates of a BERT (Devlin et al. 2018); the defaults are those of bert-base-uncased.

    What BERT does not have is off by default: `attention_head_layers` hidden layers on each attention head's
    context (attention_head_layers.py), and for each of `projected_attention_names` projected attention layers
    of a size (projected_attention.py). A model that uses them writes `model_type: minbert`, so that other
    software refuses it.
    `extra` holds the keys of a `config.json` that the model does not read; they are kept on a round trip.
    Raises InputError for values that no BERT can have.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int | None = 0
    attention_head_layers: int = 0
    projected_attention_size: int = 0
    projected_attention_heads: int = 12
    projected_attention_names: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self):
        for name in _SIZES:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} is {value!r}; it must be a whole number of at least 1")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < 1:
                raise InputError(f"{name} is {value!r}; it must be a rate from 0 to below 1")
        for name in ("layer_norm_eps", "initializer_range"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value < 1:
                raise InputError(f"{name} is {value!r}; it must be a number between 0 and 1")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} cannot be split among {self.num_attention_heads} attention "
                f"heads; choose num_attention_heads that divides it"
            )
        if self.hidden_act != "gelu":
            raise InputError(
                f'hidden_act is {self.hidden_act!r}; only "gelu" (by the error function) is supported'
            )
        self._check_variants()
        pad = self.pad_token_id
        if pad is not None and not (type(pad) is int and 0 <= pad < self.vocab_size):
            raise InputError(f"pad_token_id is {pad!r}; it must be null or from 0 to {self.vocab_size - 1}")

    def _check_variants(self) -> None:
        for name in ("attention_head_layers", "projected_attention_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InputError(f"{name} is {value!r}; it must be a whole number of at least 0")
        heads = self.projected_attention_heads
        whole = isinstance(heads, int) and not isinstance(heads, bool)
        if not whole or heads < 1 or self.projected_attention_size % heads:
            raise InputError(
                f"projected_attention_size {self.projected_attention_size} cannot be split among "
                f"{heads!r} heads; choose projected_attention_heads that divides it"
            )
        names = self.projected_attention_names
        good = isinstance(names, list | tuple) and all(
            isinstance(name, str) and name and "." not in name for name in names
        )
        if not good or len(set(names)) < len(names):
            raise InputError(
                f"projected_attention_names is {names!r}; it must be a list of different names without dots"
            )
        if names and not self.projected_attention_size:
            raise InputError(
                f"projected_attention_names is {names!r}, but there is no projected_attention_size; give both"
            )
        object.__setattr__(self, "projected_attention_names", tuple(names))

    @property
    def has_projected_attention(self) -> bool:
        """Whether there are projected attention layers: a size without a name is only a wish."""
        return bool(self.projected_attention_names)

    @property
    def is_variant(self) -> bool:
        """Whether the model has parts that BERT has not."""
        return bool(self.attention_head_layers) or self.has_projected_attention

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BertConfig":
        """From the content of a `config.json`; keys of other BERT code go to `extra`.

        Raises InputError, by name, for what this model does not compute: other architectures, other
        position embeddings, decoders.
        """
        _refuse_other_models(values)
        known = {f.name for f in fields(cls)} - {"extra"}
        extra = {key: value for key, value in values.items() if key not in known}
        return cls(**{key: value for key, value in values.items() if key in known}, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """The content of a `config.json`: the kept keys, then ours."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("extra", *_VARIANTS)}
        if self.is_variant:
            own |= {name: getattr(self, name) for name in _VARIANTS} | {"model_type": "minbert"}
            own["projected_attention_names"] = list(self.projected_attention_names)
        else:
            own["model_type"] = "bert"
        return {"architectures": ["BertModel"]} | self.extra | own

    @classmethod
    def from_folder(cls, folder: str | Path) -> "BertConfig":
        """Reads `config.json` in a folder; raises InputError where it is missing or is not JSON."""
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise InputError(
                f"{folder} holds no config.json; give a folder with config.json and model.safetensors"
            )
        return cls.from_dict(read_json_object(path))

    def save(self, folder: str | Path) -> None:
        """Writes `config.json` into a folder."""
        write_json(Path(folder) / "config.json", self.to_dict(), sort_keys=True)


_VARIANTS = (
    "attention_head_layers",
    "projected_attention_size",
    "projected_attention_heads",
    "projected_attention_names",
)
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_other_models(values: dict[str, Any]) -> None:
    model_type = values.get("model_type", "bert")
    if model_type not in ("bert", "minbert"):
        raise InputError(
            f'model_type is {model_type!r}; only "bert" is supported (not RoBERTa, DistilBERT, ALBERT, ...)'
            f"{did_you_mean(str(model_type), ['bert'])}"
        )
    positions = values.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise InputError(f'position_embedding_type is {positions!r}; only "absolute" is supported')
    for name in ("is_decoder", "add_cross_attention", "is_encoder_decoder"):
        if values.get(name):
            raise InputError(f"{name} is set; only encoders are supported")
