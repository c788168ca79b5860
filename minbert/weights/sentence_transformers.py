"""Pooling settings of sentence-transformers folders: modules.json, read and written.

Written in the dialect that all of its versions from 2 on can read.
"""

from pathlib import Path

from minbert.errors import InputError
from minbert.files import read_json, read_json_object, write_json
from minbert.pooling import Projection
from minbert.weights.load import read_tensors, write_tensors

MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
# The classes of a Dense module's activations, by the names of Projection.ACTIVATIONS.
_ACTIVATIONS = {"tanh": "torch.nn.modules.activation.Tanh", "identity": "torch.nn.modules.linear.Identity"}
_FLAGS = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}


def read_modules(folder: Path) -> dict:
    """Returns pooling, normalize, projection and max_length as a sentence-transformers folder gives them.

    Reads the dialects of versions 2 to 6. Raises InputError for a module or a pooling that is not known.
    """
    found = {"pooling": "mean", "normalize": None, "projection": None, "max_length": _max_length(folder)}
    path = folder / "modules.json"
    if not path.is_file():
        return found
    try:
        modules = [(entry["type"].rpartition(".")[2], folder / entry["path"]) for entry in read_json(path)]
    except (AttributeError, KeyError, TypeError):
        raise InputError(
            f"{path} is not a list of modules with type and path; fetch the folder again"
        ) from None
    kinds = [kind for kind, _ in modules]
    if kinds != [kind for kind in MODULES if kind in kinds]:
        raise InputError(
            f"{path} asks for {', '.join(kinds)}; {', '.join(MODULES)} are supported, in this order"
        )
    for kind, module in modules:
        if kind == "Pooling":
            found["pooling"] = _pooling_name(module / "config.json")
        elif kind == "Dense":
            found["projection"] = _read_projection(module)
        elif kind == "Normalize":
            found["normalize"] = "l2"
    return found


def _max_length(folder: Path) -> int | None:
    """Returns the length that sentences are cut to, from `max_seq_length` or where version 6 writes it."""
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        length = read_json_object(folder / name).get(key) if (folder / name).is_file() else None
        if length is not None:
            return int(length)
    return None


def _pooling_name(path: Path) -> str:
    settings = read_json_object(path)
    prefix = "pooling_mode_"
    chosen = [key.removeprefix(prefix) for key, on in settings.items() if key.startswith(prefix) and on]
    if "pooling_mode" in settings:  # the dialect of version 6
        chosen = [settings["pooling_mode"]]
    names = {name: name for name in _FLAGS} | {flag: name for name, flag in _FLAGS.items()}
    if len(chosen) != 1 or str(chosen[0]) not in names:
        raise InputError(f"{path} asks for the pooling {chosen}; one of cls, mean, max is supported")
    return names[chosen[0]]


def _read_projection(folder: Path) -> Projection:
    settings = read_json_object(folder / "config.json")
    activation = settings.get("activation_function", "Tanh").rpartition(".")[2].lower()
    tensors = {name: tensor.float() for name, tensor in read_tensors(folder / "model.safetensors").items()}
    try:
        sizes = settings["in_features"], settings["out_features"]
        projection = Projection(*sizes, activation, bool(settings.get("bias", True)))
        projection.load_state_dict(tensors)  # copies
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder} holds no Dense module ({error}); fetch the folder again") from None
    return projection.eval()


def write_modules(
    folder: Path,
    size: int,
    pooling: str,
    normalize: str | None = None,
    max_length: int | None = None,
    projection: Projection | None = None,
) -> None:
    """Says in a folder of weights of hidden size `size` how its sentences are pooled.

    The projection is written as a Dense module, between pooling and normalisation.
    Raises InputError for poolings and lengths that sentence-transformers has no module for.
    """
    if pooling not in _FLAGS:
        raise InputError(f"pooling {pooling!r} has no module; choose from {', '.join(_FLAGS)}")
    if normalize not in (None, "l2"):
        raise InputError(f"normalization {normalize!r} has no module; choose l2 or none")
    kinds = ["Pooling", *(["Dense"] if projection else []), *(["Normalize"] if normalize else [])]
    paths = [f"{i}_{kind}" for i, kind in enumerate(kinds, start=1)]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(zip(["", *paths], ["Transformer", *kinds], strict=True))
    ]
    flags = {f"pooling_mode_{flag}": name == pooling for name, flag in _FLAGS.items()}
    settings = {"word_embedding_dimension": size, **flags, "pooling_mode_mean_sqrt_len_tokens": False}
    (folder / paths[-1]).mkdir(parents=True, exist_ok=True)  # that of Normalize has no file
    write_json(folder / "1_Pooling" / "config.json", settings)
    if projection is not None:
        linear = projection.linear
        dense = {
            "in_features": linear.in_features,
            "out_features": linear.out_features,
            "bias": linear.bias is not None,
            "activation_function": _ACTIVATIONS[projection.activation],
        }
        write_json(folder / "2_Dense" / "config.json", dense)
        write_tensors(projection.state_dict(), folder / "2_Dense" / "model.safetensors")
    if max_length is not None:
        length = {"max_seq_length": max_length, "do_lower_case": False}
        write_json(folder / "sentence_bert_config.json", length)
    write_json(folder / "modules.json", modules)
