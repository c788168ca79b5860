"""Downloads of the course's data files: each is whole and the right one, or not there.

The course keeps them in a git repository, so a file is known by the id of its git blob.
"""

import shutil
import socket
import ssl
import time
from http.client import HTTPException
from pathlib import Path
from typing import IO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from minbert import InputError, atomic_write, git_blob_id

COMMIT = "7ac8260577fc12a86c7aaf38918056c30054ef39"
SOURCE = f"https://raw.githubusercontent.com/gpoesia/minbert-default-final-project/{COMMIT}/data"
_URL_MARKS = ":/?#[]@!$&'()*+,;=%"
LONGEST_PAUSE = 60.0  # seconds, whatever a server asks for


class Blob(NamedTuple):
    """The git blob id of a file, and its size in bytes where it is known beforehand."""

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


class Patience(NamedTuple):
    """`attempts` failures in a row end it; seconds: `timeout` for an answer, `pause` after one, doubled."""

    attempts: int = 5
    timeout: float = 30.0
    pause: float = 1.0


PATIENCE = Patience()


class Unreachable(InputError):
    """The server cannot be reached at all; the message says why."""


class _Interrupted(Exception):
    """A failure that another attempt may mend; `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0, reached: bool = True):
        super().__init__(reason)
        self.wait = wait
        self.reached = reached


def is_right(path: Path, blob: Blob) -> bool:
    """Returns True for a file with this size and content."""
    return path.is_file() and blob.size in (None, path.stat().st_size) and git_blob_id(path) == blob.id


def file_url(name: str, base: str = SOURCE) -> str:
    """Returns the URL of a file in the folder `base`. Raises InputError if that is not an http(s) URL."""
    try:
        parts = urlsplit(base)
        # urllib takes no name and password from an address.
        usable = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        usable = usable and parts.port != 0
    except ValueError:  # a port that is not a number, brackets that are not closed
        usable = False
    if not usable or any(letter.isspace() for letter in base):
        raise InputError(
            f"{base!r} is not the address of a folder; give one such as https://example.org/data"
        )
    return f"{quote(base.rstrip('/'), safe=_URL_MARKS)}/{quote(name)}"


def download(name: str, folder: Path, blob: Blob, base: str = SOURCE, patience: Patience = PATIENCE) -> Path:
    """Fetches one file into the folder, in place of what has that name, and returns its path.

    A connection that breaks is taken up where it broke. Raises InputError with what is wrong and what to do:
    no such file, access refused, other content than the course's, a server that keeps failing.
    """
    url, target = file_url(name, base), folder / name
    if target.is_dir():
        raise InputError(f"{target} is a folder; remove it, or choose another --data")
    with atomic_write(target, "wb") as file:
        _fetch(url, file, blob.size, patience)
        file.flush()
        if not is_right(Path(file.name), blob):
            raise InputError(
                f"{url} has other content than the course's file: {file.tell()} bytes with blob id "
                f"{git_blob_id(file.name)}, expected {blob.size or 'any number of'} bytes with {blob.id}; "
                f"nothing of it was kept; try another network or --mirror"
            )
    return target


def _fetch(url: str, file: IO[bytes], size: int | None, patience: Patience) -> None:
    """Sends requests until the answer has come to its end, or too many in a row brought nothing new."""
    failures = furthest = 0
    while True:
        try:
            return _request(url, file, size, patience.timeout)
        except _Interrupted as error:
            failures = 1 if file.tell() > furthest else failures + 1
            furthest = max(furthest, file.tell())
            if failures >= patience.attempts:
                kind = InputError if error.reached else Unreachable
                raise kind(f"{url}: {error}, {failures} times in a row; try again later") from None
            time.sleep(min(max(error.wait, patience.pause * 2 ** (failures - 1)), LONGEST_PAUSE))


def _request(url: str, file: IO[bytes], size: int | None, timeout: float) -> None:
    """Appends what is missing to the file. Raises _Interrupted where another attempt may help."""
    start = file.tell()
    # "identity": a packed answer would have other bytes, and parts of it could not be joined.
    headers = {"User-Agent": "minbert", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urlopen(Request(url, headers=headers), timeout=timeout) as response:
            if start and not (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
                start = file.seek(0)
                file.truncate()
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else size
            shown = {"total": total, "desc": url.rpartition("/")[2], "leave": False, "disable": None}
            with tqdm.wrapattr(response, "read", initial=start, **shown) as reader:
                shutil.copyfileobj(reader, file)
    except URLError as error:
        raise _failure(url, error) from None
    except (HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise _Interrupted(f"the connection was lost ({error or type(error).__name__})") from None
    if total is not None and file.tell() < total:
        raise _Interrupted(f"the connection ended after {file.tell()} of {total} bytes")


def _failure(url: str, error: URLError) -> Exception:
    """Returns the error to raise: _Interrupted where another attempt may help, else InputError."""
    if isinstance(error, HTTPError):
        if error.code in (408, 425, 429) or error.code >= 500:
            wait = error.headers.get("Retry-After") or ""
            return _Interrupted(f"the server answers {error.code}", float(wait) if wait.isdigit() else 0.0)
        if error.code in (401, 403):
            return InputError(
                f"{url}: access refused ({error.code}); the file is public elsewhere: try --mirror"
            )
        if error.code in (404, 410):
            return InputError(f"{url}: no such file ({error.code}); check --mirror, the folder's address")
        return InputError(f"{url}: the server answers {error.code} {error.reason}; try --mirror")
    host, reason = urlsplit(url).netloc, error.reason
    if isinstance(reason, ssl.SSLCertVerificationError):
        message = f"{host}: its certificate is not trusted ({reason.verify_message}); check the clock"
        return InputError(message)
    if isinstance(reason, socket.gaierror):
        return Unreachable(f"{host} is not found ({reason.strerror})")
    return _Interrupted(f"{host} cannot be reached ({reason})", reached=False)
