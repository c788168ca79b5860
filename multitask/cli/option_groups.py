"""Options that several commands share, described and checked once. No torch here."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from minbert import CommandParser
from multitask.config.option_types import comma_list
from multitask.config.task_file import TRUST
from multitask.tasks.predictions import FILE_FORMATS


def add_tasks(parser: CommandParser, default: str) -> None:
    """Adds --tasks, a list of names or None."""
    parser.add_argument("--tasks", type=comma_list, help=f"comma-separated; default: {default}")


def add_task_file(parser: CommandParser, more: str = "; default: the RUN's, if you trained with it") -> None:
    """Adds --task-file."""
    parser.add_argument("--task-file", help=f"Python file that registers kinds of your own{more}")


def add_trust(parser: CommandParser) -> None:
    """Adds --trust."""
    parser.add_argument("--trust", action="store_true", help=TRUST)


def trust_folders(folders: Sequence[str]) -> None:
    """Runs the task files that runs' folders name, as --trust asks for."""
    from multitask.inference.run import read_run_config

    for folder in folders:
        if (Path(folder) / "environment.json").is_file():
            read_run_config(Path(folder), trust=True)


def add_device(parser: CommandParser, of: str = "") -> None:
    """Adds --device and --threads; see `use_threads`."""
    parser.add_argument("--device", default="auto", help=f"{of}auto, cpu, cuda[:n] or mps")
    parser.add_threads()


def add_file_format(parser: CommandParser) -> None:
    """Adds --dialect."""
    parser.add_argument("--dialect", choices=FILE_FORMATS, default="code", help="of prediction files")


def add_engine(parser: CommandParser, what: str) -> None:
    """Adds --jobs, --engine and --ray-address."""
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help=f"{what} side by side, the cores divided; default 1"
    )
    parser.add_argument(
        "--engine",
        default="processes",
        help="processes of this machine (the default), or ray: on this machine or a cluster",
    )
    parser.add_argument(
        "--ray-address", metavar="HOST:PORT", help="head node of a Ray cluster; default: one on this machine"
    )


def use_threads(options: Namespace) -> None:
    """Sets torch's CPU threads to --threads, where it is given."""
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
