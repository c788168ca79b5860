"""Adapter folders in PEFT's format: which of their settings are understood, tensors by its names."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from minbert.errors import InputError
from minbert.files import read_json_object, write_json
from minbert.weights.load import hugging_face_name, read_tensors, write_tensors

ALL_LINEAR = "all-linear"
# Where an adapter comes from, what is decided elsewhere, or sizes of parts that are refused anyway.
_DESCRIPTIVE = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
}
# These change what an adapter computes or where it stands; None, false and empty values are accepted.
_UNSUPPORTED = {
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "lora_bias",
    "lora_ga_config",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
}
# The others (pissa, olora, loftq, corda, eva, ...) change the base, or how A and B are made and trained.
_INITIALIZATIONS = (True, False, "gaussian", "orthogonal")


class PeftSettings:
    """The settings of an adapter; modules go by their whole names in transformers' model.

    `notes` lists settings that are set but not known. Raises InputError, by name, for what is not supported,
    missing, or no value that the setting can have; `source` is the file, for the message.
    """

    def __init__(self, values: Mapping[str, Any], source: str):
        if refused := _refused(values):
            raise InputError(
                f"{source} says {', '.join(refused)}, which is not supported; merge the adapter with peft "
                f"and load the whole model, or train one without"
            )
        for key, (is_good, accepted) in _ACCEPTED.items():
            value = values.get(key)
            if not (is_good(value) if value is not None else key not in _REQUIRED):
                raise InputError(
                    f"{source} says {key} {value!r}; it must be {accepted}: save the adapter again"
                )
        if isinstance(values["target_modules"], str) and values.get("layers_to_transform") is not None:
            raise InputError(
                f"{source} gives layers_to_transform beside one target_modules for whole names; "
                f"put the layers into that expression"
            )
        known = _DESCRIPTIVE | _UNSUPPORTED | _ACCEPTED.keys() | _CHECKED
        self.notes = tuple(
            f"{key} {value!r} is not known here"
            for key, value in values.items()
            if key not in known and value
        )
        self.values = {key: value for key, value in values.items() if value is not None}
        self.dropout = float(self.values.get("lora_dropout", 0.0))
        self.rslora = bool(self.values.get("use_rslora"))
        self.dora = bool(self.values.get("use_dora"))

    def is_target(self, name: str) -> bool:
        """Returns True if a linear layer has an adapter, by peft's check_target_module_exists."""
        targets = self.values["target_modules"]
        if _meant(self.values.get("exclude_modules"), name):
            return False
        if any(
            re.match(rf"(^|.*\.){saved}($|\..*)", name) for saved in self.values.get("modules_to_save", ())
        ):
            return False
        if isinstance(targets, str):
            return targets.lower() == ALL_LINEAR or _meant(targets, name)
        return name in targets or (_meant(targets, name) and self._has_layer(name))

    def _has_layer(self, name: str) -> bool:
        layers = self.values.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        layers = [layers] if isinstance(layers, int) else layers
        patterns = self.values.get("layers_pattern") or [r"[^.]*"]
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            if match := re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", name):
                return int(match[1]) in layers
        return False

    def rank(self, name: str) -> int:
        """The rank of a layer's adapter."""
        return self._by_pattern("rank_pattern", "r", name)

    def alpha(self, name: str) -> float:
        """The alpha of a layer's adapter."""
        return self._by_pattern("alpha_pattern", "lora_alpha", name)

    def _by_pattern(self, pattern: str, default: str, name: str) -> Any:
        for key, value in self.values.get(pattern, {}).items():
            if re.match(rf"(.*\.)?({key})$", name):  # as peft: the first in the file that the name ends with
                return value
        return self.values[default]


def _refused(values: Mapping[str, Any]) -> list[str]:
    """The settings that are not supported, with their values."""
    refused = [f"{key} {values[key]!r}" for key in sorted(_UNSUPPORTED & values.keys()) if values[key]]
    if values.get("peft_type") != "LORA":
        refused.insert(0, f"peft_type {values.get('peft_type')!r}")
    if values.get("bias") not in (None, "none"):
        refused.append(f"bias {values['bias']!r}")
    if values.get("init_lora_weights") not in (None, *_INITIALIZATIONS):
        refused.append(f"init_lora_weights {values['init_lora_weights']!r}")
    return refused


def _meant(names: str | list[str] | None, name: str) -> bool:
    """Returns True if a name ends with one of a list of names, or matches an expression for whole names."""
    if isinstance(names, str):
        return bool(names) and re.fullmatch(names, name) is not None
    return any(f".{name}".endswith(f".{end}") for end in names or ())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_rate(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 1


def _is_expression(value: Any) -> bool:
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except re.error:
        return False


def _list_of(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_good, value))


def _one_or_list_of(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: is_good(value) or _list_of(is_good)(value)


def _pattern_of(is_good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict) and all(map(_is_expression, value)) and all(map(is_good, value.values()))
    )


_TEXTS = (_one_or_list_of(_is_expression), "a regular expression or a list of names")
_ACCEPTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "r": (_is_rank, "a whole number of at least 1"),
    "lora_alpha": (_is_number, "a number"),
    "lora_dropout": (_is_rate, "a rate from 0 to below 1"),
    "target_modules": _TEXTS,
    "exclude_modules": _TEXTS,
    "modules_to_save": (_list_of(_is_expression), "a list of names"),
    "layers_to_transform": (_one_or_list_of(lambda value: type(value) is int), "whole numbers"),
    "layers_pattern": _TEXTS,
    "rank_pattern": (_pattern_of(_is_rank), "whole numbers of at least 1 by regular expressions"),
    "alpha_pattern": (_pattern_of(_is_number), "numbers by regular expressions"),
    "use_rslora": (lambda value: isinstance(value, bool), "true or false"),
    "use_dora": (lambda value: isinstance(value, bool), "true or false"),
}
_REQUIRED = {"r", "lora_alpha", "target_modules"}
_CHECKED = {"bias", "init_lora_weights", "peft_type"}


CONFIG_FILE, WEIGHTS_FILE, BASE_FILE = "adapter_config.json", "adapter_model.safetensors", "base.json"
_PREFIX = "base_model.model."
_SUFFIXES = {"A": "lora_A.weight", "B": "lora_B.weight", "magnitude": "lora_magnitude_vector"}
_KINDS = {suffix: kind for kind, suffix in _SUFFIXES.items()} | {"lora_magnitude_vector.weight": "magnitude"}
_ADAPTER_TENSOR = re.compile(r"(.*)\.(lora_\w+(?:\.\w+)?)")


@dataclass(frozen=True)
class AdapterValues:
    """The adapter of one linear layer: A (r, in), B (out, r), for DoRA the rows' lengths (out,)."""

    A: Tensor
    B: Tensor
    magnitude: Tensor | None
    alpha: float


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter by our names of the linear layers (`encoder.layers.0.attention.query`)."""

    values: Mapping[str, AdapterValues]
    dropout: float
    rslora: bool
    dora: bool


@dataclass(frozen=True)
class AdapterReport:
    """Report of a load: tensors restored, `others` that belong to no adapter (a classifier), and notes."""

    loaded: tuple[str, ...]
    others: Mapping[str, Tensor]
    notes: tuple[str, ...]


def write_adapter(folder: Path, saved: SavedAdapter, sha256: str, base: str | None) -> None:
    """Writes the three files. Each is whole or not there; others in the folder stay."""
    values = {_module_name(name): adapter for name, adapter in saved.values.items()}
    tensors = {
        f"{_PREFIX}{name}.{suffix}": getattr(adapter, kind)
        for name, adapter in values.items()
        for kind, suffix in _SUFFIXES.items()
        if getattr(adapter, kind) is not None
    }
    rank, rank_pattern = _usual({name: len(adapter.A) for name, adapter in values.items()})
    alpha, alpha_pattern = _usual({name: adapter.alpha for name, adapter in values.items()})
    config = {
        "alpha_pattern": alpha_pattern,
        "auto_mapping": None,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": alpha,
        "lora_dropout": saved.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": rank_pattern,
        "revision": None,
        "target_modules": list(values),  # whole names: a mere `output.dense` would be two linear layers
        "task_type": "FEATURE_EXTRACTION",
        "use_dora": saved.dora,
        "use_rslora": saved.rslora,
    }
    write_tensors(tensors, folder / WEIGHTS_FILE)
    for file, content in ((BASE_FILE, {"sha256": sha256}), (CONFIG_FILE, config)):
        write_json(folder / file, content, sort_keys=True)


def _module_name(name: str) -> str:
    return hugging_face_name(f"{name}.weight").removesuffix(".weight")


def _usual(values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The most frequent value, and the others by name."""
    plain = {name: int(value) if value == int(value) else value for name, value in values.items()}
    [(usual, _)] = Counter(plain.values()).most_common(1)
    return usual, {name: value for name, value in plain.items() if value != usual}


def read_adapter(
    folder: Path, shapes: Mapping[str, tuple[int, int]]
) -> tuple[SavedAdapter, str | None, AdapterReport]:
    """An adapter for linear layers of these shapes (out, in), the hash of its base if it says one, a report.

    Raises InputError for a folder without these files, for settings that are not supported, and for tensors
    that are missing, unexpected or mis-shaped by what the settings say, all in one message.
    """
    settings = PeftSettings(_read_json(folder / CONFIG_FILE), str(folder / CONFIG_FILE))
    if not (folder / WEIGHTS_FILE).is_file() and (folder / "adapter_model.bin").is_file():
        raise InputError(
            f"{folder} holds adapter_model.bin, a pickle, which is not read; save the adapter as safetensors"
        )
    tensors = {name.removeprefix(_PREFIX): t for name, t in read_tensors(folder / WEIGHTS_FILE).items()}
    task_model = "bert." if any(name.startswith("bert.") for name in tensors) else ""
    ours = {f"{task_model}{_module_name(name)}": name for name in shapes}
    targets = [name for name in ours if settings.is_target(name)]
    if not targets:
        raise InputError(
            f"{folder / CONFIG_FILE} says target_modules {settings.values['target_modules']!r}, which are "
            f"none of the model's {len(ours)} linear layers: {next(iter(ours))}, ..., {list(ours)[-1]}"
        )
    found, others, problems = _sorted_out(tensors, targets, settings.dora)
    for name in targets:
        out, into = shapes[ours[name]]
        rank = settings.rank(name)
        expected = {"A": (rank, into), "B": (out, rank)} | ({"magnitude": (out,)} if settings.dora else {})
        problems += _wrong(found[name], name, expected)
    if problems:
        raise InputError(
            f"{folder} holds no adapter for this model such as its {CONFIG_FILE} says: {'; '.join(problems)}"
        )
    values = {
        ours[name]: AdapterValues(parts["A"], parts["B"], parts.get("magnitude"), settings.alpha(name))
        for name, parts in found.items()
    }
    saved = SavedAdapter(values, settings.dropout, settings.rslora, settings.dora)
    loaded = tuple(name for name in tensors if name not in others)
    return saved, _hash_of_base(folder), AdapterReport(loaded, others, settings.notes)


def _sorted_out(
    tensors: Mapping[str, Tensor], targets: list[str], dora: bool
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor], list[str]]:
    """Returns the adapters' tensors by layer, the tensors of other modules, and the problems."""
    found: dict[str, dict[str, Tensor]] = {name: {} for name in targets}
    others, problems = {}, []
    for name, tensor in tensors.items():
        match = _ADAPTER_TENSOR.fullmatch(name)
        if not match:
            others[name] = tensor
            continue
        layer, kind = match[1], _KINDS.get(match[2])
        if layer not in found or kind is None or (kind == "magnitude" and not dora):
            problems.append(f"unexpected {name}{_reason(layer)}")
        elif kind in found[layer]:
            problems.append(f"{name} is there twice")
        else:
            found[layer][kind] = tensor
    return found, others, problems


def _reason(layer: str) -> str:
    if layer.endswith("pooler.dense"):
        return " (the pooler: peft's all-linear takes it too, ours the six linear layers of an encoder layer)"
    return " (embeddings have no adapters here)" if "embeddings" in layer else ""


def _wrong(parts: Mapping[str, Tensor], layer: str, expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Lists a layer's tensors that are missing, mis-shaped, or not of a floating-point type."""
    problems = []
    for kind, shape in expected.items():
        name = f"{layer}.{_SUFFIXES[kind]}"
        if kind not in parts:
            problems.append(f"missing {name}")
        elif tuple(parts[kind].shape) != shape:
            problems.append(f"{name} has shape {tuple(parts[kind].shape)}, not {shape}")
        elif not parts[kind].is_floating_point():
            problems.append(f"{name} holds {parts[kind].dtype}, not floating-point numbers")
    return problems


def _hash_of_base(folder: Path) -> str | None:
    path = folder / BASE_FILE
    if not path.is_file():
        return None
    sha256 = _read_json(path).get("sha256")
    if not isinstance(sha256, str):
        raise InputError(f"{path} holds no sha256; fetch the folder again")
    return sha256


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            f"{path.parent} holds no {path.name}; give the folder of an adapter in peft's format"
        )
    return read_json_object(path)
