"""Adapter folders in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`, read and written.

Tensors go by the names of transformers' BertModel. Beside them we write `base.json`, the hash of the weights
that the adapter belongs to; peft does not look at it. The model itself is lora.py's matter.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from minbert.errors import InputError
from minbert.files import atomic_write, read_json_object
from minbert.peft_settings import PeftSettings
from minbert.weights import hugging_face_name, read_tensors, write_tensors

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
    """What a load found: the tensors restored, those that are no adapter's (a classifier), and notes."""

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
        with atomic_write(folder / file) as out:
            out.write(json.dumps(content, indent=2, sort_keys=True) + "\n")


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
    """The adapters' tensors by layer, those that are no adapter's, and those that belong nowhere."""
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
    """What is missing among a layer's tensors, mis-shaped, or not made of numbers."""
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
