"""Groups of texts that are known to mean the same: pairs of positives, joined where they share a text."""

import numpy as np


class Groups:
    """The groups of the texts in `pairs`, (P, 2) hashes of 8 bytes.

    Equal hashes are one text. Texts of a pair share a group, and so do texts that a chain of pairs joins:
    where a matches b and b matches c, a matches c. A group's number is not negative.
    """

    def __init__(self, pairs: np.ndarray):
        self._texts, places = np.unique(pairs, return_inverse=True)
        first, second = places.reshape(-1, 2).T
        roots = np.arange(len(self._texts))
        while True:
            # Each root hangs itself under the smallest root that it shares a pair with, and each text under
            # its root, until nothing changes: rounds grow with the logarithm of the longest chain.
            smaller = np.minimum(roots[first], roots[second])
            hung = roots.copy()
            np.minimum.at(hung, roots[first], smaller)
            np.minimum.at(hung, roots[second], smaller)
            while not np.array_equal(hung, hung[hung]):
                hung = hung[hung]
            if np.array_equal(hung, roots):
                break
            roots = hung
        self._numbers = roots

    def of(self, texts: np.ndarray) -> np.ndarray:
        """Returns the group of each text, of any shape; -1 for one that is in no pair."""
        if not len(self._texts):
            return np.full(texts.shape, -1)
        places = np.searchsorted(self._texts, texts).clip(max=len(self._texts) - 1)
        return np.where(self._texts[places] == texts, self._numbers[places], -1)
