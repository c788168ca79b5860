"""From the name of pretrained weights to a local folder."""

from pathlib import Path

from minbert.errors import InputError


def find_folder(source: str | Path) -> Path:
    """The local folder for `source`. Raises InputError where there is none."""
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{source} is a file; give the folder that holds config.json and model.safetensors")
    beside = Path("checkpoints") / path
    if beside.is_dir():
        return beside
    tried = f"{source}" if path.is_absolute() else f"{source} or {beside}"
    raise InputError(f"there is no folder {tried}; give one with config.json and model.safetensors")
