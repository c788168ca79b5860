"""Mistakes in a BERT, by the stage at which each of them shows first."""

from collections.abc import Callable
from typing import Any

from minbert.check.mistakes.bert.attention import CALL, MASK, MERGED, SCORES, SOFTMAX, SPLIT, WITHOUT_BIAS
from minbert.check.mistakes.bert.embeddings import EMBEDDINGS
from minbert.check.mistakes.bert.layer import FEED_FORWARD, ONE_LAYER
from minbert.check.mistakes.bert.norms import ADD_NORM, DENSE, LAST_NORM, LAYER_NORM, LAYER_NORMS
from minbert.check.mistakes.bert.signs import SIGNS
from minbert.check.mistakes.bert.training import (
    ATTENTION_DROPOUT,
    EMBEDDING_DROPOUT,
    GRADIENTS,
    SUBLAYER_DROPOUT,
    TRAINING,
)
from minbert.check.mistakes.bert.whole import ALL_LAYERS, PADDING, POOLER
from minbert.check.mistakes.table import Wrong, at, mistakes
from minbert.check.references.bert import Bert
from minbert.check.stage import Mistake, Outputs

TABLES: dict[str, tuple[Wrong, ...]] = {
    "embeddings": EMBEDDINGS + at("embeddings", LAYER_NORM),
    "q/k/v split": SPLIT + WITHOUT_BIAS,
    "scaled scores": SCORES,
    "mask": MASK,
    "softmax": SOFTMAX,
    "merged heads": MERGED,
    "self-attention": CALL,
    "output projection": DENSE,
    "add and norm": at("add and norm", LAYER_NORM) + ADD_NORM,
    "feed-forward": FEED_FORWARD + at("feed-forward", LAST_NORM),
    "one layer": ONE_LAYER,
    "all layers": ALL_LAYERS,
    "pooler": POOLER,
    "padding": PADDING,
    "embedding dropout": EMBEDDING_DROPOUT,
    "attention dropout": ATTENTION_DROPOUT,
    "sublayer dropout": SUBLAYER_DROPOUT,
    "training": TRAINING,
    "gradients": GRADIENTS,
}
TABLES["parameters"] = LAYER_NORMS + tuple(
    row for rows in TABLES.values() for row in rows if "lacks" in row.steps
)


def known_mistakes(
    stage: str, run: Callable[[Any], Outputs], expected: Callable[[], Outputs]
) -> tuple[Mistake, ...]:
    """Returns the mistakes that show first at a stage."""

    def outputs(kind: type[Bert]) -> Outputs:
        found = run(kind())
        return {name: found[name] for name in kind.seen_by or (*expected(), *kind.reads)}

    return (*mistakes(TABLES.get(stage, ()), Bert, outputs), *SIGNS.get(stage, ()))
