"""Models of the Hugging Face hub as local folders: the files that a BERT needs, at one commit, checked.

`huggingface_hub.snapshot_download` fetches into its cache. It does not choose the files, compares no
checksums and does not record that a model is whole. This module does, in hub.json beside the files: the
model's name, the revision, its commit, size and checksum of each file.
"""

import glob
import hashlib
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert.config import BertConfig
from minbert.errors import InputError
from minbert.files import (
    atomic_folder,
    atomic_write,
    git_blob_id,
    make_folder,
    read_json,
    read_json_object,
    restore_folder,
    within,
    write_json,
)
from minbert.weights.files import INDEX_FILE, PICKLE_FILE, WEIGHTS_FILE, read_shards

RECORD_FILE = "hub.json"
CONFIG_FILE = "config.json"
MODULES_FILE = "modules.json"
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt")
TRANSFORMER_FILES = tuple(  # of sentence-transformers' Transformer, the first that there is
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
SETTINGS_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    MODULES_FILE,
    *TRANSFORMER_FILES,
    "config_sentence_transformers.json",
)

_NAME = re.compile(r"(\w([\w.-]*\w)?/)?\w([\w.-]*\w)?", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]*", re.ASCII)
_SHA1 = re.compile(r"[0-9a-f]{40}")  # of a commit, of a git blob
_SHA256 = re.compile(r"[0-9a-f]{64}")


def find_folder(source: str | Path, local_files_only: bool = False) -> Path:
    """Returns the local folder for `source`: a folder, one under checkpoints/, or a model of the hub.

    A string that can be a model's name (`bert-base-uncased`, `owner/name`, either with `@revision`) and names
    no folder is looked for in huggingface_hub's cache, and then on the hub, unless `local_files_only`. Never
    looked for are a Path, an absolute path, one that begins with `.` or has more than one `/`, one in a
    folder that is there.
    Raises InputError where there is nothing.
    """
    path = Path(source)
    if path.is_dir():
        if (path / "environment.json").is_file():  # as in every run's folder
            found = [path / name for name in ("best", "last") if (path / name).is_dir()]
            what = (
                f"give its checkpoint {found[0]}" if found else f"it has none yet: multitask resume {source}"
            )
            raise InputError(f"{source} is the folder of a run, and weights are wanted; {what}")
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
        with _plain_errors(model):
            cached = _cached(model)
            if cached is None and local_files_only:
                raise InputError(f"local_files_only is set; `minbert download {source}` fetches it")
            return (cached or download(model)).folder
    except InputError as error:
        raise InputError(f"{missing}, nor did the hub give a model of that name: {error}") from None


@dataclass(frozen=True)
class HubModel:
    """A model of the hub: `bert-base-uncased` or `owner/name`, and a branch, tag or commit."""

    name: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> "HubModel | None":
        """Parses `name` or `name@revision`; returns None for a text that cannot be a model's name."""
        name, at, revision = text.partition("@")
        revision = revision if at else "main"
        if not (_NAME.fullmatch(name) and _REVISION.fullmatch(revision)):
            return None
        if "--" in name or ".." in text or name.endswith(".git"):
            return None
        return cls(name, revision)


@dataclass(frozen=True)
class Download:
    """A whole model in `folder`; `record` is its hub.json, `fetched` the files that came over the network."""

    folder: Path
    record: dict[str, Any]
    fetched: tuple[str, ...] = ()


def download(model: HubModel, to: str | Path | None = None) -> Download:
    """Fetches the needed files of a model into huggingface_hub's cache, or into the folder `to`.

    Files that are there and fit their checksums are not fetched again. `to` is whole or not there. Raises
    InputError for a model that is missing, may not be read or is not a BERT, a hub that cannot be reached,
    content that does not fit its checksum, and a folder `to` that holds something else.
    """
    with _plain_errors(model):
        if to is None:
            return _cached(model, thorough=True) or _fill_cache(model)
        return _whole_folder(model, Path(to)) or _fill_folder(model, Path(to))


def _cached(model: HubModel, thorough: bool = False) -> Download | None:
    """Returns a model that is whole in huggingface_hub's cache; uses no network.

    Other programs fetch single files: without a record of ours, or a list of all files of the hub's, it
    cannot be known whether the model has a modules.json too. That list has no checksums to be `thorough` by.
    """
    from huggingface_hub import get_cached_repo_tree, try_to_load_from_cache
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    config = try_to_load_from_cache(model.name, CONFIG_FILE, revision=model.revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    record = _read_record(folder)
    if record is None or (record["name"], record["commit"]) != (model.name, folder.name):
        try:
            tree = get_cached_repo_tree(model.name, revision=folder.name)
            listed = {file.path: {"size": file.size} for file in tree}
            needed = needed_files(model.name, listed, lambda name: (folder / name).resolve(strict=True))
        except (CachedRepoTreeNotFoundError, FileNotFoundError):
            return None
        record = _record(model, folder.name, {name: listed[name] for name in needed})
    return Download(folder, record) if _is_whole(folder, record, thorough) else None


def _whole_folder(model: HubModel, to: Path) -> Download | None:
    """Returns an earlier download of this model, if it is whole. Raises InputError if `to` is not free."""
    if to.name in ("", ".."):
        raise InputError(f"{str(to)!r} cannot be the folder of a download; give the name of a new folder")
    restore_folder(to)
    if to.exists() and not to.is_dir():
        raise InputError(f"{to} is a file; give the name of a new folder")
    record = _read_record(to)
    if record is None:
        if to.exists() and any(to.iterdir()):
            raise InputError(f"{to} holds other files than a download's; give the name of a new folder")
        return None
    if record["name"] != model.name or model.revision not in (record["revision"], record["commit"]):
        raise InputError(
            f"{to} holds {record['name']} at {record['revision']} ({record['commit']}); give another folder, "
            f"or remove it"
        )
    return Download(to, record) if _is_whole(to, record, thorough=True) else None


def _fill_cache(model: HubModel) -> Download:
    from filelock import FileLock
    from huggingface_hub import constants

    listed = _list_files(model)
    cache = Path(constants.HF_HUB_CACHE).resolve()
    lock = cache / ".locks" / _cache_name(model) / "minbert.lock"
    make_folder(lock.parent)
    with FileLock(lock):  # another process may have fetched it while this one waited
        return _cached(model, thorough=True) or _fetch(model, listed, cache)


def _fill_folder(model: HubModel, to: Path) -> Download:
    """Copies the model out of the cache, or out of one of its own that is removed before `to` is whole."""
    from filelock import FileLock

    source = _cached(model, thorough=True)
    listed = None if source else _list_files(model)
    lock = to.with_name(f".{to.name}.download.lock")
    make_folder(lock.parent)
    try:
        with FileLock(lock):
            if done := _whole_folder(model, to):
                return done
            with atomic_folder(to) as new:
                source = source or _fetch(model, listed, new / ".cache", spare=to)
                for name in source.record["files"]:
                    make_folder((new / name).parent)
                    shutil.copyfile(source.folder / name, new / name)
                shutil.rmtree(new / ".cache", ignore_errors=True)
                record = source.record | {"revision": model.revision}
                write_json(new / RECORD_FILE, record)
            return Download(to, record, source.fetched)
    finally:
        lock.unlink(missing_ok=True)


def _list_files(model: HubModel) -> dict[str, Any]:
    """Returns the record of all files of the model's revision."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise InputError(
            f"HF_HUB_OFFLINE is set, so the hub was not asked for {model.name}; unset it to download"
        )
    try:
        found = HfApi().model_info(
            model.name, revision=model.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
        listed = {file.rfilename: file for file in found.siblings or ()}
        if not _SHA1.fullmatch(found.sha):
            raise ValueError(found.sha)
    except (TypeError, KeyError, ValueError) as error:  # not JSON, or other JSON: a page to log in, say
        if isinstance(error, OSError):  # an answer of the hub
            raise
        raise InputError(
            f"{constants.ENDPOINT} does not answer as a hub does; check HF_ENDPOINT and the network's proxy"
        ) from None
    check_names(model.name, listed)
    files = {}
    for name, file in listed.items():
        kind, pattern = ("sha256", _SHA256) if file.lfs else ("blob_id", _SHA1)
        checksum = file.lfs.sha256 if file.lfs else file.blob_id
        if not pattern.fullmatch(checksum or ""):
            raise InputError(
                f"{constants.ENDPOINT} gives no checksum for {name} of {model.name} ({checksum!r}); "
                f"set HF_ENDPOINT to the hub or to a true mirror"
            )
        files[name] = {"size": file.size, kind: checksum}
    return _record(model, found.sha, files)


def _fetch(model: HubModel, listed: dict[str, Any], cache: Path, spare: Path | None = None) -> Download:
    """Fetches the needed files into a cache, those excepted that it or the folder `spare` has."""
    home, commit = cache / _cache_name(model), listed["commit"]
    folder = home / "snapshots" / commit
    fetched: list[str] = []

    def bring(*names: str) -> Path:
        for name in names:
            entry = listed["files"][name]
            blob = home / "blobs" / _checksum(entry)
            if _fits(blob, entry):
                continue
            blob.unlink(missing_ok=True)
            (folder / name).unlink(missing_ok=True)
            if spare is not None and _fits(spare / name, entry):
                make_folder(blob.parent)
                shutil.copyfile(spare / name, blob)
            else:
                fetched.append(name)
        _download_snapshot(model, commit, cache, names)
        for name in names:
            if not _fits(folder / name, listed["files"][name]):
                within(folder, name, folder / CONFIG_FILE).resolve().unlink(missing_ok=True)
                (folder / name).unlink(missing_ok=True)
                raise InputError(
                    f"what arrived of {name} of {model.name} does not fit the hub's checksum "
                    f"{_checksum(listed['files'][name])}; it was thrown away, try again"
                )
        return folder / names[0]

    needed = needed_files(model.name, listed["files"], bring)
    bring(*needed)
    record = _record(model, commit, {name: listed["files"][name] for name in sorted(needed)})
    write_json(folder / RECORD_FILE, record)
    if model.revision != commit:
        with atomic_write(home / "refs" / model.revision) as file:
            file.write(commit)
    return Download(folder, record, tuple(fetched))


def _cache_name(model: HubModel) -> str:
    from huggingface_hub.file_download import repo_folder_name

    return repo_folder_name(repo_id=model.name, repo_type="model")


def _download_snapshot(model: HubModel, commit: str, cache: Path, names: Collection[str]) -> None:
    from huggingface_hub import snapshot_download
    from tqdm import tqdm

    bars: list[tqdm] = []

    class Bar(tqdm):
        """A progress bar that is shown on a terminal only, and removed when the download ends."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs | {"disable": None, "leave": False})
            bars.append(self)

    patterns = [glob.escape(name) for name in names]
    try:
        snapshot_download(
            model.name, revision=commit, cache_dir=cache, allow_patterns=patterns, tqdm_class=Bar
        )
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise
        raise InputError(  # huggingface_hub compares sizes
            f"what arrived of {model.name} does not fit the hub's sizes ({str(error).splitlines()[0]}); "
            f"it was thrown away, try again"
        ) from None
    finally:
        for bar in bars:  # huggingface_hub leaves some of them open
            bar.close()


def needed_files(name: str, listed: Collection[str], fetch: Callable[[str], Path]) -> list[str]:
    """Returns the names of the files that the model `name` needs, of those that the hub lists; weights last.

    `fetch(file)` gives a local copy of a file that says which others are needed: config.json, modules.json,
    the index of weights in several files. Raises InputError for a model that is not a BERT, or has no weights
    in safetensors or no tokenizer.
    """
    if CONFIG_FILE not in listed:
        raise InputError(f"{name} has no {CONFIG_FILE}; choose a BERT in the format of transformers")
    try:
        config = BertConfig.from_dict(read_json_object(fetch(CONFIG_FILE)))
    except InputError as error:
        raise InputError(f"{name} is not a BERT that can be used: {error}") from None
    if not set(VOCABULARY_FILES) & set(listed):
        raise InputError(f"{name} has no {' and no '.join(VOCABULARY_FILES)}; choose another model")
    needed = [CONFIG_FILE, *(file for file in (*VOCABULARY_FILES, *SETTINGS_FILES) if file in listed)]
    folders = _module_folders(name, fetch(MODULES_FILE)) if MODULES_FILE in listed else []
    for folder in folders:
        if f"{folder}{WEIGHTS_FILE}" not in listed:
            _refuse_pickle(name, listed, f"{folder}{PICKLE_FILE}")
    below = sorted(file for file in listed if file.endswith((".json", ".safetensors")))
    needed += [file for file in below if file.startswith(tuple(folders))]
    needed += _weight_files(name, listed, fetch)
    if config.extra.get("minbert_adapters"):
        needed += [file for file in below if file.startswith("adapter/")]
    return list(dict.fromkeys(needed))


def _module_folders(name: str, path: Path) -> list[str]:
    """Returns the folders that modules.json names, such as `1_Pooling/`."""
    try:
        return [f"{entry['path']}/" for entry in read_json(path) if entry["path"]]
    except (InputError, KeyError, TypeError):
        raise InputError(f"{MODULES_FILE} of {name} is not a list of modules; choose another model") from None


def _weight_files(name: str, listed: Collection[str], fetch: Callable[[str], Path]) -> list[str]:
    if WEIGHTS_FILE in listed:
        return [WEIGHTS_FILE]
    if INDEX_FILE not in listed:
        _refuse_pickle(name, listed, PICKLE_FILE)
        raise InputError(f"{name} has no {WEIGHTS_FILE}; choose a model with weights in safetensors")
    shards = read_shards(fetch(INDEX_FILE))
    for shard in shards:
        if shard not in listed:
            raise InputError(f"{name} has no {shard}, which {INDEX_FILE} must name; choose another model")
    return [INDEX_FILE, *shards]


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


def _record(model: HubModel, commit: str, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns what hub.json holds; a file has its size, and its sha256 or the id of its git blob."""
    return {"name": model.name, "revision": model.revision, "commit": commit, "files": files}


def _read_record(folder: Path) -> dict[str, Any] | None:
    """Reads a folder's hub.json; returns None if it is missing, or is not one of ours."""
    try:
        record = read_json_object(folder / RECORD_FILE)
        check_names(str(folder), record["files"])
        complete = all(entry["size"] >= 0 and _checksum(entry) for entry in record["files"].values())
        return record if complete and {"name", "revision", "commit"} <= record.keys() else None
    except (InputError, KeyError, TypeError, AttributeError):
        return None


def _is_whole(folder: Path, record: dict[str, Any], thorough: bool) -> bool:
    return all(_fits(folder / name, entry, thorough) for name, entry in record["files"].items())


def _fits(path: Path, entry: dict[str, Any], thorough: bool = True) -> bool:
    """Returns True for a file of that size and, if `thorough`, that checksum."""
    if not path.is_file() or path.stat().st_size != entry["size"]:
        return False
    if "sha256" in entry and thorough:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]
    return not thorough or ("blob_id" in entry and git_blob_id(path) == entry["blob_id"])


def _checksum(entry: dict[str, Any]) -> str:
    return entry.get("sha256") or entry["blob_id"]


@contextmanager
def _plain_errors(model: HubModel) -> Iterator[None]:
    """Turns errors of huggingface_hub into InputErrors of one line."""
    try:
        import httpx2
        from huggingface_hub import errors
    except ImportError:
        raise InputError(
            "downloading needs huggingface_hub 2.4 or later; pip install 'minbert[hub]'"
        ) from None
    try:
        yield
    except (
        httpx2.HTTPError,
        errors.LocalEntryNotFoundError,
        errors.XetDownloadError,
        errors.FileMetadataError,
    ) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):  # "not in the cache either": the cause tells
            error = error.__cause__ or error
        raise InputError(_plain_message(error, model)) from None


def _plain_message(error: Exception, model: HubModel) -> str:
    import httpx2
    from huggingface_hub import constants, errors, get_token

    hub, name = constants.ENDPOINT, model.name
    match error:
        case errors.GatedRepoError():
            token = "the token that is set may not read it" if get_token() else "no token is set"
            return f"{name} is gated, and {token}; accept its terms at {hub}/{name}, then set HF_TOKEN"
        case errors.RepositoryNotFoundError():
            return f"{hub} has no model {name}, or a private one; check the name, or set HF_TOKEN"
        case errors.RevisionNotFoundError():
            return f"{name} has no revision {model.revision!r}; give a branch, tag or commit"
        case errors.HfHubHTTPError() if error.response.status_code == 401:
            return f"{hub} refused the token for {name} (401); check HF_TOKEN"
        case errors.HfHubHTTPError():
            status, path = error.response.status_code, error.response.url.path
            return f"{hub} answered {status} for {path}; try again later"
        case httpx2.TimeoutException():
            return (
                f"{hub} did not answer in time for {name}; try again "
                f"(HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT set the seconds)"
            )
    return (
        f"{hub} could not be reached for {name}, or broke off ({str(error).splitlines()[0]}); check the "
        f"network and HF_ENDPOINT, and try again"
    )
