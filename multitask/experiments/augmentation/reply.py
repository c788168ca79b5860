"""Reads a language model's reply strictly: one paraphrase, or the reason why it is rejected.

Accepted are the paraphrase alone, in double quotes or not, and what models like to put around it: a line
such as `Here is a paraphrased version of the review:` before it, `Sentiment score: 3 (somewhat positive)`
after it. All else is rejected: guessing which part is meant would put chatter into the training data.
No torch here.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from multitask.data.doctor import word_key

# Of a paraphrase and its source, the longer one has at most three times the other's words, and three more.
TIMES, SLACK = 3, 3

_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_PREAMBLE = re.compile(r'\A[^":\n]*\b(?:paraphras|rephras|rewrit|reword|version)[^":\n]*:', re.IGNORECASE)
_SCORE = r"\**(?:sentiment\s+)?(?:score|label|sentiment)\**\s*[:=]\s*\**\s*"
_STATED = r"(?P<value>[^\n(\"]*?)\s*(?:\([^()\n]*\))?\s*\**\.?"
_SCORE_BEFORE = re.compile(rf"\A{_SCORE}{_STATED}\s*\n", re.IGNORECASE)
_SCORE_AFTER = re.compile(rf"(?:^|(?<=\s)|(?<=\")){_SCORE}{_STATED}\s*\Z", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\A(?:i['’]?m sorry|i am sorry|sorry|i can(?:no|['’])t|i cannot|i['’]m unable|i am unable|as an ai)\b.*"
    r"\b(?:paraphras|rephras|rewrit|request|assist|help with|language model|provide)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})


class Rejection(NamedTuple):
    """The reason why there is no text."""

    reason: str


def read_reply(
    reply: str, finish_reason: str | None, source: str, label: str, meanings: Mapping[str, str]
) -> str | Rejection:
    """Returns the paraphrase of `source` in a reply.

    `label` is that of the source, `meanings` says of all labels what they mean: a reply that states another
    label is rejected, and so is one that cannot be a paraphrase by its length.
    """
    if finish_reason == "length":
        return Rejection("cut off")
    if finish_reason not in (None, "stop"):
        return Rejection(f"ended by {finish_reason}")
    text = _THINKING.sub("", reply).translate(_QUOTES).strip()
    text, stated = _without_scores(text)
    text = _PREAMBLE.sub("", text).strip()
    text, tabbed = _without_tabbed_label(text, meanings)
    if any(_label(value, meanings) != label for value in [*stated, *tabbed]):
        return Rejection("wrong label")
    if "\n" in text:
        return Rejection("more than one line")
    return _usable(_without_quotes(text), source)


def _usable(text: str | None, source: str) -> str | Rejection:
    """Returns the paraphrase with single spaces, if it may be one; `text` is None for unmatched quotes."""
    if text is None:
        return Rejection("quotes do not match")
    text = " ".join(text.split())
    if not any(map(str.isalnum, text)):
        return Rejection("empty")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return Rejection("no plain text")
    if _REFUSAL.search(text):
        return Rejection("refusal")
    if word_key(text) == word_key(source):
        return Rejection("same as the source")
    words, expected = len(text.split()), len(source.split())
    if words > TIMES * expected + SLACK:
        return Rejection("too long")
    if expected > TIMES * words + SLACK:
        return Rejection("too short")
    return text


def _without_scores(text: str) -> tuple[str, list[str]]:
    """Splits the text from statements of its score before and after it."""
    stated = []
    for pattern in (_SCORE_BEFORE, _SCORE_AFTER):
        if found := pattern.search(text):
            stated.append(found["value"])
            text = (text[: found.start()] + text[found.end() :]).strip()
    return text, stated


def _without_tabbed_label(text: str, meanings: Mapping[str, str]) -> tuple[str, list[str]]:
    """Splits the text from the label that follows it after a tab, as in the prompt's examples."""
    before, tab, after = text.rpartition("\t")
    if tab and _label(after, meanings) is not None:
        return before.strip(), [after]
    return text, []


def _label(stated: str, meanings: Mapping[str, str]) -> str | None:
    """Finds the label that is meant by its name or by its meaning; None where neither is known."""
    stated = stated.strip(" *'\"`.").casefold()
    for label, meaning in meanings.items():
        if stated in (label.casefold(), meaning.casefold(), f"{label} - {meaning}".casefold()):
            return label
    return None


def _without_quotes(text: str) -> str | None:
    """Removes the quotes that enclose the whole text; None where one is not closed."""
    if text.count('"') % 2:
        return None
    inner = text[1:-1]
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')):
        return text
    place = inner.find('"')
    # The second quote closes the first, as in `"Up" is better than "Cars"`, unless a space stands before it.
    closes_first = place >= 0 and not inner[:place].endswith((" ", "("))
    return text if closes_first else inner


# Penn Treebank spacing

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
    """Spaces plain English as the Penn Treebank does: `It 's`, `does n't`, `-LRB-`, back-ticks for quotes.

    SST and CFIMDB are written so. New texts of some classes only, in another spelling, would tell a model the
    class by the spelling. A text that is spaced so already stays.
    """
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def is_treebank(texts: Iterable[str]) -> bool:
    """Tells whether most texts that have a comma set it apart from the word before it."""
    with_comma = [text for text in texts if ", " in text]
    apart = sum(" , " in text for text in with_comma)
    return bool(with_comma) and 2 * apart > len(with_comma)
