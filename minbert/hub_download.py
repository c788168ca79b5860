"""A model of the hub as a local folder: in huggingface_hub's cache, or a folder of the user's."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert.errors import InputError
from minbert.files import atomic_folder, atomic_write, make_folder, restore_folder
from minbert.hub_files import (
    CONFIG_FILE,
    RECORD_FILE,
    fits,
    is_whole,
    make_record,
    needed_files,
    read_record,
)
from minbert.hub_requests import HubFile, HubModel, describe, fetch, list_files, plain_errors


@dataclass(frozen=True)
class Download:
    """`folder` holds the model whole; `record` is its hub.json; `fetched`: what came over the network."""

    folder: Path
    record: dict[str, Any]
    fetched: tuple[str, ...] = ()


def download(model: HubModel, to: str | Path | None = None) -> Download:
    """Fetches what is needed of a model into huggingface_hub's cache, or into the folder `to`.

    What is whole is not fetched again, what broke off is continued. `to` is whole or not there.
    Raises InputError for a model that is not there, may not be read or is no BERT, for a hub that cannot be
    reached, for content that does not fit its checksum, and for a folder `to` that holds something else.
    """
    with plain_errors(model):
        return _into_cache(model) if to is None else _into_folder(model, Path(to))


def cached_folder(model: HubModel) -> Path | None:
    """The model's folder in huggingface_hub's cache, if it is known to be whole there; asks no network.

    Other programs fetch single files: without a record of ours, or a list of all files of the hub's, it
    cannot be known whether the model has a modules.json too.
    """
    with plain_errors(model):
        from huggingface_hub import get_cached_repo_tree, try_to_load_from_cache
        from huggingface_hub.errors import CachedRepoTreeNotFoundError

        config = try_to_load_from_cache(model.name, CONFIG_FILE, revision=model.revision)
        if not isinstance(config, str):
            return None
        folder = Path(config).parent
        record = read_record(folder)
        if record is not None and (record["name"], record["commit"]) == (model.name, folder.name):
            return folder if is_whole(folder, record) else None
        try:
            tree = get_cached_repo_tree(model.name, revision=folder.name)
            listed = {entry.path: entry.size for entry in tree}
            needed = needed_files(model.name, listed, lambda name: folder / name)
            good = all((folder / name).stat().st_size == listed[name] for name in needed)
        except (CachedRepoTreeNotFoundError, FileNotFoundError):
            return None
        return folder if good else None


def _fetch_needed(
    model: HubModel,
    commit: str,
    listed: list[str],
    target: Callable[[HubFile], Path],
    spare: Path | None = None,
) -> tuple[dict[str, tuple[Path, str]], list[str]]:
    """Path and checksum of each needed file, and which were fetched; `spare` may hold some."""
    found: dict[str, tuple[Path, str]] = {}
    fetched: list[str] = []

    def bring(name: str) -> Path:
        if name not in found:
            file = describe(model, commit, name)
            path = target(file)
            if not fits(path, file.checksum):
                if spare is not None and fits(spare / name, file.checksum):
                    make_folder(path.parent)
                    shutil.copyfile(spare / name, path)
                else:
                    fetch(file, path)
                    fetched.append(name)
            found[name] = path, file.checksum
        return found[name][0]

    for name in needed_files(model.name, listed, bring):
        bring(name)
    return found, fetched


def _into_cache(model: HubModel) -> Download:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import WeakFileLock

    done = _whole_in_cache(model)
    if done is not None:
        return done
    commit, listed = list_files(model)
    cache = Path(constants.HF_HUB_CACHE).resolve()
    directory = repo_folder_name(repo_id=model.name, repo_type="model")
    lock = cache / ".locks" / directory / "minbert.lock"
    make_folder(lock.parent)
    with WeakFileLock(lock):
        done = _whole_in_cache(model)  # by another process, while this one waited
        if done is not None:
            return done
        home = cache / directory
        found, fetched = _fetch_needed(model, commit, listed, lambda file: home / "blobs" / file.checksum)
        folder = home / "snapshots" / commit
        for name, (blob, _) in found.items():
            _link(blob, folder / name)
        record = make_record(model.name, model.revision, commit, folder, _checksums(found))
        _write_json(folder / RECORD_FILE, record)
        if model.revision != commit:
            with atomic_write(home / "refs" / model.revision) as file:
                file.write(commit)
        return Download(folder, record, tuple(fetched))


def _whole_in_cache(model: HubModel) -> Download | None:
    folder = cached_folder(model)
    record = read_record(folder) if folder else None
    if record is None or not is_whole(folder, record, thorough=True):
        return None
    return Download(folder, record)


def _link(blob: Path, pointer: Path) -> None:
    """Makes a snapshot's file point to its content, as the cache is laid out."""
    make_folder(pointer.parent)
    temporary = pointer.with_name(f".{pointer.name}.link")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a file system without links
        shutil.copyfile(blob, temporary)
    os.replace(temporary, pointer)


def _into_folder(model: HubModel, to: Path) -> Download:
    done = _whole_folder(model, to)
    if done is not None:
        return done
    cached = _whole_in_cache(model)
    if cached is not None:
        record = cached.record | {"revision": model.revision}
        with atomic_folder(to) as new:
            for name in record["files"]:
                make_folder((new / name).parent)
                shutil.copyfile(cached.folder / name, new / name)
            _write_json(new / RECORD_FILE, record)
        return Download(to, record)
    commit, listed = list_files(model)
    with _store_beside(to) as store:
        done = _whole_folder(model, to)  # by another process, while this one waited
        if done is not None:
            return done
        found, fetched = _fetch_needed(model, commit, listed, lambda file: store / file.name, spare=to)
        record = make_record(model.name, model.revision, commit, store, _checksums(found))
        with atomic_folder(to) as new:
            for name, (path, _) in found.items():
                make_folder((new / name).parent)
                os.replace(path, new / name)
            _write_json(new / RECORD_FILE, record)
    return Download(to, record, tuple(fetched))


@contextmanager
def _store_beside(to: Path) -> Iterator[Path]:
    """A folder beside `to`, for one process at a time, that keeps what has arrived until `to` is whole."""
    from huggingface_hub.utils import WeakFileLock

    store, lock = (to.with_name(f".{to.name}.download{ending}") for ending in ("", ".lock"))
    make_folder(store.parent)
    with WeakFileLock(lock):
        try:
            yield store
        except BaseException:
            if not any(path.suffix in (".safetensors", ".incomplete") for path in store.rglob("*")):
                shutil.rmtree(store, ignore_errors=True)  # a few small files: nothing worth keeping
            raise
        else:
            shutil.rmtree(store, ignore_errors=True)
        finally:
            lock.unlink(missing_ok=True)


def _whole_folder(model: HubModel, to: Path) -> Download | None:
    """An earlier download of this model, if it is whole. Raises InputError for a place that is not free."""
    if to.name in ("", ".."):
        raise InputError(f"{str(to)!r} is no place for a download; give the name of a new folder")
    restore_folder(to)
    if to.exists() and not to.is_dir():
        raise InputError(f"{to} is a file; give the name of a new folder")
    record = read_record(to)
    if record is None:
        if to.exists() and any(to.iterdir()):
            raise InputError(f"{to} holds other files than a download's; give the name of a new folder")
        return None
    if record["name"] != model.name or model.revision not in (record["revision"], record["commit"]):
        raise InputError(
            f"{to} holds {record['name']} at {record['revision']} ({record['commit']}); give another folder, "
            f"or remove it"
        )
    return Download(to, record) if is_whole(to, record, thorough=True) else None


def _checksums(found: dict[str, tuple[Path, str]]) -> dict[str, str]:
    return {name: checksum for name, (_, checksum) in found.items()}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2) + "\n")
