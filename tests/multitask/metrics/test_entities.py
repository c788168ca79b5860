"""Entities from tags: cases by hand, then random sequences, valid or not, beside seqeval."""

import warnings
from random import Random

import pytest

from minbert import InputError
from multitask.metrics.entities import Entity, entity_scores, entity_spans, is_entity_tag, to_iob2


@pytest.mark.parametrize(
    ("tags", "iob2", "spans"),
    [
        ("", "", []),
        ("O O", "O O", []),
        ("B-PER I-PER O B-LOC", "B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        # IOB1: an entity begins with I-, with B- only behind another of its type.
        ("I-PER I-PER O I-LOC", "B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("I-ORG B-ORG I-ORG", "B-ORG B-ORG I-ORG", [("ORG", 0, 1), ("ORG", 1, 3)]),
        ("I-ORG I-PER B-PER O", "B-ORG B-PER B-PER O", [("ORG", 0, 1), ("PER", 1, 2), ("PER", 2, 3)]),
        # What a model may say: I-X behind another type begins an entity, and does not stretch the other one.
        ("B-PER I-LOC I-LOC", "B-PER B-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("B-PER O I-PER", "B-PER O B-PER", [("PER", 0, 1), ("PER", 2, 3)]),
        ("B-GPE-x I-GPE-x I-GPE", "B-GPE-x I-GPE-x B-GPE", [("GPE-x", 0, 2), ("GPE", 2, 3)]),
    ],
)
def test_both_schemes_by_hand(tags, iob2, spans):
    tags = tags.split()
    assert to_iob2(tags) == tuple(iob2.split())
    assert entity_spans(tags) == [Entity(*span) for span in spans]


@pytest.mark.parametrize("tag", ["", "PER", "B", "B-", "E-PER", "S-PER", "b-PER", "0"])
def test_tags_of_another_scheme_are_refused(tag):
    assert not is_entity_tag(tag)
    with pytest.raises(InputError, match=f"the tag '{tag}' is not O, B-type or I-type"):
        entity_spans(["O", tag])


def test_scores_by_hand():
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "I-ORG", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "O", "O"]]
    # Of three predicted and three true entities only the person is right: type and both ends.
    assert entity_scores(predicted, true) == {"precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3}
    # An entity never runs over the end of a sentence.
    assert entity_scores([["B-PER"], ["I-PER"]], [["B-PER"], ["B-PER"]])["f1"] == 1
    assert entity_scores([["B-PER", "I-PER"]], [["B-PER", "B-PER"]])["f1"] == 0


def test_nothing_to_find_gives_zeros():
    zeros = {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert entity_scores([["O"]], [["O"]]) == zeros == entity_scores([], [])
    assert entity_scores([["B-X"]], [["O"]]) == zeros


def test_unequal_lengths_are_refused():
    with pytest.raises(InputError, match="sequence 1 has 1 predicted tags and 2 true ones"):
        entity_scores([["O"], ["O"]], [["O"], ["O", "O"]])
    with pytest.raises(InputError, match="1 predictions, 2 labels"):
        entity_scores([["O"]], [["O"], ["O"]])


@pytest.mark.parametrize("seed", range(12))
def test_scores_are_those_of_seqeval(seed):
    """Default mode. Few types and few O give many broken sequences and many entities side by side."""
    metrics = pytest.importorskip("seqeval.metrics")
    get_entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    random = Random(seed)
    types = ["PER", "LOC", "ORG-x"][: 1 + seed % 3]
    tags = ["O", *(f"{mark}-{type}" for type in types for mark in "BI")]
    true = [random.choices(tags, k=random.randrange(1, 12)) for _ in range(20)]
    # Predictions that are often right: true tags with some drawn anew.
    predicted = [[random.choice(tags) if random.random() < 0.3 else tag for tag in row] for row in true]
    ours = entity_scores(predicted, true)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of quotients without cases
        for name, score in (
            ("precision", metrics.precision_score),
            ("recall", metrics.recall_score),
            ("f1", metrics.f1_score),
        ):
            assert ours[name] == pytest.approx(score(true, predicted), abs=1e-12)
    assert 0.1 < ours["f1"] < 1
    for row in true:
        spans = entity_spans(row)
        assert [(e.type, e.start, e.end - 1) for e in spans] == get_entities(row)
        converted = to_iob2(row)
        assert entity_spans(converted) == spans and to_iob2(converted) == converted
        assert sum(tag[0] == "B" for tag in converted) == len(spans)
