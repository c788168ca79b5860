"""From the name of pretrained weights to a local folder: a path, or a model of the hub."""

from pathlib import Path

from minbert.errors import InputError
from minbert.hub_download import cached_folder, download
from minbert.hub_requests import HubModel


def find_folder(source: str | Path) -> Path:
    """The local folder for `source`: a folder, one under checkpoints/, or a model of the Hugging Face hub.

    A string that can be a model's name (`bert-base-uncased`, `owner/name`, either with `@revision`) and names
    no folder is looked for in huggingface_hub's cache, and only then on the hub. Never looked for are a Path,
    an absolute path, one that begins with `.` or has more than one `/`, one in a folder that is there.
    Raises InputError where there is nothing.
    """
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{source} is a file; give the folder that holds config.json and model.safetensors")
    beside = Path("checkpoints") / path
    if beside.is_dir():
        return beside
    tried = f"{source}" if path.is_absolute() else f"{source} or {beside}"
    missing = f"there is no folder {tried}"
    model = HubModel.parse(source) if isinstance(source, str) else None
    if model is None:
        raise InputError(f"{missing}; give one with config.json and model.safetensors")
    if "/" in model.name and path.parent.is_dir():
        raise InputError(
            f"{missing}; give one with config.json and model.safetensors ({path.parent} is there, so "
            f"no model of the hub was looked for; `minbert download {source}` fetches one)"
        )
    try:
        return cached_folder(model) or download(model).folder
    except InputError as error:
        raise InputError(f"{missing}, nor did the hub give a model of that name: {error}") from None
