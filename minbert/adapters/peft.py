"""Adapter folders in PEFT's format: which of their settings are understood, tensors by its names."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from minbert.adapters.config import ALL_LINEAR
from minbert.errors import NUMBER, RATE, TEXT, TRUTH, InputError, Rule, by_name, check, whole
from minbert.files import read_json_object, write_json
from minbert.weights.families.family import Family
from minbert.weights.load import hugging_face_name, misfits, read_tensors, write_tensors

if TYPE_CHECKING:
    from minbert.adapters.lora import Adapter

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
_INITIALIZATIONS = (None, True, False, "gaussian", "orthogonal")
_BIASES = (None, "none", "all", "lora_only")  # which biases were trained: they are in the file, or are not


def _is_expression(value: Any) -> bool:
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except re.error:
        return False


def _are_expressions(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_expression, values))


def _are_layers(value: Any) -> bool:
    return type(value) is int or isinstance(value, list) and all(type(number) is int for number in value)


def _by_expression(rule: Rule) -> Rule:
    values = by_name(rule)
    return Rule(
        lambda value: values.accepts(value) and all(map(_is_expression, value)), values.accepted, values.parts
    )


_NAMES = Rule(
    lambda value: _is_expression(value) or _are_expressions(value), "a regular expression or a list of names"
)
_RULES = {
    "r": whole(1),
    "lora_alpha": NUMBER,
    "lora_dropout": RATE,
    "target_modules": _NAMES,
    "exclude_modules": _NAMES,
    "modules_to_save": Rule(_are_expressions, "a list of names"),
    "layers_to_transform": Rule(_are_layers, "whole numbers"),
    "layers_pattern": _NAMES,
    "rank_pattern": _by_expression(whole(1)),
    "alpha_pattern": _by_expression(NUMBER),
    "use_rslora": TRUTH,
    "use_dora": TRUTH,
}
_REQUIRED = ("r", "lora_alpha", "target_modules")


class PeftSettings:
    """The settings of an adapter; modules go by their whole names in transformers' model.

    `notes` lists settings that are set but not known. Raises InputError, by name, for settings that are not
    supported, missing, or have a value that is not accepted; `source` is the file, for the message.
    """

    def __init__(self, values: Mapping[str, Any], source: str):
        if refused := _refused(values):
            raise InputError(
                f"{source} says {', '.join(refused)}, which is not supported; merge the adapter with peft "
                f"and load the whole model, or train one without"
            )
        self.values = {key: value for key, value in values.items() if value is not None}
        required = dict.fromkeys(_REQUIRED) | self.values
        check(required, {key: rule for key, rule in _RULES.items() if key in required}, f"{source}: ")
        if isinstance(values["target_modules"], str) and values.get("layers_to_transform") is not None:
            raise InputError(
                f"{source} gives layers_to_transform beside one target_modules for whole names; "
                f"put the layers into that expression"
            )
        known = _DESCRIPTIVE | _UNSUPPORTED | _RULES.keys() | {"bias", "init_lora_weights", "peft_type"}
        self.notes = tuple(
            f"{key} {value!r} is not known here"
            for key, value in values.items()
            if key not in known and value
        )
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
        """Returns the rank of a layer's adapter."""
        return self._by_pattern("rank_pattern", "r", name)

    def alpha(self, name: str) -> float:
        """Returns the alpha of a layer's adapter."""
        return self._by_pattern("alpha_pattern", "lora_alpha", name)

    def _by_pattern(self, pattern: str, default: str, name: str) -> Any:
        for key, value in self.values.get(pattern, {}).items():
            if re.match(rf"(.*\.)?({key})$", name):  # as peft: the first in the file that the name ends with
                return value
        return self.values[default]


def _refused(values: Mapping[str, Any]) -> list[str]:
    """Returns the settings that are not supported, with their values."""
    refused = [f"{key} {values[key]!r}" for key in sorted(_UNSUPPORTED & values.keys()) if values[key]]
    if values.get("peft_type") != "LORA":
        refused.insert(0, f"peft_type {values.get('peft_type')!r}")
    if values.get("bias") not in _BIASES:
        refused.append(f"bias {values['bias']!r}")
    if values.get("init_lora_weights") not in _INITIALIZATIONS:
        refused.append(f"init_lora_weights {values['init_lora_weights']!r}")
    return refused


def _meant(names: str | list[str] | None, name: str) -> bool:
    """Returns True if a name ends with one of a list of names, or matches an expression for whole names."""
    if isinstance(names, str):
        return bool(names) and re.fullmatch(names, name) is not None
    return any(f".{name}".endswith(f".{end}") for end in names or ())


POOLER = "pooler.dense"  # has an adapter where peft's all-linear or "dense" included it
CONFIG_FILE, WEIGHTS_FILE, BASE_FILE = "adapter_config.json", "adapter_model.safetensors", "base.json"
_PREFIX = "base_model.model."
_SUFFIXES = {"A": "lora_A.weight", "B": "lora_B.weight", "magnitude": "lora_magnitude_vector"}
_ADAPTER_TENSOR = re.compile(r".*\.lora_\w+(\.\w+)?")


@dataclass(frozen=True)
class AdapterValues:
    """The adapter of one linear layer: A (r, in), B (out, r), for DoRA the rows' lengths (out,)."""

    A: Tensor
    B: Tensor
    magnitude: Tensor | None
    alpha: float


@dataclass(frozen=True)
class AdapterReport:
    """Report of a load: tensors of `others` than the adapter, by names as in a whole model, and notes.

    The others are trained parts of the base (biases, peft's modules_to_save) and a classifier.
    """

    others: Mapping[str, Tensor]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter by our names of the linear layers (`encoder.layers.0.attention.query`).

    `sha256` is the hash of its base, None in folders that peft wrote.
    """

    values: Mapping[str, AdapterValues]
    settings: PeftSettings
    sha256: str | None
    report: AdapterReport


def write_adapter(
    folder: Path, adapters: Mapping[str, "Adapter"], sha256: str, base: str | None, family: Family
) -> None:
    """Writes the three files. Each is whole or not there; others in the folder stay."""
    adapters = {_module_name(name, family): adapter for name, adapter in adapters.items()}
    tensors = {
        f"{_PREFIX}{name}.{suffix}": getattr(adapter, kind)
        for name, adapter in adapters.items()
        for kind, suffix in _SUFFIXES.items()
        if getattr(adapter, kind) is not None
    }
    rank, rank_pattern = _usual({name: len(adapter.A) for name, adapter in adapters.items()})
    alpha, alpha_pattern = _usual({name: adapter.alpha for name, adapter in adapters.items()})
    first = next(iter(adapters.values()))
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
        "lora_dropout": first.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": rank_pattern,
        "revision": None,
        "target_modules": list(adapters),  # whole names: a mere `output.dense` would be two linear layers
        "task_type": "FEATURE_EXTRACTION",
        "use_dora": first.magnitude is not None,
        "use_rslora": first.rslora,
    }
    write_tensors(tensors, folder / WEIGHTS_FILE)
    for file, content in ((BASE_FILE, {"sha256": sha256}), (CONFIG_FILE, config)):
        write_json(folder / file, content, sort_keys=True)


def _module_name(name: str, family: Family) -> str:
    return hugging_face_name(f"{name}.weight", family).removesuffix(".weight")


def _usual(values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """Returns the most frequent value, and the others by name."""
    plain = {name: int(value) if value == int(value) else value for name, value in values.items()}
    [(usual, _)] = Counter(plain.values()).most_common(1)
    return usual, {name: value for name, value in plain.items() if value != usual}


def read_adapter(folder: Path, shapes: Mapping[str, tuple[int, int]], family: Family) -> SavedAdapter:
    """Reads an adapter for linear layers of these shapes (out, in), by the family's names.

    Raises InputError for a folder without these files, for settings that are not supported, and for tensors
    that are missing, unexpected or mis-shaped by what the settings say, all in one message.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no {CONFIG_FILE}; give the folder of an adapter in peft's format")
    settings = PeftSettings(read_json_object(path), str(path))
    if not (folder / WEIGHTS_FILE).is_file() and (folder / "adapter_model.bin").is_file():
        raise InputError(
            f"{folder} has adapter_model.bin, a pickle, which is not read; save the adapter as safetensors"
        )
    tensors = {name.removeprefix(_PREFIX): t for name, t in read_tensors(folder / WEIGHTS_FILE).items()}
    task_model = f"{family.prefix}." if any(name.startswith(f"{family.prefix}.") for name in tensors) else ""
    layers = {f"{task_model}{_module_name(name, family)}": name for name in shapes}
    pooler = next((layer for layer, name in layers.items() if name == POOLER), None)
    if pooler and not any(name.startswith(f"{pooler}.lora_") for name in tensors):
        del layers[pooler]  # the model that was adapted had none
    targets = {layer: name for layer, name in layers.items() if settings.is_target(layer)}
    if not targets:
        raise InputError(
            f"{path} says target_modules {settings.values['target_modules']!r}, which are none of the "
            f"model's {len(layers)} linear layers: {next(iter(layers))}, ..., {list(layers)[-1]}"
        )
    expected: dict[str, tuple[int, ...]] = {}
    for layer, name in targets.items():
        (out, into), rank = shapes[name], settings.rank(layer)
        expected |= {f"{layer}.lora_A.weight": (rank, into), f"{layer}.lora_B.weight": (out, rank)}
        if settings.dora:
            expected[f"{layer}.lora_magnitude_vector"] = (out,)
    found, others = _sorted_out(folder, tensors, expected)
    values = {
        name: AdapterValues(
            *(found.get(f"{layer}.{end}") for end in _SUFFIXES.values()), settings.alpha(layer)
        )
        for layer, name in targets.items()
    }
    report = AdapterReport(others, settings.notes)
    return SavedAdapter(values, settings, _hash_of_base(folder), report)


def _sorted_out(
    folder: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the expected tensors by name, and those of other modules than adapters."""
    found: dict[str, Tensor] = {}
    others, problems = {}, []
    for name, tensor in tensors.items():
        usual = re.sub(r"(lora_magnitude_vector)\.weight", r"\1", name)  # peft has written both
        if not _ADAPTER_TENSOR.fullmatch(name):
            others[name.replace(".base_layer.", ".")] = tensor
        elif usual not in expected:
            problems.append(f"unexpected {name}{_reason(name)}")
        elif usual in found:
            problems.append(f"{name} is there twice")
        else:
            found[usual] = tensor
            problems += misfits(name, tensor, expected[usual], CONFIG_FILE)
    problems += [f"missing {name}" for name in expected if name not in found]
    if problems:
        raise InputError(
            f"{folder} has no adapter for this model such as its {CONFIG_FILE} says: {'; '.join(problems)}"
        )
    return found, others


def _reason(name: str) -> str:
    if "pooler.dense." in name:
        return " (the model has no pooler)"
    return " (embeddings have no adapters here)" if "embeddings." in name else ""


def _hash_of_base(folder: Path) -> str | None:
    path = folder / BASE_FILE
    if not path.is_file():
        return None
    return read_json_object(path, {"sha256": TEXT}, "fetch the folder again")["sha256"]
