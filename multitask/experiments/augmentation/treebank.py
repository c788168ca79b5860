"""Plain English spaced as in the Penn Treebank: `It 's`, `does n't`, `-LRB-`, back-ticks for quotes.

SST and CFIMDB are written so. New texts of some classes only, in another spelling, would tell a model the
class by the spelling. No torch here.
"""

import re
from collections.abc import Iterable

_NO_TITLE = "".join(rf"(?<!\b{title})" for title in ("Mr", "Ms", "Mrs", "Dr", "St", "Jr", "Sr"))
_STEPS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        ("[‘’]", "'"),
        ("[“”]", '"'),
        ("…", "..."),
        ("[–—]", "--"),
        (r'(^|(?<=[\s(\[{<]))"', " `` "),
        ('"', " '' "),
        (r"\.{2,}", lambda dots: f" {dots[0]} "),
        ("--+", lambda dashes: f" {dashes[0]} "),
        (r"([;@#$%&?!])", r" \1 "),
        (r"([,:])(?!\d)|(?<!\d)([,:])", lambda mark: f" {mark[0]} "),
        # The full stop that ends a sentence: with it end the text, or a capital follows.
        (r"(?<=[^\s.])\.(?=[\s'\])}`]*$)", " ."),
        (r"(?<=[a-z0-9)'])" + _NO_TITLE + r"\.(?=\s+[A-Z`'])", " ."),
        (r"[(\[{]", lambda bracket: f" {_BRACKETS[bracket[0]]} "),
        (r"[)\]}]", lambda bracket: f" {_BRACKETS[bracket[0]]} "),
        (r"(?<=s)'(?=\s)", " '"),
        (r"(?<=\w)('(?:s|m|d|ll|re|ve|S|M|D|LL|RE|VE))\b", r" \1"),
        (r"(?<=\w)(n't|N'T)\b", r" \1"),
        (r"\b([Cc]an)not\b", r"\1 not"),
        (r"(?<!\\)/", r"\\/"),
    )
]
_BRACKETS = {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}


def treebank_spacing(text: str) -> str:
    """The text with words and marks set apart by single spaces; one that is spaced so already stays."""
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def is_treebank(texts: Iterable[str]) -> bool:
    """Whether most texts that have a comma set it apart from the word before it."""
    with_comma = [text for text in texts if ", " in text]
    apart = sum(" , " in text for text in with_comma)
    return bool(with_comma) and 2 * apart > len(with_comma)
