"""The adapters of a folder of weights: below `adapter/`, one folder for each task or one for all."""

from pathlib import Path

from minbert.adapters.attention_adapters import load_attention_adapters, read_attention_adapters
from minbert.adapters.config import ADAPTER_FOLDER
from minbert.adapters.lora import load_lora
from minbert.adapters.registry import use_adapter
from minbert.errors import InputError, did_you_mean
from minbert.model import BertModel

NO_ADAPTER = "none"


def choose_adapter(folder: Path, name: str | None) -> str | None:
    """Returns the name of the adapter to load: the given one, or the only one there is.

    Raises InputError for a name that the folder does not have, and for None where it has several.
    """
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


def load_adapters(model: BertModel, folder: Path, name: str | None) -> None:
    """Loads the adapters within attention and the LoRA of that name, and puts them to use."""
    if name == NO_ADAPTER:
        return
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
