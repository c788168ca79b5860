"""BertConfig: the sizes of a BERT, to and from Hugging Face's `config.json`. No torch here."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from minbert.errors import FRACTION, RATE, InputError, check, did_you_mean, whole
from minbert.files import read_json_object, write_json


@dataclass(frozen=True)
class BertConfig:
    """The sizes and rates of a BERT (Devlin et al. 2018); the defaults are those of bert-base-uncased.

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
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self):
        check(vars(self), _RULES)
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} cannot be split among {self.num_attention_heads} attention "
                f"heads; choose num_attention_heads that divides it"
            )
        if self.hidden_act != "gelu":
            raise InputError(
                f'hidden_act is {self.hidden_act!r}; only "gelu" (by the error function) is supported'
            )
        pad = self.pad_token_id
        if pad is not None and not (type(pad) is int and 0 <= pad < self.vocab_size):
            raise InputError(f"pad_token_id is {pad!r}; it must be null or from 0 to {self.vocab_size - 1}")

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
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        # A root with adapters beside it is not what runs, and names no architecture.
        names = {} if "minbert_adapters" in self.extra else {"architectures": ["BertModel"]}
        return names | self.extra | own | {"model_type": "bert"}

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


def _refuse_other_models(values: dict[str, Any]) -> None:
    model_type = values.get("model_type", "bert")
    if model_type == "minbert":
        raise InputError("model_type is 'minbert', the format of version 0.1, which is not read; train anew")
    if model_type != "bert":
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


_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_RULES = {
    **dict.fromkeys(_SIZES, whole(1)),
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), RATE),
    **dict.fromkeys(("layer_norm_eps", "initializer_range"), FRACTION),
}
