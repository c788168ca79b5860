"""Names of the files of weights in a folder, and of the tensors in them. No torch here."""

from pathlib import Path

from minbert.errors import InputError
from minbert.files import read_json_object

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLE_FILE = "pytorch_model.bin"


def read_shards(index: Path) -> list[str]:
    """Returns the names of the weight files that an index lists. Raises InputError for a damaged index."""
    try:
        names = sorted(set(map(str, read_json_object(index)["weight_map"].values())))
    except (KeyError, AttributeError):
        raise InputError(f"{index} has no weight_map; fetch it again") from None
    for name in names:
        if Path(name).name != name:
            raise InputError(f"{index} names {name!r}, which is not a file of its folder; fetch it again")
    return names


def weight_files(folder: Path) -> list[Path]:
    """Returns model.safetensors, or the shards that its index names. Raises InputError for neither."""
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if (folder / INDEX_FILE).is_file():
        return [folder / name for name in read_shards(folder / INDEX_FILE)]
    pickled = f" ({PICKLE_FILE} is a pickle, which is not read)" if (folder / PICKLE_FILE).is_file() else ""
    raise InputError(f"{folder} holds no {WEIGHTS_FILE}{pickled}; fetch the folder with its safetensors file")


def tensor_names(folder: Path) -> list[str]:
    """Returns the names of the tensors of a folder's weights; none where these are missing or damaged."""
    from safetensors import SafetensorError, safe_open  # not loaded by `import minbert`

    try:
        names = []
        for path in weight_files(folder):
            with safe_open(path, framework="numpy") as file:
                names += file.keys()
        return names
    except (InputError, SafetensorError, OSError):
        return []
