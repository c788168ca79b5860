"""A BertModel from and to a folder: its configuration, weights and adapters.

minbert/adapters builds on BertModel, so it is imported inside the functions.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from minbert.config import BertConfig
from minbert.errors import InputError
from minbert.weights.hub import find_folder
from minbert.weights.load import load_weights, save_weights

if TYPE_CHECKING:
    from minbert.model import BertModel


def load_pretrained(
    kind: type["BertModel"],
    source: str | Path,
    kernels: str,
    pooler: str | None,
    config: BertConfig | None,
    adapter: str | None,
) -> "BertModel":
    """Loads a model; see `BertModel.from_pretrained`."""
    from minbert.adapters.folder import choose_adapter, load_adapters

    if pooler not in (None, "random"):
        raise InputError(f'pooler is {pooler!r}; give None, or "random" for a fresh one where it is missing')
    folder = find_folder(source)
    own = BertConfig.from_folder(folder)
    adapter = choose_adapter(folder, adapter)
    with torch.device("meta"):
        model = kind(config or own, kernels)
        added = model.state_dict().keys() - kind(own).state_dict().keys() if config else None
    model.load_report = load_weights(model, folder, added)
    if model.load_report.missing and pooler is None:
        model.pooler = None
    fresh = [module for module in model.modules() if any(p.is_meta for p in module.parameters(recurse=False))]
    for module in fresh:
        module.to_empty(device="cpu", recurse=False)
    model.initialize(fresh)
    load_adapters(model, folder, adapter)
    return model.eval()


def save_pretrained(model: "BertModel", folder: Path, base_only: bool) -> None:
    """Saves a model; see `BertModel.save_pretrained`."""
    from minbert.adapters.attention_adapters import attention_adapters, save_attention_adapters

    kinds = attention_adapters(model).kinds
    facts: dict[str, Any] = {"dtype": str(next(model.parameters()).dtype).split(".")[1]}
    facts |= {"minbert_adapters": list(kinds)} if kinds else {"architectures": ["BertModel"]}
    left_out = ("torch_dtype", "architectures", "minbert_adapters")
    extra = {name: value for name, value in model.config.extra.items() if name not in left_out}
    save_weights(model, folder, base_only)
    if kinds:
        save_attention_adapters(model, folder)
    replace(model.config, extra=extra | facts).save(folder)
