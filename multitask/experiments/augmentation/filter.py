"""Which new texts are too close to texts that are there: copies of train, and leaks from dev and test.

Closeness is the Jaccard index of two texts' sets of word pairs, `(w1, w2), (w2, w3), ...` with a mark at
both ends: what they share by what they have together. Of a sentence of 20 words with one word replaced it is
0.83, with three words here and there 0.56; texts of the same words, case and punctuation aside, have 1.
All pairs are looked at by an index of word pairs, so nothing near is overlooked. No torch here.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from multitask.data.doctor import word_key

NEAR = 0.5  # from here on a text counts as a copy


class NearTexts:
    """Texts by their word pairs; `nearest` finds the closest of them."""

    def __init__(self, texts: Iterable[str] = ()):
        self._sizes: list[int] = []  # the number of word pairs of each text
        self._places: dict[tuple[str, str], list[int]] = defaultdict(list)  # word pair -> texts that have it
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        pairs = word_pairs(text)
        for pair in pairs:
            self._places[pair].append(len(self._sizes))
        self._sizes.append(len(pairs))

    def nearest(self, text: str) -> float:
        """The closeness of the closest text, from 0 to 1."""
        pairs = word_pairs(text)
        shared = Counter(place for pair in pairs for place in self._places.get(pair, ()))
        return max(
            (count / (len(pairs) + self._sizes[place] - count) for place, count in shared.items()),
            default=0.0,
        )


def word_pairs(text: str) -> set[tuple[str, str]]:
    """A text's pairs of neighbouring words, its beginning and end marked by empty words."""
    words = ["", *word_key(text).split(), ""]
    return set(zip(words, words[1:], strict=False))
