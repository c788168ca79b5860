"""InputError, the hint that goes with a wrong name, and rules for the values of configurations."""

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple


class InputError(ValueError):
    """A user's input cannot be used; the message says what was given, what is accepted, what to do.

    The command lines print it as one line on standard error and leave with status 2.
    """


def did_you_mean(name: str, accepted: Iterable[str]) -> str:
    """`'; did you mean "sst"?'` for the accepted name nearest to `name`, or an empty string."""
    close = get_close_matches(name, list(accepted), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


class Rule(NamedTuple):
    """A test for a value, and the description of the values that pass it."""

    accepts: Callable[[Any], bool]
    accepted: str


def check(values: Mapping[str, Any], rules: Mapping[str, Rule], source: str = "") -> None:
    """Raises InputError for the first value that its rule does not accept; `source` begins the message."""
    for name, rule in rules.items():
        if not rule.accepts(values[name]):
            raise InputError(f"{source}{name} is {values[name]!r}; it must be {rule.accepted}")


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int) -> Rule:
    """Accepts whole numbers of at least `least`."""
    return Rule(lambda value: type(value) is int and value >= least, f"a whole number of at least {least}")


def or_null(rule: Rule) -> Rule:
    """Accepts None too."""
    return Rule(lambda value: value is None or rule.accepts(value), f"{rule.accepted}, or null")


def by_name(rule: Rule) -> Rule:
    """Accepts dictionaries of values that `rule` accepts."""
    return Rule(
        lambda value: isinstance(value, dict) and all(map(rule.accepts, value.values())),
        f"a dictionary of values, each {rule.accepted}",
    )


NUMBER = Rule(is_number, "a number")
POSITIVE = Rule(lambda value: is_number(value) and value > 0, "a number above 0")
FRACTION = Rule(lambda value: is_number(value) and 0 < value < 1, "a number between 0 and 1")
RATE = Rule(lambda value: is_number(value) and 0 <= value < 1, "a rate from 0 to below 1")
TRUTH = Rule(lambda value: isinstance(value, bool), "true or false")
