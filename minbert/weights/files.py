"""Names of the files of weights in a folder, and of the tensors in them. No torch here."""

from pathlib import Path

from minbert.errors import TEXT, InputError, by_name
from minbert.files import read_json_object, within

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLE_FILE = "pytorch_model.bin"


def read_shards(index: Path) -> list[str]:
    """Returns the names of the weight files that an index lists. Raises InputError for a damaged index."""
    return sorted(set(read_json_object(index, {"weight_map": by_name(TEXT)})["weight_map"].values()))


def weight_files(folder: Path) -> list[Path]:
    """Returns model.safetensors, or the shards that its index names. Raises InputError for neither."""
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if (folder / INDEX_FILE).is_file():
        index = folder / INDEX_FILE
        return [within(folder, name, index) for name in read_shards(index)]
    pickled = f" ({PICKLE_FILE} is a pickle, which is not read)" if (folder / PICKLE_FILE).is_file() else ""
    raise InputError(f"{folder} holds no {WEIGHTS_FILE}{pickled}; fetch the folder with its safetensors file")


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the tensors of a folder's weights; none where these are missing or damaged."""
    from safetensors import SafetensorError, safe_open  # not loaded by `import minbert`

    try:
        shapes = {}
        for path in weight_files(folder):
            with safe_open(path, framework="numpy") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return shapes
    except (InputError, SafetensorError, OSError):
        return {}
