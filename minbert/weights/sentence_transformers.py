"""Folders of sentence-transformers: what they say of sentence vectors, read and written.

Every key is obeyed as sentence-transformers 6 obeys it, or refused by name. Written is the dialect that all
of its versions from 2 on can read.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers.normalizers import Lowercase, Sequence
from torch import nn

from minbert.errors import ANYTHING, TEXT, TRUTH, InputError, Rule, by_name, check, is_number, or_null, whole
from minbert.files import read_json, read_json_object, within, write_json
from minbert.pooling import Normalize, Pooling, Projection, SentenceModules
from minbert.weights.files import PICKLE_FILE, WEIGHTS_FILE
from minbert.weights.hub import MODULES_FILE, TRANSFORMER_FILES
from minbert.weights.load import read_tensors, write_tensors

SETTINGS_FILE = "config_sentence_transformers.json"
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
# The flags of old versions, in the order in which their vectors are concatenated.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Where versions 0 to 6 have the classes: in a package, or each in a file of its own.
_PLACE = re.compile(
    r"sentence_transformers\.(models|base\.modules|sentence_transformer\.modules)(?:\.(\w+))?"
)
_OTHER_SHAPES = ("GLU", "Softmax2d", "Threshold", "MultiheadAttention")  # or which need arguments
_FIRST_FLAGS = tuple(_FLAGS)[:4]  # which all versions write

SIZE = whole(1)


def _only(*values: Any) -> Rule:
    """Accepts values that change nothing, of a setting that is not supported."""
    return Rule(lambda value: value in values, f"{' or '.join(map(str, values))}; others are not supported")


_NAME = Rule(lambda value: isinstance(value, str) and len(value.encode()) < 256, "a name below 256 bytes")
_EMPTY = Rule(lambda value: not value, "left out or empty; its settings are not supported")
_VECTOR_NAME = _only("sentence_embedding", None)
_LOADING = Rule(
    lambda value: value is None or (isinstance(value, dict) and value.keys() <= {"trust_remote_code"}),
    "left out or empty; its settings are not supported",
)
SETTINGS_RULES = {
    "__version__": ANYTHING,
    "model_type": _only("SentenceTransformer"),
    "prompts": by_name(or_null(TEXT)),
    "default_prompt_name": or_null(TEXT),
    "similarity_fn_name": _only(*SIMILARITIES, None),
    "truncate_dim": or_null(SIZE),
    "requirements": _EMPTY,
}
TRANSFORMER_RULES = {
    "max_seq_length": or_null(whole(3)),  # room for a token
    "do_lower_case": TRUTH,
    "transformer_task": _only("feature-extraction"),
    "modality_config": _only(
        {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}, None
    ),
    "module_output_name": _only("token_embeddings"),
    "unpad_inputs": ANYTHING,  # changes no vector
    **dict.fromkeys(("processing_kwargs", "query_length", "document_length", "query_expansion"), _EMPTY),
    "tokenizer_name_or_path": _EMPTY,
    **dict.fromkeys(("model_args", "tokenizer_args", "config_args"), _LOADING),
    **dict.fromkeys(("model_kwargs", "processor_kwargs", "config_kwargs"), _LOADING),
}
_MODES = Rule(
    lambda value: (
        value in _FLAGS.values()
        if isinstance(value, str)
        else isinstance(value, list) and bool(value) and all(mode in _FLAGS.values() for mode in value)
    ),
    f"one of {', '.join(_FLAGS.values())}, or a list of them",
)
POOLING_RULES = {
    "embedding_dimension": SIZE,
    "word_embedding_dimension": SIZE,
    "pooling_mode": _MODES,
    **dict.fromkeys(_FLAGS, TRUTH),
    "include_prompt": TRUTH,
}
DENSE_RULES = {
    "in_features": SIZE,
    "out_features": SIZE,
    "bias": TRUTH,
    "activation_function": TEXT,
    "module_input_name": _VECTOR_NAME,
    "module_output_name": _VECTOR_NAME,
    "use_residual": _only(False),
}
NORMALIZE_RULES = {"module_input_name": _VECTOR_NAME, "module_output_name": _VECTOR_NAME}
SHARE = Rule(lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1")


@dataclass(frozen=True)
class SentenceFolder:
    """Settings of a folder for sentence vectors; the defaults are those of a folder without modules.json.

    `transformer` is the folder of the encoder and its tokenizer; `modules` is None where nothing is said;
    `settings` are prompts, default_prompt_name, similarity_fn_name and truncate_dim, where they are given.
    """

    transformer: Path
    max_length: int | None
    modules: SentenceModules | None = None
    lower_case: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_sentence_folder(folder: Path) -> SentenceFolder:
    """Reads the dialects of versions 2 to 6.

    Raises InputError, by file and key, for modules and settings that are not supported, values of another
    type, files that cannot be read, and the folder of a CrossEncoder.
    """
    _refuse_cross_encoder(folder)
    if not os.path.lexists(folder / MODULES_FILE):
        return SentenceFolder(folder, _tokenizer_length(folder))
    (_, transformer), *modules = _read_entries(folder)
    if not modules:
        raise InputError(
            f"{folder / MODULES_FILE} has no Pooling module, so the folder makes no sentence vectors; load "
            f"its encoder with BertModel.from_pretrained"
        )
    settings = {
        name: value
        for name, value in _read(folder / SETTINGS_FILE, SETTINGS_RULES).items()
        if name in ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
        and value is not None
    }
    found = next(
        filter(None, (_read(transformer / name, TRANSFORMER_RULES) for name in TRANSFORMER_FILES)), {}
    )
    length = found.get("max_seq_length")
    length = _tokenizer_length(transformer) if length is None else length
    parts = [_KINDS[kind](path) for kind, path in modules]
    try:
        joined = SentenceModules(*parts)
    except InputError as error:
        raise InputError(f"{folder / MODULES_FILE}: {error}") from None
    return SentenceFolder(transformer, length, joined, found.get("do_lower_case", False), settings)


def transformer_folder(folder: Path) -> Path:
    """Returns the folder of the encoder's files, which modules.json may name."""
    return _read_entries(folder)[0][1] if os.path.lexists(folder / MODULES_FILE) else folder


def _read_entries(folder: Path) -> list[tuple[str, Path]]:
    """Returns kind and folder of each module: Transformer, Pooling, and those on vectors."""
    path = folder / MODULES_FILE
    entries = read_json(path)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path} is not a list of modules with type and path; fetch the folder again")
    found, names = [], set()
    for number, entry in enumerate(entries):
        rules = {"type": TEXT, "path": _NAME, "idx": ANYTHING, "name": TEXT, "kwargs": _EMPTY}
        _check_keys(entry, rules, path, required=("type", "path", "name"))
        name = entry["name"]
        if not name or "." in name or name in names:
            raise InputError(
                f"{path}: name of module {number} is {name!r}; each module has one of its own, without a dot"
            )
        names.add(name)
        package, _, kind = entry["type"].rpartition(".")
        below = within(folder, entry["path"] or ".", path)
        # The first two have a place of their own.
        accepted = ("Transformer", "Pooling")[number : number + 1] or tuple(_KINDS)[1:]
        place = _PLACE.fullmatch(package)
        file = (place and place[2] or kind).replace("_", "").lower()
        if not place or file != kind.lower() or kind not in accepted:
            raise InputError(
                f"{path}: type of module {number} is {entry['type']!r}; supported are sentence_transformers' "
                f"Transformer, Pooling, then any of {', '.join(tuple(_KINDS)[1:])}"
            )
        found.append((kind, below))
    return found


def _refuse_cross_encoder(folder: Path) -> None:
    """Raises InputError for a CrossEncoder, as versions 3 to 6 write it."""

    def says(name: str, key: str, accepts: Callable[[Any], bool]) -> bool:
        return os.path.lexists(folder / name) and accepts(read_json_object(folder / name).get(key))

    if (
        says(SETTINGS_FILE, "model_type", lambda value: value == "CrossEncoder")
        or says("config.json", "sbert_ce_default_activation_function", bool)
        or says(
            "config.json",
            "sentence_transformers",
            lambda value: isinstance(value, dict) and "activation_fn" in value,
        )
    ):
        raise InputError(
            f"{folder} is a CrossEncoder, which scores pairs and makes no sentence vectors; take the folder "
            f"of a SentenceTransformer, or score pairs with sentence_transformers.CrossEncoder"
        )


def _read(path: Path, rules: Mapping[str, Rule], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the values of a JSON file, {} where there is none; raises InputError for a key it breaks."""
    values = read_json_object(path) if os.path.lexists(path) else {}
    _check_keys(values, rules, path, required)
    return values


def _check_keys(values: dict, rules: Mapping[str, Rule], path: Path, required: tuple[str, ...] = ()) -> None:
    for name in required:
        if name not in values:
            raise InputError(f"{path} has no key {name!r}; fetch the folder again")
    for name in values:
        if name not in rules:
            raise InputError(
                f"{path} has the key {name!r}, which is not supported; remove it if vectors do not "
                f"depend on it"
            )
    check(values, {name: rules[name] for name in values}, f"{path}: ")


def _tokenizer_length(folder: Path) -> int | None:
    """Returns the length to cut to where sentence-transformers 6 writes it."""
    path = folder / "tokenizer_config.json"
    length = read_json_object(path).get("model_max_length") if os.path.lexists(path) else None
    if length is not None and not (is_number(length) and length >= 3):
        raise InputError(f"{path}: model_max_length is {length!r}; it must be a number of at least 3")
    return None if length is None else int(length)


def _read_pooling(folder: Path) -> Pooling:
    path = folder / "config.json"
    settings = _read(path, POOLING_RULES)
    size = settings.get("embedding_dimension", settings.get("word_embedding_dimension"))
    if size is None:
        raise InputError(f"{path} has no key 'embedding_dimension'; fetch the folder again")
    modes = settings.get("pooling_mode") or [mode for flag, mode in _FLAGS.items() if settings.get(flag)]
    modes = [modes] if isinstance(modes, str) else modes
    return Pooling(size, *modes, include_prompt=settings.get("include_prompt", True))


def _read_dense(folder: Path) -> Projection:
    path = folder / "config.json"
    settings = _read(path, DENSE_RULES, ("in_features", "out_features"))
    name = settings.get("activation_function", "torch.nn.Tanh")
    return _with_weights(
        lambda: Projection(
            settings["in_features"],
            settings["out_features"],
            _activation(name, path),
            settings.get("bias", True),
        ),
        folder,
    )


def _activation(name: str, path: Path) -> Callable[[], nn.Module]:
    """Returns an activation of torch by its full name; nothing is imported that a file names."""
    kind = name.rpartition(".")[2] if name.startswith("torch.nn.") else ""
    found = getattr(torch.nn.modules.activation, kind, None)
    if kind == "Identity":
        return nn.Identity
    if kind in ("Softmax", "Softmin", "LogSoftmax"):
        return partial(found, dim=-1)  # of two-dimensional inputs that is torch's default, with a warning
    known = isinstance(found, type) and found.__module__ == nn.Tanh.__module__
    if kind in _OTHER_SHAPES or not known:
        raise InputError(
            f"{path}: activation_function is {name!r}; it must be an activation of torch.nn without "
            f"arguments, such as torch.nn.modules.activation.GELU"
        )
    return found


def _read_layer_norm(folder: Path) -> nn.LayerNorm:
    size = _read(folder / "config.json", {"dimension": SIZE}, ("dimension",))["dimension"]
    return _with_weights(lambda: nn.LayerNorm(size), folder, "norm.")


def _read_normalize(folder: Path) -> Normalize:
    _read(folder / "config.json", NORMALIZE_RULES)
    return Normalize()


def _read_dropout(folder: Path) -> nn.Dropout:
    return nn.Dropout(_read(folder / "config.json", {"dropout": SHARE}).get("dropout", 0.2))


def _with_weights(make: Callable[[], nn.Module], folder: Path, prefix: str = "") -> Any:
    """Returns a module with the tensors of its folder, in fp32."""
    path = folder / WEIGHTS_FILE
    if not path.is_file() and (folder / PICKLE_FILE).is_file():
        raise InputError(
            f"{folder} has only {PICKLE_FILE}, and a pickle can run code and is not read; take a folder with "
            f"{WEIGHTS_FILE}"
        )
    tensors = {
        name.removeprefix(prefix): tensor.float().clone() for name, tensor in read_tensors(path).items()
    }
    try:
        with torch.device("meta"):
            module = make()
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} does not fit {folder / 'config.json'} ({reason}); fetch both again"
        ) from None
    return module.eval()


def lower_case_first(normalizer: Any) -> Sequence:
    """The normalizer of a tokenizer with Lowercase before it, as `do_lower_case` asks for it."""
    parts = _parts(normalizer)
    return Sequence(parts if has_lower_case(normalizer) else [Lowercase(), *parts])


def has_lower_case(normalizer: Any) -> bool:
    """True for Lowercase, or a sequence with it; sentence-transformers does not look into others."""
    return any(isinstance(part, Lowercase) for part in _parts(normalizer))


def _parts(normalizer: Any) -> list[Any]:
    if isinstance(normalizer, Sequence):
        return list(normalizer)
    return [] if normalizer is None else [normalizer]


def write_modules(
    folder: Path, modules: SentenceModules, max_length: int | None = None, lower_case: bool = False
) -> None:
    """Says in a folder of weights how its sentences are pooled, cut and lower-cased.

    Raises InputError for modules that sentence-transformers does not have.
    """
    written = [_described(module) for module in (modules.pooling, *modules.after)]
    entries = [("", "Transformer"), *((f"{i}_{kind}", kind) for i, (kind, *_) in enumerate(written, start=1))]
    for (path, _), (_, settings, tensors) in zip(entries[1:], written, strict=True):
        (folder / path).mkdir(parents=True, exist_ok=True)  # that of Normalize has no file
        if settings:
            write_json(folder / path / "config.json", settings)
        if tensors:
            write_tensors(tensors, folder / path / WEIGHTS_FILE)
    if max_length is not None:
        length = {"max_seq_length": max_length, "do_lower_case": lower_case}
        write_json(folder / TRANSFORMER_FILES[0], length)
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(entries)
    ]
    write_json(folder / MODULES_FILE, listed)


def _described(module: nn.Module) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    """Returns a module's kind, settings and tensors. Raises InputError where there is no such module."""
    match module:
        case Pooling():
            return "Pooling", _pooling_settings(module), {}
        case Projection():
            activation = type(module.activation_function)
            settings = {
                "in_features": module.linear.in_features,
                "out_features": module.linear.out_features,
                "bias": module.linear.bias is not None,
                "activation_function": f"{activation.__module__}.{activation.__qualname__}",
            }
            return "Dense", settings, module.state_dict()
        case nn.LayerNorm(eps=1e-5, elementwise_affine=True):
            tensors = {f"norm.{name}": tensor for name, tensor in module.state_dict().items()}
            return "LayerNorm", {"dimension": module.normalized_shape[0]}, tensors
        case Normalize(kind="l2"):
            return "Normalize", {}, {}
        case nn.Dropout():
            return "Dropout", {"dropout": module.p}, {}
        case Normalize():
            raise InputError(
                "normalize is 'l1', and sentence-transformers' Normalize divides by the L2 length; take "
                "--format onnx, or normalize by l2 or none"
            )
    raise InputError(f"sentence-transformers has no module for {module}; take {', '.join(_KINDS)}")


def _pooling_settings(pooling: Pooling) -> dict[str, Any]:
    if "pooler" in pooling.modes:
        raise InputError(
            "pooling is 'pooler', and sentence-transformers has no module for BERT's pooler; take --format "
            "onnx, or pool by cls, mean or max"
        )
    prompt = {} if pooling.include_prompt else {"include_prompt": False}
    flags = {flag: mode in pooling.modes for flag, mode in _FLAGS.items()}
    if tuple(mode for flag, mode in _FLAGS.items() if flags[flag]) != pooling.modes:
        # In another order, which only version 6 knows.
        return {"embedding_dimension": pooling.size, "pooling_mode": list(pooling.modes)} | prompt
    kept = {flag: on for flag, on in flags.items() if on or flag in _FIRST_FLAGS}
    return {"word_embedding_dimension": pooling.size} | kept | prompt


_KINDS: dict[str, Callable[[Path], nn.Module]] = {
    "Pooling": _read_pooling,
    "Dense": _read_dense,
    "Normalize": _read_normalize,
    "LayerNorm": _read_layer_norm,
    "Dropout": _read_dropout,
}
