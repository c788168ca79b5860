"""Shared by both command lines: options checked with a hint, and errors as one line with an exit status."""

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import NoReturn

from minbert.cli.shown_text import ShownText, hide_variables, printable, shown_line
from minbert.errors import InputError, did_you_mean

BAD_INPUT = 2
INTERRUPTED = 130
FIRST_SPEAKS = 10.0  # seconds for the first process to say why, after which torchrun ends all
NOUNS = {int: "a whole number", float: "a number"}  # for the types of options


class AtLeastOne(argparse.Action):
    """The action "at_least_one" of a CommandParser. Raises InputError for a number below 1."""

    def __call__(self, parser, namespace, values, option_string=None):
        if values < 1:
            raise InputError(f"{option_string} is {values}; give at least 1")
        setattr(namespace, self.dest, values)


class CommandParser(argparse.ArgumentParser):
    """An argument parser that names the nearest option and raises InputError, never prints the usage.

    `hint` is said of an option that there is not.
    """

    hint = ""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.register("action", "at_least_one", AtLeastOne)

    def add_version(self) -> None:
        """Adds --version."""
        from minbert import __version__

        self.add_argument(
            "--version", action="version", version=f"minBERT {__version__}", help="print the version"
        )

    def add_json(self, help: str = "print one JSON object") -> None:
        """Adds --json."""
        self.add_argument("--json", action="store_true", help=help)

    def add_threads(self) -> None:
        """Adds --threads."""
        self.add_argument(
            "--threads", type=int, action="at_least_one", help="CPU threads; default: all cores"
        )

    def parse_known_args(self, args=None, namespace=None):
        self.words = list(sys.argv[1:] if args is None else args)  # for the hints of `error`
        return super().parse_known_args(args, namespace)

    def parse_args(self, args=None, namespace=None):
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.refuse(unknown[0], found)
        return found

    def refuse(self, word: str, found: argparse.Namespace | None = None) -> NoReturn:
        """Raises InputError for a word that no option takes."""
        parser = getattr(found, "parser", self)
        if word.startswith("-"):
            options = [option for action in parser._actions for option in action.option_strings]
            name = word.split("=")[0]
            hint = f"; {parser.hint}" if parser.hint else ""
            raise InputError(
                f"there is no option {name}{did_you_mean(name, options)}{hint}; see {parser.prog} --help"
            )
        taken = [_name(action) for action in parser._actions if not action.option_strings]
        raise InputError(
            f"there is nothing to do with {word!r}: {parser.prog} takes {', '.join([*taken, 'options'])}; "
            f"see {parser.prog} --help"
        )

    # argparse words its errors in these methods; `action` is an option or an argument without one.
    def _check_value(self, action, value):
        if action.choices is None or value in action.choices:
            return
        given, names = f"{_name(action)} is {value!r}", [str(choice) for choice in action.choices]
        if action.dest == "command":
            given = f"there is no command {value!r}"
        raise InputError(f"{given}{did_you_mean(str(value), names)}; choose from {', '.join(names)}")

    def _get_value(self, action, text):
        try:
            return super()._get_value(action, text)
        except argparse.ArgumentError as error:
            if isinstance(error.__context__, InputError):
                raise error.__context__ from None
            raise InputError(f"{_name(action)} is {text!r}; give {NOUNS[action.type]}") from None

    def _match_argument(self, action, pattern):
        try:
            return super()._match_argument(action, pattern)
        except argparse.ArgumentError:
            count = {None: "a value", "+": "one or more values"}.get(action.nargs, f"{action.nargs} values")
            raise InputError(
                f"{_name(action)} needs {count}: {_accepted(action)}; see {self.prog} --help"
            ) from None

    def error(self, message: str) -> NoReturn:
        missing = message.removeprefix("the following arguments are required: ")
        if missing == message:
            raise InputError(f"{message.removeprefix('argument ')}; see {self.prog} --help")
        for word in self.words:  # often for a name that is misspelt
            if word.startswith("--") and word.split("=")[0] not in self._option_string_actions:
                self.refuse(word)
        names = missing.split(", ")
        said = [
            f"{name} ({_accepted(action)})" for action in self._actions if (name := _name(action)) in names
        ]
        raise InputError(f"missing: {'; '.join(said)}; see {self.prog} --help")


def _name(action: argparse.Action) -> str:
    return "/".join(action.option_strings) or str(action.metavar or action.dest)


def _accepted(action: argparse.Action) -> str:
    """Returns what an option or argument takes: its choices, else its help text."""
    return ", ".join(map(str, action.choices)) if action.choices else action.help


def run_command(
    run: Callable[[Sequence[str]], int | None], arguments: Sequence[str] | None = None
) -> NoReturn:
    """Runs a command line and leaves the process with its status.

    Bad input (InputError, a file that cannot be read or written) is one line and status 2; Ctrl-C is 130.
    What is printed has no secrets, and nothing that a terminal obeys. MINBERT_TRACEBACK=1 shows where an
    error was raised. Of the processes that torchrun starts only the first one prints results and errors.
    """
    sys.excepthook = _print_exception
    is_first = "WORLD_SIZE" not in os.environ or int(os.environ.get("RANK", 0)) == 0
    if not is_first:
        sys.stdout = open(os.devnull, "w")  # for as long as the process lives
    try:
        with redirect_stdout(ShownText(sys.stdout, lambda text: printable(hide_variables(text)))):
            status = run(sys.argv[1:] if arguments is None else arguments) or 0
        sys.stdout.flush()
    except (InputError, OSError) as error:
        if os.environ.get("MINBERT_TRACEBACK"):
            raise
        if isinstance(error, BrokenPipeError):  # the reader of our output has gone, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 128 + signal.SIGPIPE
        else:
            if is_first:
                print(shown_line(f"error: {' '.join(str(error).split())}"), file=sys.stderr)
            else:
                time.sleep(FIRST_SPEAKS)
            status = BAD_INPUT
    except KeyboardInterrupt as interruption:
        if is_first:
            how = str(interruption) or "give the same command again"
            print(shown_line(f"interrupted; {how}"), file=sys.stderr)
        status = INTERRUPTED
    sys.exit(status)


@contextmanager
def says_how_to_go_on(how: Callable[[], str]) -> Iterator[None]:
    """Has a signal that ends the block say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(how()) from None
    except SystemExit:  # of another signal
        if int(os.environ.get("RANK", 0)) == 0:
            say(how())
        raise


def say(line: str) -> None:
    """Prints a line on standard error, beside a progress bar."""
    from tqdm import tqdm

    tqdm.write(shown_line(line), file=sys.stderr)


def _print_exception(*error) -> None:
    print(shown_line("".join(traceback.format_exception(*error))), end="", file=sys.stderr)
