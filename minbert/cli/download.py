"""The command `minbert download`: a model of the hub, checked, pinned to its commit and kept."""

import argparse
import json

from minbert.cli.command_line import CommandParser
from minbert.errors import InputError


def add_download_options(parser: CommandParser) -> None:
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a BERT on the hub: bert-base-uncased, owner/name, name@revision",
    )
    parser.add_argument(
        "--to",
        metavar="DIR",
        help="a new folder; default: the hub's cache, where --weights NAME finds it",
    )
    parser.add_argument("--revision", metavar="R", help="a branch, tag or commit; default: main")
    parser.add_json()


def download_command(options: argparse.Namespace) -> None:
    """Prints where the model lies, at which commit, and how much came over the network."""
    from minbert.weights.hub import HubModel, download

    name = options.name
    if options.revision is not None:
        if "@" in name:
            raise InputError(f"{name} names a revision, and so does --revision {options.revision}; give one")
        name = f"{name}@{options.revision}"
    model = HubModel.parse(name)
    if model is None:
        raise InputError(
            f"{name!r} cannot be a model of the hub; give a name such as bert-base-uncased or owner/name, "
            f"with @revision or --revision for another revision than main"
        )
    done = download(model, options.to)
    record = done.record
    if options.json:
        print(json.dumps({"folder": str(done.folder), **record, "fetched": list(done.fetched)}))
        return
    sizes = {file: entry["size"] for file, entry in record["files"].items()}
    came = f"{_megabytes(sum(sizes[file] for file in done.fetched))} fetched" if done.fetched else "all there"
    print(
        f"{done.folder}: {record['name']} at {record['revision']} ({record['commit']}), "
        f"{len(sizes)} files, {_megabytes(sum(sizes.values()))}, {came}"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
