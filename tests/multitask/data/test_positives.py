"""Groups of known positives: small cases by hand, and against a search of the graph."""

import random

from multitask.data.positives import find_groups


def test_chains_are_one_group_numbered_in_order_of_appearance():
    assert find_groups([]) == {}
    texts = [str(i) for i in range(20_000)]  # joined from its far end
    assert set(find_groups(zip(texts[-2::-1], texts[:0:-1], strict=True)).values()) == {0}
    groups = find_groups(
        [("a", "b"), ("c", "d"), ("e", "f"), ("d", "b"), ("g", "e"), ("x", "x"), ("x ", "y")]
    )
    assert groups == {"a": 0, "b": 0, "c": 0, "d": 0, "e": 1, "f": 1, "g": 1, "x": 2, "x ": 3, "y": 3}


def test_random_pairs_against_a_search_of_the_graph():
    draw = random.Random(3)
    pairs = [(str(draw.randrange(60)), str(draw.randrange(60))) for _ in range(40)]
    reached = {text: {text} for pair in pairs for text in pair}
    for _ in reached:  # as often as a path can be long
        for first, second in pairs:
            reached[first] = reached[second] = reached[first] | reached[second]
    groups = find_groups(iter(pairs))
    assert set(groups) == set(reached)
    for text in reached:
        assert {other for other in groups if groups[other] == groups[text]} == reached[text]
