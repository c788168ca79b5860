"""The command `multitask download`: the course's data files into a folder, each of them the right one."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from minbert import CommandParser, InputError, did_you_mean

INCOMPLETE = 1  # exit status where a file is not there as it should be


def add_download_options(parser: CommandParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="*", help="names of files; default: all of the course")
    parser.add_argument("--data", metavar="DIR", default="data", help="folder for the files; default data")
    parser.add_argument("--mirror", metavar="URL", help="folder to fetch from, in place of the course's own")
    parser.add_argument("--force", action="store_true", help="replace files that are there and differ")
    parser.add_json()


def download_command(options: Namespace) -> int:
    """Fetches what is missing; status 1 where a file could not be fetched, or another one has its name."""
    from multitask.data.download import COURSE_FILES, SOURCE, file_url

    folder, base = Path(options.data), options.mirror or SOURCE
    names = list(dict.fromkeys(options.files or COURSE_FILES))
    for name in names:
        file_url(name, base)  # refuses a mirror that is not an address
        if name not in COURSE_FILES:
            raise InputError(
                f"{name!r} is not a file of the course{did_you_mean(name, COURSE_FILES)}; choose from "
                f"{', '.join(COURSE_FILES)}"
            )
    found: dict[str, dict[str, str]] = {}
    for number, name in enumerate(names):
        found[name] = _provide(name, folder, base, options.force, names[number:])
        if not options.json:
            print(": ".join([name, *(found[name][key] for key in ("status", "message") if found[name][key])]))
    if options.json:
        print(json.dumps({"files": found}))
    return INCOMPLETE if any(entry["status"] in ("differs", "failed") for entry in found.values()) else 0


def _provide(name: str, folder: Path, base: str, force: bool, rest: Sequence[str]) -> dict[str, str]:
    """Provides one file and returns its entry. Raises InputError, with the URLs of `rest`, when offline."""
    from multitask.data.download import COURSE_FILES, Unreachable, download, file_url, is_right

    path = folder / name
    if is_right(path, COURSE_FILES[name]):
        return _entry("there already", path)
    if path.exists() and not force:
        return _entry("differs", path, f"{path} is not the course's file; it is kept, --force replaces it")
    try:
        return _entry("fetched", download(name, folder, COURSE_FILES[name], base))
    except Unreachable as error:
        missing = [other for other in rest if force or not (folder / other).exists()]
        urls = " ".join(file_url(other, base) for other in missing)
        raise InputError(
            f"offline: {error}; download these files elsewhere and put them into {folder}: {urls}"
        ) from None
    except (InputError, OSError) as error:
        return _entry("failed", path, str(error))


def _entry(status: str, path: Path, message: str = "") -> dict[str, str]:
    return {"status": status, "path": str(path), "message": message}
