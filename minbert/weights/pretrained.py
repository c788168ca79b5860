"""A BertModel from and to a folder: its configuration, weights and adapters.

Adapters build on BertModel, so they are imported inside the functions, by the package's public names.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from minbert.adapters.config import ADAPTER_FOLDER
from minbert.config import BertConfig
from minbert.errors import InputError, did_you_mean
from minbert.weights.files import weight_files
from minbert.weights.hub import find_folder
from minbert.weights.load import load_weights, save_weights

if TYPE_CHECKING:
    from minbert.model import BertModel

NO_ADAPTER = "none"


def load_pretrained(
    kind: type["BertModel"],
    source: str | Path,
    kernels: str,
    pooler: str | None,
    config: BertConfig | None,
    adapter: str | None,
    weights_prefix: str | None,
    strict: bool,
    local_files_only: bool,
) -> "BertModel":
    """Loads a model; see `BertModel.from_pretrained`."""
    if pooler not in (None, "random"):
        raise InputError(f'pooler is {pooler!r}; give None, or "random" for a fresh one where it is missing')
    folder = find_folder(source, local_files_only)
    own = BertConfig.from_folder(folder)
    weight_files(folder)  # raises where they are missing, before a model is built
    if pooler is not None and not own.family.pooler:
        raise InputError(f'pooler is {pooler!r}, and {own.family.name} has none; pool by "cls" or "mean"')
    if config is not None and config.model_type != own.model_type:
        raise InputError(
            f"config is of {config.family.name}, {folder} holds {own.family.name}; change the folder's, "
            f"BertConfig.from_folder"
        )
    adapter = _choose_adapter(folder, adapter)
    with torch.device("meta"):
        model = kind(config or own, kernels)
        added = model.state_dict().keys() - kind(own).state_dict().keys() if config else None
    model.load_report = load_weights(model, folder, added, weights_prefix, strict)
    if model.load_report.missing and pooler is None:
        model.pooler = None
    fresh = [module for module in model.modules() if any(p.is_meta for p in module.parameters(recurse=False))]
    for module in fresh:
        module.to_empty(device="cpu", recurse=False)
    model.initialize(fresh)
    _load_adapters(model, folder, adapter)
    return model.eval()


def save_pretrained(model: "BertModel", folder: Path, base_only: bool) -> None:
    """Saves a model; see `BertModel.save_pretrained`."""
    from minbert import attention_adapters, save_attention_adapters

    kinds = attention_adapters(model).kinds
    facts: dict[str, Any] = {"dtype": str(next(model.parameters()).dtype).split(".")[1]}
    facts |= {"minbert_adapters": list(kinds)} if kinds else {}
    left_out = ("torch_dtype", "architectures", "minbert_adapters")
    extra = {name: value for name, value in model.config.extra.items() if name not in left_out}
    save_weights(model, folder, base_only)
    if kinds:
        save_attention_adapters(model, folder)
    replace(model.config, extra=extra | facts).save(folder)


def _choose_adapter(folder: Path, name: str | None) -> str | None:
    """Returns the name of the adapter to load: the given one, or the only one there is.

    Raises InputError for a name that the folder does not have, and for None where it has several.
    """
    from minbert import read_attention_adapters

    lora, attention = _lora_names(folder), read_attention_adapters(folder).projected_attention_names
    names = sorted({*lora, *attention})
    if name == NO_ADAPTER or name in names or (name is None and not names):
        return name
    if not names:
        raise InputError(f"{folder} has no adapters for single tasks, adapter is {name!r}; leave it out")
    if name is None and len(names) == 1 and not lora:
        return names[0]
    asked = "none was named" if name is None else f"{name!r} is not there"
    raise InputError(
        f"{folder} has an adapter for each of {', '.join(names)}, and {asked}; give adapter={names[0]!r}, "
        f'another of them, or "none" for what they share alone{did_you_mean(name or "", names)}'
    )


def _load_adapters(model: "BertModel", folder: Path, name: str | None) -> None:
    """Loads the adapters within attention and the LoRA of that name, and puts them to use."""
    if name == NO_ADAPTER:
        return
    from minbert import load_attention_adapters, load_lora, read_attention_adapters, use_adapter

    if read_attention_adapters(folder).kinds:
        load_attention_adapters(model, folder)
    if name is not None:
        if name in _lora_names(folder):
            load_lora(model, folder / ADAPTER_FOLDER / name, name)
        use_adapter(model, name)


def _lora_names(folder: Path) -> list[str]:
    """Returns the tasks for which a folder has LoRA adapters; none if its one adapter is merged."""
    if (folder / ADAPTER_FOLDER / "adapter_config.json").is_file():
        return []
    return sorted(path.parent.name for path in folder.glob(f"{ADAPTER_FOLDER}/*/adapter_config.json"))
