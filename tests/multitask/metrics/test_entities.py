"""Entities from tags: cases by hand, then all short sequences and every scheme beside seqeval."""

import warnings
from itertools import product
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
        # BIOES and BILOU: the end and the single word are marked.
        ("B-PER E-PER S-PER O", "B-PER I-PER B-PER O", [("PER", 0, 2), ("PER", 2, 3)]),
        ("B-PER I-PER L-PER U-LOC", "B-PER I-PER I-PER B-LOC", [("PER", 0, 3), ("LOC", 3, 4)]),
    ],
)
def test_schemes_by_hand(tags, iob2, spans):
    tags = tags.split()
    assert to_iob2(tags) == tuple(iob2.split())
    assert entity_spans(tags) == [Entity(*span) for span in spans]


@pytest.mark.parametrize("tag", ["", "PER", "B", "B-", "M-PER", "PER-B", "b-PER", "0"])
def test_tags_of_another_scheme_are_refused(tag):
    assert not is_entity_tag(tag)
    with pytest.raises(InputError, match=f"the tag '{tag}' is not O or a type behind B-, I-, E- or S-"):
        entity_spans(["O", tag])


def in_scheme(spans: list[Entity], length: int, scheme: str) -> list[str]:
    """Tags of spans that do not overlap, by the definition of a scheme."""
    tags, ends = ["O"] * length, {span.end: span.type for span in spans}
    starts = {span.start: span.type for span in spans}
    for type, start, end in spans:
        marks = ["I"] * (end - start)
        if scheme in ("IOB2", "IOBES", "BILOU") or (scheme == "IOB1" and ends.get(start) == type):
            marks[0] = "B"
        if scheme in ("IOE2", "IOBES", "BILOU") or (scheme == "IOE1" and starts.get(end) == type):
            marks[-1] = "L" if scheme == "BILOU" else "E"
        if end - start == 1 and scheme in ("IOBES", "BILOU"):
            marks[0] = "U" if scheme == "BILOU" else "S"
        tags[start:end] = [f"{mark}-{type}" for mark in marks]
    return tags


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOE1", "IOE2", "IOBES", "BILOU"])
def test_every_scheme_of_seqeval_gives_its_entities(scheme):
    """Random spans, side by side and of equal types, as seqeval's strict mode finds them."""
    seqeval = pytest.importorskip("seqeval.scheme")
    random = Random(scheme)
    for _ in range(300):
        spans, start = [], 0
        while (start := start + random.choice([0, 0, 1, 2])) < 12:
            end = min(12, start + random.choice([1, 1, 2, 3]))
            spans.append(Entity(random.choice(["PER", "LOC-x"]), start, end))
            start = end
        tags = in_scheme(spans, 12, scheme)
        assert entity_spans(tags) == spans and to_iob2(tags) == tuple(in_scheme(spans, 12, "IOB2"))
        if scheme != "IOE1":  # in which seqeval itself misses some, as its source says
            (found,) = seqeval.Entities([tags], getattr(seqeval, scheme)).entities
            assert [(e.tag, e.start, e.end) for e in found] == spans


def test_all_sequences_of_four_tags_are_read_as_seqeval_reads_them():
    """Default mode, which knows B, I, E and S, valid or not."""
    get_entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    tags = ["O", *(f"{mark}-{type}" for type in ("X", "Y") for mark in "BIES")]
    for row in product(tags, repeat=4):
        assert [(e.type, e.start, e.end - 1) for e in entity_spans(row)] == get_entities(list(row)), row


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
        converted = to_iob2(row)
        assert entity_spans(converted) == spans and to_iob2(converted) == converted
        assert sum(tag[0] == "B" for tag in converted) == len(spans)
