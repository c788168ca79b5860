"""Entities in sequences of tags: spans, and precision, recall and F1 over whole entities.

One rule reads IOB1, IOB2, IOE1, IOE2, BIOES and BILOU: an entity of type X begins at B-X and S-X, and at an
I-X or E-X that does not continue one of type X; it goes on through the I-X that follow, and ends with E-X and
S-X. L- and U- are other names of E- and S-. In IOB2 every entity begins with B-; in IOB1 only one that stands
directly behind another of its type; a model may also predict an I-X on its own. This is how CoNLL's own
scorer and seqeval's default mode read tags, so the scores are theirs.
"""

from collections.abc import Sequence
from typing import NamedTuple

from minbert import InputError

SCHEMES = "a type behind B-, I-, E- or S- (IOB1, IOB2, IOE1, IOE2, BIOES), or L- and U- (BILOU)"


class Entity(NamedTuple):
    """Words `start` to before `end` of a sequence, counted from 0."""

    type: str
    start: int
    end: int


def is_entity_tag(tag: str) -> bool:
    """Returns True for O, and for a type behind one of B-, I-, E-, S-, L-, U-."""
    return tag == "O" or (len(tag) > 2 and tag[0] in "BIESLU" and tag[1] == "-")


def to_iob2(tags: Sequence[str]) -> tuple[str, ...]:
    """Converts tags to IOB2, with a B- at the first word of each entity; valid IOB2 stays as it is.

    Raises InputError for a tag of none of the schemes.
    """
    converted, before = [], "O"
    for tag in tags:
        if not is_entity_tag(tag):
            raise InputError(f"the tag {tag!r} is not O or {SCHEMES}")
        inside = tag[0] in "IEL" and before[0] in "BI" and before[2:] == tag[2:]
        converted.append(tag if tag == "O" else f"{'I' if inside else 'B'}-{tag[2:]}")
        before = tag
    return tuple(converted)


def entity_spans(tags: Sequence[str]) -> list[Entity]:
    """Returns the entities of a sequence, in their order."""
    spans: list[Entity] = []
    for position, tag in enumerate(to_iob2(tags)):
        if tag[0] == "B":
            spans.append(Entity(tag[2:], position, position + 1))
        elif tag[0] == "I":
            spans[-1] = spans[-1]._replace(end=position + 1)
    return spans


def entity_scores(predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> dict[str, float]:
    """`precision`, `recall` and `f1` over all entities (micro average); a quotient without cases is 0.

    An entity counts as found where type, first and last word are right. Raises InputError for sequences of
    unequal length.
    """
    if len(predictions) != len(labels):
        raise InputError(f"{len(predictions)} predictions, {len(labels)} labels; give one label a prediction")
    predicted = true = found = 0
    for number, (ours, theirs) in enumerate(zip(predictions, labels, strict=True)):
        if len(ours) != len(theirs):
            raise InputError(
                f"sequence {number} has {len(ours)} predicted tags and {len(theirs)} true ones; give a tag a "
                f"word"
            )
        one, other = set(entity_spans(ours)), set(entity_spans(theirs))
        predicted += len(one)
        true += len(other)
        found += len(one & other)
    return {
        "precision": found / predicted if predicted else 0.0,
        "recall": found / true if true else 0.0,
        "f1": 2 * found / (predicted + true) if predicted + true else 0.0,
    }
