"""The catalogue of mistakes in a BERT, by the stage at which each of them shows first."""

from collections.abc import Callable
from typing import Any

from minbert.check.mistakes.bert import (
    add_norm,
    dropout,
    embeddings,
    gradients,
    heads,
    layer,
    layer_norm,
    mask,
    pooler,
    scores,
    self_attention,
    softmax,
    whole,
)
from minbert.check.mistakes.bert.mistaken import Mistaken, as_mistake, at_stage, mistaken_in
from minbert.check.mistakes.bert.signs import SIGNS
from minbert.check.stage import Mistake, Outputs

MODULES = (
    embeddings,
    layer_norm,
    heads,
    scores,
    mask,
    softmax,
    self_attention,
    add_norm,
    layer,
    whole,
    pooler,
    dropout,
    gradients,
)
CATALOGUE: tuple[type[Mistaken], ...] = tuple(found for module in MODULES for found in mistaken_in(module))


def known_mistakes(
    stage: str, run: Callable[[Any], Outputs], expected: Callable[[], Outputs]
) -> tuple[Mistake, ...]:
    """The mistakes that show first at a stage."""
    foretold = [as_mistake(mistaken, stage, run, expected) for mistaken in at_stage(CATALOGUE, stage)]
    return (*foretold, *SIGNS.get(stage, ()))
