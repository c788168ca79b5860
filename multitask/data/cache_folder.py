"""The cache folder, where tokenized data and hashes of large files are kept for later runs.

By default minbert/ in the user's cache folder; never beside the data unless it is named. Everything in it can
be removed at any time.
"""

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from minbert import InputError, Rule, make_folder, read_json_object, write_json

_SHA256 = Rule(lambda value: bool(re.fullmatch("[0-9a-f]{64}", str(value))), "a SHA-256")
LARGE = 2**24  # bytes of a file whose hash is kept
SETTLED = 2.0  # seconds after a change of a file: before, a second one might go unnoticed


def cache_folder(name: str | None = None) -> Path:
    """Returns the folder `name`, else minbert/ in the user's cache folder. Raises InputError for a file."""
    if name is not None:
        make_folder(Path(name))
        return Path(name)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minbert"


def file_hash(path: Path, cache: Path | None = None) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal.

    That of a large file is kept in `cache` under its path, and stands for its content while its size and time
    of modification stay as they are.
    """
    status = path.stat()
    if cache is None or status.st_size < LARGE:
        return _content_hash(path)
    place = str(path.resolve())
    kept = cache / "hashes" / f"{hashlib.sha256(place.encode()).hexdigest()}.json"
    facts = {"path": place, "size": status.st_size, "modified": status.st_mtime_ns}
    with suppress(InputError):  # made anew
        known = read_json_object(kept, {"sha256": _SHA256})
        if {key: known.get(key) for key in facts} == facts:
            return known["sha256"]
    found = _content_hash(path)
    after = path.stat()
    same = (after.st_size, after.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    if same and time.time() - status.st_mtime > SETTLED:
        with suppress(OSError, InputError):
            write_json(kept, facts | {"sha256": found})
    return found


def _content_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
