"""BertConfig: the sizes of a BERT, to and from Hugging Face's `config.json`. No torch here."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any

from minbert.errors import FRACTION, InputError, Rule, check, is_number, whole
from minbert.files import read_json_object, write_json
from minbert.weights.families.family import Family
from minbert.weights.families.registry import FAMILIES, recognise
from minbert.weights.files import tensor_shapes

# The activations by transformers' names, and which of four each one computes.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True)
class BertConfig:
    """The sizes and rates of a BERT (Devlin et al. 2018); the defaults are those of bert-base-uncased.

    `model_type` names the family, whose rules for positions, token types and the pooler the model follows.
    `type_vocab_size` 0 is a model without token types; `embedding_size` None is the hidden size.
    `extra` holds the keys of a `config.json` that the model does not read; they are kept on a round trip.
    Raises InputError for values that no model of the family can have.
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
    embedding_size: int | None = None
    model_type: str = "bert"
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self):
        check(vars(self), _RULES)
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} cannot be split among {self.num_attention_heads} attention "
                f"heads; choose num_attention_heads that divides it"
            )
        for name in self.family.absent:
            value, only = getattr(self, name), _default(self.family, name)
            if value != only:
                raise InputError(f"{name} is {value!r}; for {self.family.name} it must be {only!r}")
        pad = self.pad_token_id
        if pad is None and self.family.counts_positions:
            raise InputError(f"pad_token_id is None; {self.family.name} counts positions by it: give its id")
        if pad is not None and not (type(pad) is int and 0 <= pad < self.vocab_size):
            raise InputError(f"pad_token_id is {pad!r}; it must be null or from 0 to {self.vocab_size - 1}")
        if self.max_length < 1:
            raise InputError(
                f"max_position_embeddings is {self.max_position_embeddings}; {self.family.name} with "
                f"pad_token_id {pad} needs at least {pad + 2}"
            )

    @property
    def family(self) -> Family:
        return FAMILIES[self.model_type]

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def activation(self) -> str:
        """The function of `hidden_act`: gelu, gelu_tanh, relu or silu."""
        return ACTIVATIONS[self.hidden_act]

    @property
    def max_length(self) -> int:
        """The longest input in tokens; a family that counts positions begins behind its padding token's."""
        return self.max_position_embeddings - (self.pad_token_id + 1 if self.family.counts_positions else 0)

    @classmethod
    def from_dict(cls, values: dict[str, Any], tensors: Iterable[str] = ()) -> "BertConfig":
        """From the content of a `config.json`, and the names of the tensors beside it where there are any.

        Keys of other code go to `extra`. Raises InputError, by name, for what this model does not compute:
        other architectures, other position embeddings, decoders.
        """
        _refuse_other_models(values)
        family = recognise(values, tensors)
        for name, key in family.keys.items():
            if name in values and values[name] != values.get(key):
                raise InputError(f"{name} is {values[name]!r}; {family.name} reads {key}: rename the key")
        names = {key: name for name, key in _keys(family).items()}
        given = {names[key]: value for key, value in values.items() if key in names}
        extra = {key: value for key, value in values.items() if key not in (*names, "model_type")}
        return cls(**{**family.defaults, **given}, model_type=family.model_type, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """The content of a `config.json` of the family: the kept keys, then ours."""
        family = self.family
        own = {key: getattr(self, name) for name, key in _keys(family).items()}
        if "embedding_size" in own:
            own["embedding_size"] = self.embedding_size or self.hidden_size
        # A root with adapters beside it is not what runs, and names no architecture.
        names = {} if "minbert_adapters" in self.extra else {"architectures": [f"{family.classes}Model"]}
        return names | self.extra | own | {"model_type": self.model_type}

    @classmethod
    def from_folder(cls, folder: str | Path) -> "BertConfig":
        """Reads `config.json` in a folder; raises InputError where it is missing or is not JSON."""
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise InputError(
                f"{folder} holds no config.json; give a folder with config.json and model.safetensors"
            )
        shapes = tensor_shapes(Path(folder))
        config = cls.from_dict(read_json_object(path), shapes)
        if shapes:  # a wrong size costs neither memory nor time
            held = dict.fromkeys(_SIZES, (max(map(prod, shapes.values())), "numbers in one tensor"))
            for name, (most, what) in (held | {"num_hidden_layers": (len(shapes), "tensors")}).items():
                if getattr(config, name) > most:
                    raise InputError(
                        f"{path}: {config.family.keys.get(name, name)} is {getattr(config, name)}, and the "
                        f"weights have {most:,} {what}; fetch both again"
                    )
        return config

    def save(self, folder: str | Path) -> None:
        """Writes `config.json` into a folder."""
        write_json(Path(folder) / "config.json", self.to_dict(), sort_keys=True)


def _keys(family: Family) -> dict[str, str]:
    """Returns the fields that config.json of a family has, and its keys for them."""
    left_out = {"extra", "model_type", *family.absent}
    names = [entry.name for entry in fields(BertConfig) if entry.name not in left_out]
    return {name: family.keys.get(name, name) for name in names}


def _default(family: Family, name: str) -> Any:
    return family.defaults.get(name, BertConfig.__dataclass_fields__[name].default)


def _refuse_other_models(values: dict[str, Any]) -> None:
    if values.get("model_type") == "minbert":
        raise InputError("model_type is 'minbert', the format of version 0.1, which is not read; train anew")
    positions = values.get("position_embedding_type")
    if positions not in (None, "absolute"):
        raise InputError(f'position_embedding_type is {positions!r}; only "absolute" is supported')
    for name in ("is_decoder", "add_cross_attention", "is_encoder_decoder"):
        if values.get(name):
            raise InputError(f"{name} is set; only encoders are supported")


def _one_of(names: Iterable[str]) -> Rule:
    return Rule(lambda value: value in list(names), f"one of {', '.join(names)}")


_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
_RULES = {
    **dict.fromkeys(_SIZES, whole(1)),
    "type_vocab_size": whole(0),
    "embedding_size": Rule(
        lambda value: value is None or whole(1).accepts(value), "null or a whole number of at least 1"
    ),
    "model_type": _one_of(FAMILIES),
    "hidden_act": _one_of(ACTIVATIONS),
    **dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob"),
        Rule(lambda value: is_number(value) and 0 <= value <= 1, "a rate from 0 to 1"),
    ),
    "layer_norm_eps": FRACTION,
    "initializer_range": Rule(
        lambda value: is_number(value) and 0 <= value < 1, "a number from 0 to below 1"
    ),
}
