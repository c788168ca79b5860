"""The interface by which the stages of the part "model" ask a BERT."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from minbert.check.stage import Array, Arrays


class Candidate(Protocol):
    """B sentences, S columns, D hidden size, H heads, K head size; weights are the fixture's, fp32.

    Arrays in, fp64 arrays out, in evaluation mode unless `training`. `mask` is additive, (B, 1, 1, S), 0 or
    -10000, where heads and layers are asked, and (B, S) of 1 and 0 where the whole model is asked. A method
    raises MissingImplementation where an implementation lacks something, and InvalidOutput for an output that
    cannot be compared.
    """

    def embed(self, ids: Array, training: bool = False) -> Array:
        """(B, S) -> (B, S, D)"""

    def split(self, hidden: Array) -> Arrays:
        """The first layer's query, key and value of (B, S, D), each (B, H, S, K)."""

    def attention(self, key: Array, query: Array, value: Array, mask: Array, training: bool = False) -> Array:
        """(B, H, S, K) each -> (B, S, D), or what else is returned."""

    def self_attention(self, hidden: Array, mask: Array) -> Array:
        """The first layer's: (B, S, D) -> (B, S, D), heads merged, without the output's linear layer."""

    def add_norm(
        self, x: Array, output: Array, dense: tuple[Array, Array] | None = None, training: bool = False
    ) -> Array:
        """norm(x + dropout(dense(output))) as after the first layer's attention; `dense`: weight and bias."""

    def feed_forward(self, hidden: Array) -> Array:
        """The first layer where its attention's dense layer gives nothing: (B, S, D) -> (B, S, D)."""

    def layer(self, number: int, hidden: Array, mask: Array) -> Array:
        """(B, S, D) -> (B, S, D)"""

    def all_layers(self, embeddings: Array, ids: Array, mask: Array) -> Array:
        """The model's last hidden state, if embedding `ids` gives `embeddings`."""

    def pool(self, hidden: Array, embeddings: Array, ids: Array, mask: Array) -> Array:
        """The model's pooler output (B, D), if its layers give `hidden`."""

    def forward(self, ids: Array, mask: Array) -> Arrays:
        """`last_hidden_state` (B, S, D) and `pooler_output` (B, D)."""

    def layer_in_training(self, hidden: Array, mask: Array) -> Array:
        """The first layer's output, as `layer` gives it, in training."""

    def forward_in_training(self, ids: Array, mask: Array) -> Arrays:
        """Computes the outputs of `forward` in training."""

    def has_parameter(self) -> dict[str, bool]:
        """The course's names of the model's weights -> whether there is such a parameter."""

    def changed_weights(self, ids: Array, mask: Array) -> Array:
        """The number of parameters that have other values after `forward` than before it."""

    def with_dropout(self, draws: Callable[[tuple[int, ...]], Array] | None) -> AbstractContextManager:
        """Calls in which dropout drops where `draws` of a shape are below the rate, or with None nothing."""

    def gradients(self, ids: Array, mask: Array, hidden: Array, pooler: Array) -> Arrays:
        """By transformers' names, of sum(last_hidden_state * hidden) + sum(pooler_output * pooler)."""
