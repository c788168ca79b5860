"""The command `multitask`: its subcommands, which stand in the files of this folder."""

import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from minbert import CommandParser, run_command
from multitask.cli import (
    ablate,
    augment,
    check,
    download,
    ensemble,
    export,
    files,
    import_checkpoint,
    report,
    runs,
    search,
)
from multitask.config.options import RunOptions, read_run_options
from multitask.course import submit

# name -> module, help; the module of "a-b" has a_b_command(options) and add_a_b_options(parser).
COMMANDS = {
    "train": (runs, "fine-tune, into a new run folder"),
    "groups": (runs, "print every tensor's learning rate, decay, and whether it is trained"),
    "resume": (runs, "continue an interrupted run"),
    "evaluate": (runs, "print the scores of a run, or of weights, on a split"),
    "predict": (runs, "write prediction files, or predict one text"),
    "validate": (files, "check prediction files; status 1 where one has errors"),
    "doctor": (files, "say what is odd in the data files"),
    "tasks": (files, "list the kinds of tasks"),
    "submit": (submit, "check the predictions, and make the zip to hand in"),
    "download": (download, "fetch the course's data files, and check them"),
    "import-checkpoint": (
        import_checkpoint,
        "make a folder of weights from a .pt file of the course's starter code",
    ),
    "export": (export, "write a task, or the encoder, for other software"),
    "check": (check, "compare losses and metrics with references"),
    "ablate": (ablate, "compute a table of experiments, over seeds"),
    "search": (search, "search for the best hyper-parameters"),
    "report": (report, "write one HTML page of a run, a table or a search"),
    "augment": (augment, "make training texts for small classes"),
    "ensemble": (ensemble, "average predictions or weights of runs"),
}
ONE_RUN = ("train", "groups")  # called as command(RunConfig, options)
MANY_RUNS = ("ablate", "search")  # called as command(RunOptions)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    run_command(run, arguments)


def run(arguments: Sequence[str]) -> int | None:
    parser, one_run, many_runs = build_parser()
    name, words = (arguments[0], arguments[1:]) if arguments else (None, [])
    if name in ("train", "resume") and sys.stderr.isatty():
        print("loading torch, the weights and the data", file=sys.stderr)
    if name in many_runs:
        command, sub = many_runs[name]
        return command(RunOptions(sub, words))
    if name in one_run:
        command, sub = one_run[name]
        config, options = read_run_options(sub, words)
        if options.print_config:
            print(json.dumps(config.to_dict(), indent=2))
            return None
        return command(config, options)
    options = parser.parse_args(arguments)
    return options.run(options)


def build_parser() -> tuple[CommandParser, dict, dict]:
    """Returns the parser, and by name (command, parser) of the commands in ONE_RUN and in MANY_RUNS."""
    parser = CommandParser(prog="multitask", description="Fine-tunes one BERT on several tasks.")
    parser.add_version()
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    made = {}
    for name, (module, help) in COMMANDS.items():
        sub, key = commands.add_parser(name, help=help), name.replace("-", "_")
        getattr(module, f"add_{key}_options")(sub)
        command = getattr(module, f"{key}_command")
        if name not in (*ONE_RUN, *MANY_RUNS):
            sub.set_defaults(run=command, parser=sub)
        made[name] = command, sub
    return parser, *({name: made[name] for name in names} for names in (ONE_RUN, MANY_RUNS))
