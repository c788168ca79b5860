"""Groups of texts that are known to mean the same: pairs of positives, joined where they share a text."""

from collections.abc import Iterable


def find_groups(pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Maps each text of the pairs to the number of its group, counted from 0 in the order of appearance.

    Equal strings are one text. Texts of a pair share a group, and so do texts that a chain of pairs joins:
    where a matches b and b matches c, a matches c (union-find, Tarjan 1975).
    """
    parents: dict[str, str] = {}
    for first, second in pairs:
        for text in (first, second):
            parents.setdefault(text, text)
        parents[_root(parents, second)] = _root(parents, first)
    numbers: dict[str, int] = {}
    return {text: numbers.setdefault(_root(parents, text), len(numbers)) for text in parents}


def _root(parents: dict[str, str], text: str) -> str:
    """Returns the text that stands for the group; hangs each text on the way under its grandparent."""
    while parents[text] != text:
        parents[text] = parents[parents[text]]
        text = parents[text]
    return text
