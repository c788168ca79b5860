"""Family: what the files of one family of encoders call things, and the rules in which it differs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """A family as transformers writes its folders.

    `classes` is what the names of its classes begin with, `prefix` what tensor names begin with in a model
    with a head. `modules` maps names of modules in BertModel to those in files, {} for a layer's number.
    `keys` maps fields of BertConfig to keys of config.json where these differ; `absent` are fields that
    config.json does not have, so that they have one value; `defaults` are values of fields that are not
    given, where they are not BertConfig's. With `counts_positions` a token's position is the number of
    tokens other than padding up to it, plus the padding token's id; else it is its column.
    `masked_lm_activation` is that of the masked-language-model head, "hidden_act" for the encoder's own, None
    for a family that has no such head. `sequence_head` names the pooler and the last layer in a model that
    classifies sequences, as `("bert.pooler.dense", "classifier")`; None where that computes something else.
    """

    name: str
    model_type: str
    classes: str
    prefix: str
    modules: Mapping[str, str]
    keys: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ("embedding_size",)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    counts_positions: bool = False
    pooler: bool = True
    masked_lm_activation: str | None = "hidden_act"
    sequence_head: tuple[str, str] | None = None
