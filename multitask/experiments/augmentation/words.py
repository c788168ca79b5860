"""Edits the words of a text: easy data augmentation (EDA, Wei and Zou 2019).

Words are swapped, deleted, repeated at another place, or replaced by synonyms where the user has a file of
them: this project ships no thesaurus. No torch here.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from minbert import InputError
from multitask.data.records import read_text

SHARE = 0.1  # of a text's words that are changed, at least one
# Deleting one of these turns the meaning of its sentence round, and with it the label.
NEGATIONS = {"not", "n't", "no", "never", "nothing", "nobody", "none", "neither", "nor", "without", "cannot"}

Synonyms = Mapping[str, Sequence[str]]
Edit = Callable[[list[str], Random], None]


def edit_words(text: str, draw: Random, synonyms: Synonyms | None = None, share: float = SHARE) -> str:
    """Returns the text after one kind of edit, drawn among those possible, at `share` of its words.

    A text of one word has only its synonyms, and without any stays as it is.
    """
    words = text.split()
    edits: list[Edit] = [_swap, _delete, _repeat] if len(words) > 1 else []
    known = [word for word in words if (synonyms or {}).get(word.lower())]
    if known:
        edits.append(lambda words, draw: _replace(words, draw, synonyms))
    if not edits:
        return text
    edit = draw.choice(edits)
    for _ in range(max(1, round(share * len(words)))):
        edit(words, draw)
    return " ".join(words)


def _swap(words: list[str], draw: Random) -> None:
    first, second = draw.sample(range(len(words)), 2)
    words[first], words[second] = words[second], words[first]


def _delete(words: list[str], draw: Random) -> None:
    places = [place for place, word in enumerate(words) if word.lower() not in NEGATIONS]
    if len(words) > 1 and places:
        del words[draw.choice(places)]


def _repeat(words: list[str], draw: Random) -> None:
    words.insert(draw.randrange(len(words) + 1), draw.choice(words))


def _replace(words: list[str], draw: Random, synonyms: Synonyms) -> None:
    places = [place for place, word in enumerate(words) if synonyms.get(word.lower())]
    if places:
        place = draw.choice(places)
        words[place] = draw.choice(synonyms[words[place].lower()])


def read_synonyms(path: str | Path) -> tuple[dict[str, list[str]], list[str]]:
    """Reads a file with a word and its synonyms a line, separated by tabs; -> (synonyms, notes).

    Words are found in any case. Raises InputError for a file without any.
    """
    synonyms: dict[str, list[str]] = {}
    notes = []
    for number, line in enumerate(io.StringIO(read_text(path)), start=1):
        word, *others = [field.strip() for field in line.rstrip("\r\n").split("\t")]
        others = [other for other in others if other]
        if word and others:
            synonyms.setdefault(word.lower(), []).extend(others)
        elif line.strip():
            notes.append(f"{path}:{number}: no word with synonyms after tabs, left out")
    if not synonyms:
        raise InputError(f"{path} has no synonyms; give a word and its synonyms a line, separated by tabs")
    return synonyms, notes
