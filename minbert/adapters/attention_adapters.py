"""Adapters within BERT's attention that cannot be merged: projected attention, layers per attention head.

They stand beside a base that stays a BERT. In a folder of weights `adapter/attention_adapters.json` has their
sizes and the hash of the base; the tensors are in `adapter/TASK/projected_attention.safetensors` and
`adapter/attention_head_layers.safetensors`.
"""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from minbert.adapters.attention_head_layers import AttentionHeadLayer
from minbert.adapters.config import (
    ADAPTER_FOLDER,
    ATTENTION_RULES,
    HEAD_LAYERS,
    PROJECTED,
    AttentionAdapterConfig,
)
from minbert.adapters.lora import base_hash
from minbert.adapters.projected_attention import ProjectedAttention
from minbert.config import BertConfig
from minbert.errors import TEXT, InputError
from minbert.files import read_json_object, write_json
from minbert.model import BertModel
from minbert.weights.load import read_tensors, write_tensors

DESCRIPTION = "attention_adapters.json"


def attention_adapters(model: BertModel) -> AttentionAdapterConfig:
    """Returns the sizes of a model's adapters within attention."""
    head_layers = len(model.encoder.layers[0].attention.head_layers)
    projected = model.encoder.projected_attention
    if projected is None:
        return AttentionAdapterConfig(head_layers)
    return AttentionAdapterConfig(head_layers, projected.size, projected.heads, tuple(projected.adapters))


def add_attention_adapters(model: BertModel, config: AttentionAdapterConfig) -> None:
    """Adds fresh adapters, which change nothing until they are trained, in place of the model's."""
    sizes = model.config
    for layer in model.encoder.layers:
        layer.attention.head_layers = nn.ModuleList(
            AttentionHeadLayer(sizes.num_attention_heads, sizes.head_size)
            for _ in range(config.attention_head_layers)
        ).train(model.training)
    model.encoder.projected_attention = None
    if config.projected_attention_names:
        model.encoder.projected_attention = ProjectedAttention(
            sizes,
            config.projected_attention_size,
            config.projected_attention_heads,
            config.projected_attention_names,
        ).train(model.training)


def read_attention_adapters(folder: str | Path) -> AttentionAdapterConfig:
    """Reads the sizes of the adapters within attention that a folder of weights has."""
    if not BertConfig.from_folder(folder).extra.get("minbert_adapters"):
        return AttentionAdapterConfig()
    path = Path(folder) / ADAPTER_FOLDER / DESCRIPTION
    return AttentionAdapterConfig(
        **{name: value for name, value in _described(path).items() if name != "sha256"}
    )


def _described(path: Path) -> dict[str, Any]:
    rules = ATTENTION_RULES | {"sha256": TEXT}
    values = read_json_object(path, rules, "fetch the folder again")
    return {name: values[name] for name in rules}


def save_attention_adapters(model: BertModel, folder: str | Path) -> None:
    """Writes a model's adapters within attention beside its base. Each file is whole or not there."""
    place = Path(folder) / ADAPTER_FOLDER
    config = attention_adapters(model)
    if not config.kinds:
        raise InputError("the model has no adapters within attention to save; add_attention_adapters first")
    tensors = model.state_dict()
    for path, own in _files(config, tensors).items():
        write_tensors({name: tensors[name] for name in own}, place / path)
    write_json(place / DESCRIPTION, {"sha256": _base_hash(model), **asdict(config)})


def load_attention_adapters(
    model: BertModel, folder: str | Path, config: AttentionAdapterConfig | None = None
) -> None:
    """Adds the adapters of a folder to its base.

    `config` takes the place of the folder's sizes: what it adds to these is fresh.
    Raises InputError for another base than the one they belong to, and for missing or mis-shaped tensors.
    """
    folder = Path(folder)
    saved = read_attention_adapters(folder)
    layers = BertConfig.from_folder(folder).num_hidden_layers
    if saved.kinds:
        sha256 = _described(folder / ADAPTER_FOLDER / DESCRIPTION)["sha256"]
        if len(model.encoder.layers) == layers and sha256 != _base_hash(model):
            raise InputError(
                f"the adapters in {folder / ADAPTER_FOLDER} were made for other weights than this model's; "
                f"load the weights that they were trained on"
            )
    add_attention_adapters(model, config or saved)
    own = model.state_dict()
    files = _files(saved, own)
    found: dict[str, Tensor] = {}
    for path in files:
        found |= read_tensors(folder / ADAPTER_FOLDER / path)
    unfit = [name for name, tensor in found.items() if name not in own or own[name].shape != tensor.shape]
    wanted = {name for names in files.values() for name in names}
    missing = [name for name in wanted - found.keys() if _layer_of(name) < layers]
    if unfit or missing:
        raise InputError(
            f"{folder / ADAPTER_FOLDER} does not fit the model: {', '.join(sorted({*unfit, *missing}))} are "
            f"missing, unexpected or of another shape; fetch the folder again"
        )
    model.load_state_dict(found, strict=False)


def _files(config: AttentionAdapterConfig, tensors: dict[str, Tensor]) -> dict[str, list[str]]:
    """The names of the tensors in each file below `adapter/`."""
    files = {}
    if config.attention_head_layers:
        kept = tuple(f".head_layers.{number}." for number in range(config.attention_head_layers))
        files[f"{HEAD_LAYERS}.safetensors"] = [name for name in tensors if any(part in name for part in kept)]
    for task in config.projected_attention_names:
        start = f"encoder.projected_attention.adapters.{task}."
        files[f"{task}/{PROJECTED}.safetensors"] = [name for name in tensors if name.startswith(start)]
    return files


def _layer_of(name: str) -> int:
    """Returns the number of the layer that a tensor belongs to; -1 for those of all layers."""
    match = re.search(r"layers\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _base_hash(model: BertModel) -> str:
    return base_hash(model, without=(".adapters.", ".head_layers."))
