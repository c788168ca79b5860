"""The command `multitask import-checkpoint`: a starter's .pt file -> a folder of weights. No torch here."""

import json
from argparse import Namespace
from pathlib import Path

from minbert import CommandParser, InputError

REFUSED = (
    "is a pickle, a format that can name any program to run when it is read. Only tensors and the plain "
    "values that the starter's code saves would be read, all else is refused; if you know where the file "
    "comes from, repeat the command with --trust"
)


def add_import_checkpoint_options(parser: CommandParser) -> None:
    parser.add_argument("file", metavar="FILE.pt", help="what the starter's code saved")
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument("--trust", action="store_true", help="read the pickle: you know where it comes from")
    parser.add_argument(
        "--tokenizer",
        metavar="FOLDER",
        help="the weights that training began with: their tokenizer is copied, their config.json read",
    )
    parser.add_json()


def import_checkpoint_command(options: Namespace) -> None:
    """Writes the folder, and says what was imported and what was not."""
    if not Path(options.file).is_file():
        raise InputError(f"there is no file {options.file}; give the .pt file that the starter's code saved")
    if not options.trust:
        raise InputError(f"{options.file} {REFUSED}")
    from multitask.course.conversion import convert

    report = convert(options.file, options.out, options.tokenizer)
    if options.json:
        print(json.dumps(report.as_dict()))
    else:
        print("\n".join(report.lines()))
