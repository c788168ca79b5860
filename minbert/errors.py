"""InputError, the hint that goes with a wrong name, and rules for the values of configurations."""

import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from reprlib import Repr
from typing import Any, NamedTuple

LONGEST = 4000  # characters of a message


class InputError(ValueError):
    """A user's input cannot be used; the message says what was given, what is accepted, what to do.

    The command lines print it as one line on standard error and leave with status 2. What a message quotes
    from a file may be of any length; of a long one the middle is left out.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1000]} [...] {text[-900:]}"


# Names of other software, and of people -> the accepted ones.
OTHER_NAMES = {
    **dict.fromkeys(("val", "valid", "validation"), "dev"),
    **dict.fromkeys(("gpu", "nvidia"), "cuda"),
    **dict.fromkeys(("avg", "average"), "mean"),
    **dict.fromkeys(("quora", "qqp"), "paraphrase"),
    "float32": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
}


def did_you_mean(name: str, accepted: Iterable[str]) -> str:
    """`'; did you mean "sst"?'` for the accepted name nearest to `name`, or an empty string.

    One that is known by that name elsewhere is the nearest, then the only one that begins with it, or has it
    after its dot; case and the dashes of options do not count.
    """
    names = {key.lstrip("-").lower(): key for key in accepted}
    asked = name.lstrip("-").lower()
    if (other := OTHER_NAMES.get(asked)) in names:
        asked = other
    begun = [key for key in names if key.startswith(asked) and len(asked) > 2 or key.endswith(f".{asked}")]
    close = begun if len(begun) == 1 else get_close_matches(asked, names, n=1, cutoff=0.5)
    return f"; did you mean {names[close[0]]!r}?" if close else ""


class Rule(NamedTuple):
    """A test for a value, the description of the values that pass it, and the rules of the value's parts."""

    accepts: Callable[[Any], bool]
    accepted: str
    parts: Callable[[Any], Iterable[tuple[str, Any, "Rule"]]] = lambda value: ()


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 120
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 12


def check(values: Mapping[str, Any], rules: Mapping[str, Rule], source: str = "", remedy: str = "") -> None:
    """Raises InputError for the first value that its rule does not accept; `source` begins the message."""
    for name, rule in rules.items():
        check_value(name, values.get(name, MISSING), rule, source, remedy)


def check_value(name: str, value: Any, rule: Rule, source: str = "", remedy: str = "") -> None:
    """Raises InputError for a value, or the first of its parts, that its rule does not accept."""
    if not rule.accepts(value):
        raise InputError(
            f"{source}{name or 'the content'} is {_SHORT.repr(value)}; it must be {rule.accepted}{remedy}"
        )
    for key, part, inner in rule.parts(value):
        check_value(f"{name}.{key}" if name else key, part, inner, source, remedy)


def is_number(value: Any) -> bool:
    """Returns True for what is a finite number as a float too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def whole(least: int) -> Rule:
    """Accepts whole numbers of at least `least`."""
    return Rule(
        lambda value: type(value) is int and least <= value < 2**63, f"a whole number of at least {least}"
    )


def or_null(rule: Rule) -> Rule:
    """Accepts None too."""
    return Rule(
        lambda value: value is None or rule.accepts(value),
        f"{rule.accepted}, or null",
        lambda value: () if value is None else rule.parts(value),
    )


def optional(rule: Rule) -> Rule:
    """Accepts a key that is missing too."""
    return Rule(
        lambda value: value is MISSING or rule.accepts(value),
        rule.accepted,
        lambda value: () if value is MISSING else rule.parts(value),
    )


def by_name(rule: Rule) -> Rule:
    """Accepts dictionaries of values that `rule` accepts."""
    return Rule(
        lambda value: isinstance(value, dict),
        f"a dictionary of values, each {rule.accepted}",
        lambda value: ((str(name), part, rule) for name, part in value.items()),
    )


def by_key(rules: Mapping[str, Rule]) -> Rule:
    """Accepts dictionaries with these keys, each by its own rule, and any others."""
    return Rule(
        lambda value: isinstance(value, dict),
        f"a dictionary with {', '.join(rules)}",
        lambda value: ((name, value.get(name, MISSING), rule) for name, rule in rules.items()),
    )


def list_of(rule: Rule, least: int = 0) -> Rule:
    """Accepts lists of at least `least` values that `rule` accepts."""
    return Rule(
        lambda value: isinstance(value, list) and len(value) >= least,
        f"a list, each {rule.accepted}" if least == 0 else f"a list of {least} or more, each {rule.accepted}",
        lambda value: ((str(number), part, rule) for number, part in enumerate(value)),
    )


ANYTHING = Rule(lambda value: True, "anything")
TEXT = Rule(lambda value: isinstance(value, str), "a string")
NUMBER = Rule(is_number, "a number")
POSITIVE = Rule(lambda value: is_number(value) and value > 0, "a number above 0")
FRACTION = Rule(lambda value: is_number(value) and 0 < value < 1, "a number between 0 and 1")
AMOUNT = Rule(lambda value: is_number(value) and value >= 0, "a number of at least 0")
RATE = Rule(lambda value: is_number(value) and 0 <= value < 1, "a rate from 0 to below 1")
TRUTH = Rule(lambda value: isinstance(value, bool), "true or false")
