"""Requests to the hub: what a model holds, and its files, continued where they broke off and checked.

huggingface_hub knows the protocol, the endpoint, the token and the proxies. Its own download begins a file
anew after an interruption and does not compare checksums; both are done here.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from minbert.errors import InputError
from minbert.files import make_folder, sync_folder
from minbert.hub_files import GIT_BLOB, SHA256, check_names, fits

_NAME = re.compile(r"(\w([\w.-]*\w)?/)?\w([\w.-]*\w)?", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CHECKSUM = re.compile(rf"[0-9a-f]{{{GIT_BLOB}}}|[0-9a-f]{{{SHA256}}}")


@dataclass(frozen=True)
class HubModel:
    """A model of the hub: `bert-base-uncased` or `owner/name`, and a branch, tag or commit."""

    name: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> "HubModel | None":
        """From `name` or `name@revision`; None for what can be no name of a model."""
        name, at, revision = text.partition("@")
        revision = revision if at else "main"
        if not (_NAME.fullmatch(name) and _REVISION.fullmatch(revision)):
            return None
        if "--" in name or ".." in text or name.endswith(".git"):
            return None
        return cls(name, revision)


@dataclass(frozen=True)
class HubFile:
    """A file at a commit. `checksum`: sha256 of a large file, the id of the git blob of a small one."""

    model: str
    name: str
    url: str
    size: int | None
    checksum: str


@contextmanager
def plain_errors(model: HubModel) -> Iterator[None]:
    """Turns what can go wrong between us and the hub into InputErrors of one line."""
    try:
        import httpx2
        from huggingface_hub import constants, errors, get_token
    except ImportError:
        raise InputError(
            "downloading needs huggingface_hub 2.4 or later; pip install 'minbert[hub]'"
        ) from None
    hub, name = constants.ENDPOINT, model.name
    try:
        yield
    except errors.GatedRepoError:
        token = "the token that is set may not read it" if get_token() else "no token is set"
        raise InputError(
            f"{name} is gated, and {token}; accept its terms at {hub}/{name}, then set HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"{hub} has no model {name}, or a private one; check the name, or set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{name} has no revision {model.revision!r}; give a branch, tag or commit") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise InputError(f"{hub} refused the token for {name} (401); check HF_TOKEN") from None
        raise InputError(f"{hub} answered {status} for {error.response.url.path}; try again later") from None
    except httpx2.TimeoutException:
        raise InputError(
            f"{hub} did not answer in time for {name}; try again, what has arrived is kept "
            f"(HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT set the seconds)"
        ) from None
    except httpx2.HTTPError as error:
        raise InputError(
            f"{hub} could not be reached for {name}, or broke off ({error}); check the network and "
            f"HF_ENDPOINT, and try again: what has arrived is kept"
        ) from None


def _no_hub(hub: str) -> InputError:
    return InputError(f"{hub} does not answer as a hub does; check HF_ENDPOINT and the network's proxy")


def list_files(model: HubModel) -> tuple[str, list[str]]:
    """The commit that a model's revision stands for, and the names of its files."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise InputError(
            f"HF_HUB_OFFLINE is set, so the hub was not asked for {model.name}; unset it to download"
        )
    try:
        found = HfApi(endpoint=constants.ENDPOINT).model_info(
            model.name, revision=model.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
        commit, names = found.sha, [sibling.rfilename for sibling in found.siblings or ()]
    except (TypeError, KeyError, ValueError) as error:  # no JSON, or other JSON: a page to log in, say
        if isinstance(error, OSError):  # an answer of the hub, which is told above
            raise
        raise _no_hub(constants.ENDPOINT) from None
    if not _COMMIT.fullmatch(commit or ""):
        raise _no_hub(constants.ENDPOINT)
    check_names(model.name, names)
    return commit, names


def describe(model: HubModel, commit: str, name: str) -> HubFile:
    """Size and checksum of a file, as the hub gives them."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(model.name, name, revision=commit, endpoint=constants.ENDPOINT)
    found = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT, endpoint=constants.ENDPOINT)
    if not _CHECKSUM.fullmatch(found.etag or ""):
        raise InputError(
            f"{constants.ENDPOINT} gives no checksum for {name} of {model.name} (ETag {found.etag!r}); "
            f"set HF_ENDPOINT to the hub or to a true mirror"
        )
    return HubFile(model.name, name, url, found.size, found.etag)


def fetch(file: HubFile, target: Path) -> None:
    """Puts a file to `target` once it is whole; what an earlier call was given of it is continued.

    Raises InputError for content that does not fit the checksum, which is thrown away.
    """
    import httpx2
    from tqdm import tqdm

    make_folder(target.parent)
    partial = target.with_name(f"{target.name}.{file.checksum[:16]}.incomplete")
    with open(partial, "ab") as content:
        if file.size is None or content.tell() > file.size:
            content.truncate(0)
            content.seek(0)
        # disable=None shows the bar only on a terminal
        shown = {"desc": file.name, "unit": "B", "unit_scale": True, "disable": None}
        with tqdm(total=file.size, initial=content.tell(), **shown) as bar:
            while content.tell() != file.size:
                start = content.tell()
                try:
                    _receive(file, content, bar)
                    break
                except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError):
                    content.flush()
                    if content.tell() <= start:  # nothing came: to ask again at once is no use
                        raise
        content.flush()
        os.fsync(content.fileno())
    if not fits(partial, file.checksum):
        partial.unlink()
        raise InputError(
            f"what arrived of {file.name} of {file.model} does not fit the hub's checksum {file.checksum}; "
            f"it was thrown away, try again"
        )
    os.replace(partial, target)
    sync_folder(target.parent)


def _receive(file: HubFile, content: IO[bytes], bar) -> None:
    """Appends what is missing to `content`, or all where the server cannot begin in the middle."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    start = content.tell()
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    seconds = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", file.url, headers=headers, timeout=seconds) as response:
        hf_raise_for_status(response)
        if start and response.status_code != 206:
            content.truncate(0)
            content.seek(0)
            bar.update(-start)
        for chunk in response.iter_bytes():
            content.write(chunk)
            bar.update(len(chunk))
