"""Groups of known positives: small cases by hand, and against a search of the graph."""

import random

import numpy as np

from multitask.data.positives import Groups
from multitask.data.readers import hash_texts


def groups_of(pairs) -> dict[str, int]:
    """The group of each text of the pairs."""
    hashes = np.array([hash_texts(pair) for pair in pairs], np.uint64).reshape(-1, 2)
    texts = [*dict.fromkeys(text for pair in pairs for text in pair)]
    found = Groups(hashes).of(np.array(hash_texts(texts), np.uint64))
    return dict(zip(texts, found.tolist(), strict=True))


def partition(groups: dict[str, int]) -> set[frozenset[str]]:
    return {frozenset(text for text in groups if groups[text] == group) for group in groups.values()}


def test_chains_are_one_group_and_other_texts_have_none():
    assert groups_of([]) == {}
    texts = [str(i) for i in range(20_000)]  # joined from its far end
    assert len({*groups_of([*zip(texts[-2::-1], texts[:0:-1], strict=True)]).values()}) == 1
    pairs = [("a", "b"), ("c", "d"), ("e", "f"), ("d", "b"), ("g", "e"), ("x", "x"), ("x ", "y")]
    groups = groups_of(pairs)
    assert partition(groups) == {frozenset("abcd"), frozenset("efg"), frozenset("x"), frozenset(["x ", "y"])}
    found = Groups(np.array([hash_texts(pair) for pair in pairs], np.uint64))
    of = found.of(np.array([hash_texts(("a", "absent"))], np.uint64))
    assert min(groups.values()) >= 0 and of.tolist() == [[groups["a"], -1]]


def test_random_pairs_against_a_search_of_the_graph():
    for seed in range(20):
        draw = random.Random(seed)
        pairs = [(str(draw.randrange(60)), str(draw.randrange(60))) for _ in range(40)]
        reached = {text: {text} for pair in pairs for text in pair}
        for _ in reached:  # as often as a path can be long
            for first, second in pairs:
                reached[first] = reached[second] = reached[first] | reached[second]
        assert partition(groups_of(pairs)) == {frozenset(texts) for texts in reached.values()}
