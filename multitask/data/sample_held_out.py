"""Which combinations of words belong to the test split of the sample corpus, and how they are drawn.

A word is known by its position in its list. Every fourth combination is the test's: each single word
still meets most of its partners in training, so that only the combination is new.
"""

from collections.abc import Sequence
from random import Random

EVERY = 4


def is_held_out(first: int, second: int) -> bool:
    """Whether the words at these positions of their lists stand together in the test split only."""
    return (first + second) % EVERY == 0


def draw_positions(random: Random, first: Sequence, second: Sequence, held_out: bool) -> tuple[int, int]:
    """Two positions, one in each list; the same position is never drawn twice from one list."""
    while True:
        one, other = random.randrange(len(first)), random.randrange(len(second))
        if (first is not second or one != other) and is_held_out(one, other) == held_out:
            return one, other
