"""Text as it is shown and written down: no secrets, nothing that a terminal or a spreadsheet would obey."""

import os
import re
from functools import cache
from typing import IO, Any

HIDDEN = "***"
_SECRET_VARIABLE = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$", re.IGNORECASE)
SHORTEST = 6  # characters of a variable's value; shorter ones are words of any text
_NAME = (
    r"(?:[\w-]*(?:passw(?:or)?d|passphrase|secret|api[_-]?key)[\w-]*|"
    r"\b(?:\w+[_-])?pwd|\b(?:access|auth|hf)?[_-]?token)"
)
_VALUE = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&;,'"]+)"""
_SECRETS = (
    (re.compile(r"(\w://[^\s/@:]*:)\S*@"), rf"\1{HIDDEN}@"),  # scheme://user:password@host
    (re.compile(rf"""({_NAME}["']?\s*=\s*){_VALUE}""", re.IGNORECASE), rf"\1{HIDDEN}"),  # of a query, a DSN
    (re.compile(rf"""(["']{_NAME}["']\s*:\s*){_VALUE}""", re.IGNORECASE), rf'\1"{HIDDEN}"'),  # JSON
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(hf_|sk-|gh[pousr]_|github_pat_)[\w-]{16,}"), rf"\1{HIDDEN}"),
)
# All but tab and line end; among them ESC and the C1 codes, which move the cursor, set titles, ask for
# answers, and the halves of surrogate pairs, which no encoding can write.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# Characters that begin code, emphasis, links, HTML and cells; "_" does at the ends of a word only.
_MARKDOWN = re.compile(r"[\\`*<>|~]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|&(?=#?\w+;)")
_BLOCK = re.compile(r"^(\d*)([#+\-=.)]+)(?=\s|$)")  # begins a heading, a list or a rule


def hide_secrets(text: str) -> str:
    """Returns the text with *** for passwords in addresses and settings, keys and tokens.

    Those in environment variables are found by their values, others by what stands before them.
    """
    text = hide_variables(text)
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def hide_variables(text: str) -> str:
    """Returns the text with *** for the values of environment variables whose names end in KEY and so on."""
    found = {value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)}
    pattern = _any_of(frozenset(value for value in found if len(value) >= SHORTEST))
    return pattern.sub(HIDDEN, text) if pattern else text


@cache
def _any_of(values: frozenset[str]) -> re.Pattern | None:
    longest_first = sorted(map(re.escape, values), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)") if values else None


def printable(text: str) -> str:
    r"""Returns the text with control characters written out, as in \x1b."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown_line(text: str) -> str:
    """Returns a message as it is shown on a terminal."""
    return printable(hide_secrets(text))


def markdown_text(text: object) -> str:
    """Returns a text in one line of Markdown that shows it as it is; control characters are written out."""
    line = _MARKDOWN.sub(r"\\\g<0>", printable(" ".join(str(text).split())))
    return _BLOCK.sub(r"\1\\\2", line)


def spreadsheet_cell(text: str) -> str:
    """Returns a text for a cell of a CSV that people open: a spreadsheet shows it and computes nothing.

    Formulas begin with = + - or @, also behind white space; an apostrophe before them makes them text.
    """
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


class ShownText:
    """A text stream onto another one, which gets what is written with `change` applied."""

    def __init__(self, stream: IO[str], change: Any):
        self.stream = stream
        self.change = change

    def write(self, text: str) -> int:
        self.stream.write(self.change(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
