"""Groups of known positives: chains, equal strings, the order of pairs, and against a search of the graph."""

import random

from multitask.data.positives import find_groups


def test_no_pairs():
    assert find_groups([]) == {}


def test_pairs_that_share_nothing():
    assert find_groups([("a", "b"), ("c", "d")]) == {"a": 0, "b": 0, "c": 1, "d": 1}


def test_a_chain_is_one_group():
    groups = find_groups([("a", "b"), ("c", "d"), ("e", "f"), ("d", "b"), ("g", "e")])
    assert groups == {"a": 0, "b": 0, "c": 0, "d": 0, "e": 1, "f": 1, "g": 1}


def test_equal_strings_are_one_text():
    assert find_groups([("a", "b"), ("a", "c"), ("x", "x")]) == {"a": 0, "b": 0, "c": 0, "x": 1}
    assert find_groups([("a ", "b"), ("a", "c")])["a "] != find_groups([("a ", "b"), ("a", "c")])["a"]


def test_numbers_count_from_zero_in_the_order_of_appearance():
    pairs = [("n", "m"), ("z", "y"), ("m", "k"), ("b", "a")]
    assert list(dict.fromkeys(find_groups(pairs).values())) == [0, 1, 2]
    assert find_groups(pairs)["n"] == 0 and find_groups(pairs)["b"] == 2


def test_a_long_chain_joined_from_its_far_end():
    texts = [str(i) for i in range(20_000)]
    groups = find_groups(zip(texts[-2::-1], texts[:0:-1], strict=True))
    assert set(groups.values()) == {0} and len(groups) == len(texts)


def test_random_pairs_against_a_search_of_the_graph():
    draw = random.Random(3)
    pairs = [(str(draw.randrange(60)), str(draw.randrange(60))) for _ in range(40)]
    neighbours = {}
    for first, second in pairs:
        neighbours.setdefault(first, set()).add(second)
        neighbours.setdefault(second, set()).add(first)
    groups = find_groups(iter(pairs))
    assert set(groups) == set(neighbours)
    for text in neighbours:
        seen, waiting = {text}, [text]
        while waiting:
            new = neighbours[waiting.pop()] - seen
            seen |= new
            waiting += new
        assert {other for other in groups if groups[other] == groups[text]} == seen
