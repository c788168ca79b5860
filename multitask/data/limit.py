"""Limit: a random part of a split, the same for each run, seed, command and process.

Which rows are kept is a function of their number and of the content of the files alone. Of labels that are
classes each has its share, by largest remainder, and at least one row where there are enough rows for all.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from multitask.data.readers import Example, Examples


class Limit:
    """At most `count` rows of the split whose files have the hash `content`."""

    def __init__(self, count: int, content: str):
        self.count = count
        self.content = content

    def taker(self, examples: Examples) -> Callable[[Example], bool]:
        """Returns a function that says whether a row is kept; it is called for each usable row, in order.

        Reads the files once, to count their rows. Holds 8 bytes for each row that is kept.
        """
        total, counts = _counted(examples)
        if total <= self.count:
            return lambda row: True
        by_class = counts is not None
        groups = counts if by_class else {None: total}
        chosen = {
            label: self._drawn(label, groups[label], kept) for label, kept in shares(groups, self.count)
        }
        seen = dict.fromkeys(groups, 0)
        found = dict.fromkeys(groups, 0)

        def takes(row: Example) -> bool:
            label = row.label if by_class else None
            number, places, next_one = seen[label], chosen[label], found[label]
            seen[label] = number + 1
            if next_one == len(places) or places[next_one] != number:
                return False
            found[label] = next_one + 1
            return True

        return takes

    def kept(self, examples: Examples) -> Iterator[Example]:
        """Yields the rows that are kept."""
        takes = self.taker(examples)
        return (row for row in examples.rows if takes(row))

    def _drawn(self, label: Any, count: int, kept: int) -> np.ndarray:
        """Returns which of a class's rows are kept, ascending."""
        draw = random.Random(f"{self.content} {self.count} {label}")
        return np.array(sorted(draw.sample(range(count), kept)), np.int64)


def _counted(examples: Examples) -> tuple[int, Counter | None]:
    """Returns the number of usable rows, and how many have each class; None where labels are not classes."""
    if examples.source is not None:
        rows, _, labels = examples.source.summary
    else:
        rows, labels = len(examples.rows), Counter(row.label for row in examples.rows)
    classes = labels.total() == rows and all(isinstance(label, int | str) for label in labels)
    return rows, labels if classes else None


def shares(counts: Mapping[Any, int], limit: int) -> list[tuple[Any, int]]:
    """Divides `limit` rows among classes with these counts, whose sum is larger: largest remainder.

    A class without a row gets one from the class with the most, where `limit` is at least the number of
    classes.
    """
    total = sum(counts.values())
    names = sorted(counts, key=str)
    kept = {name: limit * counts[name] // total for name in names}
    remainders = sorted(names, key=lambda name: -(limit * counts[name] % total))  # stable: then by name
    for name in remainders[: limit - sum(kept.values())]:
        kept[name] += 1
    if limit >= len(names):
        for name in names:
            if not kept[name]:
                kept[max(names, key=kept.__getitem__)] -= 1
                kept[name] = 1
    return list(kept.items())
