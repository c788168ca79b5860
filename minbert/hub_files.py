"""Which files of a model on the hub are needed, their checksums, and whether a folder holds them whole."""

import hashlib
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from minbert.config import BertConfig
from minbert.errors import InputError
from minbert.files import read_json_object

RECORD_FILE = "hub.json"
CONFIG_FILE = "config.json"
MODULES_FILE = "modules.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
VARIANT_FILE = "minbert.safetensors"
PICKLE_FILE = "pytorch_model.bin"
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt")
SETTINGS_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    MODULES_FILE,
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
SHA256, GIT_BLOB = 64, 40  # hexadecimal digits


def needed_files(name: str, listed: Collection[str], fetch: Callable[[str], Path]) -> list[str]:
    """The names of the files that the model `name` needs, of those that the hub lists; the weights last.

    `fetch(file)` gives a local copy of a file that says which others are needed: config.json, modules.json,
    the index of weights in several files. Raises InputError for what is no BERT, or has no weights in
    safetensors or no tokenizer.
    """
    if CONFIG_FILE not in listed:
        raise InputError(f"{name} holds no {CONFIG_FILE}; choose a BERT in the format of transformers")
    try:
        BertConfig.from_dict(read_json_object(fetch(CONFIG_FILE)))
    except InputError as error:
        raise InputError(f"{name} is no BERT that can be used: {error}") from None
    if not set(VOCABULARY_FILES) & set(listed):
        raise InputError(f"{name} holds no {' and no '.join(VOCABULARY_FILES)}; choose another model")
    settings = [file for file in (*VOCABULARY_FILES, *SETTINGS_FILES) if file in listed]
    modules = _module_files(name, listed, fetch) if MODULES_FILE in listed else []
    weights = _weight_files(name, listed, fetch, WEIGHTS_FILE)
    return list(dict.fromkeys([CONFIG_FILE, *settings, *modules, *weights]))


def _weight_files(
    name: str, listed: Collection[str], fetch: Callable[[str], Path], weights: str
) -> list[str]:
    if weights in listed:
        return [weights]
    if weights == WEIGHTS_FILE and INDEX_FILE in listed:
        table = read_json_object(fetch(INDEX_FILE)).get("weight_map")
        shards = sorted(set(map(str, table.values()))) if isinstance(table, dict) else []
        missing = [shard for shard in shards if shard not in listed]
        if missing or not shards:
            raise InputError(
                f"{name} holds no {missing[0] if missing else 'weight_map'}, which {INDEX_FILE} must name; "
                f"choose another model"
            )
        return [INDEX_FILE, *shards]
    _refuse_pickle(name, listed, PICKLE_FILE)
    raise InputError(f"{name} holds no {weights}; choose a model with weights in safetensors")


def _module_files(name: str, listed: Collection[str], fetch: Callable[[str], Path]) -> list[str]:
    """What the folders hold that modules.json names, such as 1_Pooling/config.json."""
    path = fetch(MODULES_FILE)
    try:
        folders = [entry["path"] for entry in json.loads(path.read_text(encoding="utf-8"))]
        prefixes = tuple(f"{folder}/" for folder in folders if folder)
        found = [file for file in listed if file.startswith(prefixes)]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{MODULES_FILE} of {name} is no list of modules; choose another model") from None
    for prefix in prefixes:
        if f"{prefix}{WEIGHTS_FILE}" not in listed:
            _refuse_pickle(name, listed, f"{prefix}{PICKLE_FILE}")
    return sorted(file for file in found if file.endswith((".json", ".safetensors")))


def _refuse_pickle(name: str, listed: Collection[str], pickle: str) -> None:
    if pickle in listed:
        raise InputError(
            f"{name} has {pickle} and no safetensors in its place; a pickle can run code and is not read. "
            f"Take a revision with safetensors (often refs/pr/1), or have the model converted at "
            f"https://huggingface.co/spaces/safetensors/convert"
        )


def check_names(name: str, listed: Collection[str]) -> None:
    """Raises InputError for a name that leads out of the folder that the files are put into."""
    for file in listed:
        parts = file.split("/")
        if {"", ".", ".."} & set(parts) or any(sign in file for sign in "\\:") or not file.isprintable():
            raise InputError(
                f"{name} lists a file called {file!r}, which leads out of its folder; nothing was fetched, "
                f"and this server should not be trusted"
            )


def fits(path: Path, checksum: str) -> bool:
    """Whether a file is there and has this sha256 (64 digits), or this id of a git blob (40 digits)."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        if len(checksum) == SHA256:
            digest = hashlib.file_digest(file, "sha256")
        else:
            header = b"blob %d\0" % path.stat().st_size
            digest = hashlib.file_digest(file, lambda: hashlib.sha1(header, usedforsecurity=False))
    return digest.hexdigest() == checksum


def make_record(name: str, revision: str, commit: str, folder: Path, checksums: dict[str, str]) -> dict:
    """What hub.json says: the model, the revision asked for, its commit, size and checksum of each file."""
    files = {
        file: {
            "size": (folder / file).stat().st_size,
            "sha256" if len(checksum) == SHA256 else "blob_id": checksum,
        }
        for file, checksum in sorted(checksums.items())
    }
    return {"name": name, "revision": revision, "commit": commit, "files": files}


def read_record(folder: Path) -> dict[str, Any] | None:
    """The content of a folder's hub.json; None where there is none, or none of ours."""
    try:
        record = read_json_object(folder / RECORD_FILE)
        check_names(str(folder), checksums(record))
        complete = all(isinstance(entry["size"], int) for entry in record["files"].values())
        return record if complete and {"name", "revision", "commit"} <= record.keys() else None
    except (InputError, OSError, KeyError, TypeError, AttributeError):
        return None


def checksums(record: dict[str, Any]) -> dict[str, str]:
    """The checksum of each file that a record names."""
    return {
        file: str(entry["sha256"] if "sha256" in entry else entry["blob_id"])
        for file, entry in record["files"].items()
    }


def is_whole(folder: Path, record: dict[str, Any], thorough: bool = False) -> bool:
    """Whether a folder holds all that its record names, by size or, if `thorough`, by checksum."""
    if thorough:
        return all(fits(folder / file, checksum) for file, checksum in checksums(record).items())
    return all(
        (folder / file).is_file() and (folder / file).stat().st_size == entry["size"]
        for file, entry in record["files"].items()
    )
