"""The one kind of error that a user can mend, and the hint that goes with a wrong name."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """A user's input cannot be used; the message says what was given, what is accepted, what to do.

    The command lines print it as one line on standard error and leave with status 2.
    """


def did_you_mean(name: str, accepted: Iterable[str]) -> str:
    """`'; did you mean "sst"?'` for the accepted name nearest to `name`, or an empty string."""
    close = get_close_matches(name, list(accepted), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
