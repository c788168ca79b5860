"""The command `multitask check`: losses and metrics, our own or a file's, against references."""

import argparse

from minbert import add_limit_options, run_checks

PLACES = {"losses": "multitask.check.losses:LOSSES", "metrics": "multitask.check.metrics:METRICS"}


def add_check_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `multitask check`."""
    for name in PLACES:
        parser.add_argument(f"--{name}", metavar="FILE", help=f"a Python file with your {name}")
    add_limit_options(parser)


def check_command(options: argparse.Namespace) -> int:
    """Checks the files given, or our own code without one; 1 where something differs."""
    files = {name: getattr(options, name) for name in PLACES}
    chosen = [name for name in PLACES if files[name]] or list(PLACES)
    return run_checks(options, [(PLACES[name], files[name]) for name in chosen])
