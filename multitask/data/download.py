"""The course's data files over HTTP: a file is whole and the right one, or it is not there.

The course keeps them in a git repository, so each is known by its blob id: the SHA-1 of `blob SIZE`, a NUL
and the content. What has come so far lies in NAME.partial beside its place, is continued by a range request,
and takes its place when size and id are right.
"""

import errno
import fcntl
import hashlib
import os
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from minbert import InputError, make_folder

COMMIT = "7ac8260577fc12a86c7aaf38918056c30054ef39"
SOURCE = f"https://raw.githubusercontent.com/gpoesia/minbert-default-final-project/{COMMIT}/data"
CHUNK = 1 << 16  # bytes
_URL_MARKS = ":/?#[]@!$&'()*+,;=%"
LONGEST_PAUSE = 60.0  # seconds, whatever a server asks for


class Blob(NamedTuple):
    """What a file has to be: its git blob id, and its size in bytes where it is known beforehand."""

    id: str
    size: int | None = None


COURSE_FILES = {
    "ids-sst-train.csv": Blob("9cb7333cb1dae49c2bd2a4b56a24882a6e8704b5", 1175139),
    "ids-sst-dev.csv": Blob("3171aa629a340809d2db4a50df8f6e5ec9420ab0", 151384),
    "ids-sst-test-student.csv": Blob("bbd2313758825f86e24416d6aad64cd93370cf7a", 313202),
    "ids-cfimdb-train.csv": Blob("cd57bcbd2f7214ea6dd1783d3e885d324b1f478d", 1693182),
    "ids-cfimdb-dev.csv": Blob("8a0f5dcf3d40189b96c801a12cd79bf8003e61de", 249095),
    "ids-cfimdb-test-student.csv": Blob("1e789c709b3ca0511f027a309b6d8bd21cde41b2", 495595),
    "quora-train.csv": Blob("a3b5546f6a0e65b60a328a5d294d1038f5bed1da"),
    "quora-dev.csv": Blob("de7cfa32428fd470b93f778fccc45a619e01336f", 3205321),
    "quora-test-student.csv": Blob("f257ef00558555afb50819578a58205732b16354"),
    "sts-train.csv": Blob("12b17760e7795fee35aeeabc290d5651de02622a", 928832),
    "sts-dev.csv": Blob("9392860e584717976b8d817cc40c9e6ceeec27e0", 132265),
    "sts-test-student.csv": Blob("25f0cf8fafdd1f82b9e2bb460c708af34341ce60", 256677),
}


@dataclass(frozen=True)
class Patience:
    """For how many seconds a server is waited for: `timeout` for an answer, `pause` after a failure, doubled.

    `attempts` counts failures in a row; one that brought new bytes begins the count anew.
    """

    attempts: int = 5
    timeout: float = 30.0
    pause: float = 1.0


PATIENCE = Patience()


class Unreachable(InputError):
    """The server cannot be reached at all; the message says why."""


class _Interrupted(Exception):
    """Something that may be better next time; `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0, reached: bool = True):
        super().__init__(reason)
        self.wait = wait
        self.reached = reached


def blob_id(path: Path) -> str:
    """The git blob id of a file's content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_right(path: Path, blob: Blob) -> bool:
    """Whether a file is there and has the size and the content that it should."""
    if not path.is_file() or blob.size not in (None, path.stat().st_size):
        return False
    return blob_id(path) == blob.id


def file_url(name: str, base: str = SOURCE) -> str:
    """Where a file is fetched from; `base` is the folder's URL. Raises InputError for no http(s) URL."""
    try:
        parts = urlsplit(base)
        # urllib takes no name and password from an address.
        usable = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        usable = usable and parts.port != 0
    except ValueError:  # a port that is no number, brackets that are not closed
        usable = False
    if not usable or any(letter.isspace() for letter in base):
        raise InputError(f"{base!r} is no address of a folder; give one such as https://example.org/data")
    return f"{quote(base.rstrip('/'), safe=_URL_MARKS)}/{quote(name)}"


def download(
    name: str,
    folder: Path,
    blob: Blob,
    base: str = SOURCE,
    patience: Patience = PATIENCE,
    quiet: bool = False,
) -> Path:
    """Fetches one file into the folder, in place of what has that name; -> its path.

    Raises InputError with what is wrong and what to do: no such file, access refused, other content than the
    course's, a server that keeps failing, a full disk. What has come so far stays for the next time, unless
    it is known to be wrong.
    """
    url = file_url(name, base)
    make_folder(folder)
    target, partial = folder / name, folder / f"{name}.partial"
    if target.is_dir():
        raise InputError(f"{target} is a folder; remove it, or choose another --data")
    with _locked(partial) as file:
        try:
            if file.seek(0, os.SEEK_END) == 0 or not is_right(partial, blob):
                _fetch(url, file, partial, blob, patience, quiet)
        except BaseException:
            if file.seek(0, os.SEEK_END) == 0:
                partial.unlink()
            raise
        os.fsync(file.fileno())
        os.replace(partial, target)
    return target


def _locked(partial: Path) -> IO[bytes]:
    """Opens the partial file for this process alone; two that write one file would spoil it."""
    while True:
        file = open(partial, "ab+", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise InputError(f"{partial} is being written by another download; wait for that one") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), partial.stat()):
                return file
        file.close()  # another download has just finished, and the file is in its place


def _fetch(url: str, file: IO[bytes], partial: Path, blob: Blob, patience: Patience, quiet: bool) -> None:
    """Fills the partial file until it is right; a part that turns out to be of something else is dropped."""
    start = file.seek(0, os.SEEK_END)
    resumed = start > 0
    with tqdm(
        total=blob.size,
        initial=start,
        unit="B",
        unit_scale=True,
        desc=partial.stem,
        leave=False,
        disable=quiet or None,
    ) as bar:
        while True:
            from_the_start = _fetch_all(url, file, blob, patience, bar)
            resumed = resumed and not from_the_start
            if is_right(partial, blob):
                return
            found = f"{file.seek(0, os.SEEK_END)} bytes with blob id {blob_id(partial)}"
            _empty(file)
            if not resumed:
                break
            resumed = False  # the part of earlier was of another file
    raise InputError(
        f"{url} holds other content than the course's file: {found}, expected {blob.size or 'any number of'} "
        f"bytes with {blob.id}; nothing of it was kept; try another network or --mirror"
    )


def _fetch_all(url: str, file: IO[bytes], blob: Blob, patience: Patience, bar: tqdm) -> bool:
    """Requests, again after failures, until an answer has ended; -> whether one began at the first byte."""
    failures, furthest, from_the_start = 0, file.seek(0, os.SEEK_END), False
    while True:
        try:
            from_the_start |= _request(url, file, blob, patience.timeout, bar)
            return from_the_start
        except _Interrupted as error:
            reached = file.seek(0, os.SEEK_END)
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures >= patience.attempts:
                kind = InputError if error.reached else Unreachable
                raise kind(
                    f"{url}: {error}, {failures} times in a row; {reached} bytes are kept: run the command "
                    f"again later, it goes on from there"
                ) from None
            time.sleep(min(max(error.wait, patience.pause * 2 ** (failures - 1)), LONGEST_PAUSE))


def _request(url: str, file: IO[bytes], blob: Blob, timeout: float, bar: tqdm) -> bool:
    """One request for what is missing, written as it comes; -> whether it began at the first byte.

    Raises _Interrupted where another attempt may help, InputError where none will.
    """
    start = file.seek(0, os.SEEK_END)
    # "identity": a packed answer would have other bytes, and parts of it could not be joined.
    headers = {"User-Agent": "minbert", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urlopen(Request(url, headers=headers), timeout=timeout) as response:
            if start and not _continues(response, start):
                start = _empty(file)
            _write(response, start, file, blob, url, bar)
    except HTTPError as error:
        if error.code == 416 and start:  # the part is as long as the whole, or longer, and not right
            _empty(file)
            return _request(url, file, blob, timeout, bar)
        raise _refusal(url, error) from None
    except URLError as error:
        raise _connection_error(url, error.reason) from None
    except (OSError, HTTPException) as error:
        raise _Interrupted(f"the connection was lost ({error or type(error).__name__})") from None
    return start == 0


def _continues(response: HTTPResponse, start: int) -> bool:
    """Whether the answer is the rest of the file; a server may ignore the range and send all of it."""
    return response.status == 206 and (response.headers.get("Content-Range") or "").startswith(
        f"bytes {start}-"
    )


def _write(response: HTTPResponse, start: int, file: IO[bytes], blob: Blob, url: str, bar: tqdm) -> None:
    """Appends the answer to the file. Raises _Interrupted where it ends too early."""
    length = response.headers.get("Content-Length")
    total = start + int(length) if (length or "").isdigit() else None
    if total is not None and blob.size not in (None, total):
        raise InputError(
            f"{url} has {total} bytes, the course's file {blob.size}; nothing of it was kept; try another "
            f"network or --mirror"
        )
    bar.total = blob.size or total
    bar.n = start
    bar.refresh()
    size = start
    while chunk := response.read1(CHUNK):
        size += len(chunk)
        if blob.size is not None and size > blob.size:
            _empty(file)
            raise InputError(f"{url} has more than the {blob.size} bytes of the course's file; try --mirror")
        _append(file, chunk)
        bar.update(len(chunk))
    if total is not None and size < total:
        raise _Interrupted(f"the connection ended after {size} of {total} bytes")
    if total is None and blob.size is not None and size < blob.size:
        raise _Interrupted(f"the connection ended after {size} of {blob.size} bytes")


def _append(file: IO[bytes], chunk: bytes) -> None:
    try:
        rest = memoryview(chunk)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room on the disk" if full else "look after the disk"
        raise InputError(
            f"{file.name} cannot be written ({error.strerror}); {remedy} and run the command again, it goes "
            f"on from there"
        ) from None


def _empty(file: IO[bytes]) -> int:
    """Drops what has come so far; -> 0, where the file goes on."""
    file.truncate(0)
    return 0


def _refusal(url: str, error: HTTPError) -> Exception:
    """What an answer other than the file means."""
    if error.code in (408, 425, 429) or error.code >= 500:
        wait = error.headers.get("Retry-After") or ""
        return _Interrupted(f"the server answers {error.code}", float(wait) if wait.isdigit() else 0.0)
    if error.code in (401, 403):
        return InputError(f"{url}: access refused ({error.code}); the file is public elsewhere: try --mirror")
    if error.code in (404, 410):
        return InputError(f"{url}: no such file ({error.code}); check --mirror, the folder's address")
    return InputError(f"{url}: the server answers {error.code} {error.reason}; try --mirror")


def _connection_error(url: str, reason: object) -> Exception:
    """What a connection that did not come about means."""
    host = urlsplit(url).netloc
    if isinstance(reason, ssl.SSLCertVerificationError):
        return InputError(
            f"{host}: its certificate is not trusted ({reason.verify_message}); check the clock"
        )
    if isinstance(reason, socket.gaierror):
        return Unreachable(f"{host} is not found ({reason.strerror})")
    return _Interrupted(f"{host} cannot be reached ({reason})", reached=False)


def offline_message(names: list[str], folder: Path, base: str, reason: str) -> str:
    """What to do where no server can be reached: the addresses, and where the files go."""
    urls = " ".join(file_url(name, base) for name in names)
    return f"offline: {reason}; download these files elsewhere and put them into {folder}: {urls}"
