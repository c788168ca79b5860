"""The interface by which the stages of the part "model" ask a BERT."""

from typing import Protocol

import numpy as np


class Candidate(Protocol):
    """B sentences, S columns, D hidden size, H heads, K head size; weights are the fixture's, fp32.

    Arrays in, fp64 arrays out, in evaluation mode unless `training`. `mask` is additive, (B, 1, 1, S), 0 or
    -10000, where heads and layers are asked, and (B, S) of 1 and 0 where the whole model is asked. A method
    raises MissingImplementation where an implementation lacks something, and InvalidOutput for an output that
    cannot be compared.
    """

    def embed(self, ids: np.ndarray, training: bool = False) -> np.ndarray:
        """(B, S) -> (B, S, D)"""

    def split(self, hidden: np.ndarray) -> dict[str, np.ndarray]:
        """The first layer's query, key and value of (B, S, D), each (B, H, S, K)."""

    def attention(
        self, key: np.ndarray, query: np.ndarray, value: np.ndarray, mask: np.ndarray, training: bool = False
    ) -> np.ndarray:
        """(B, H, S, K) each -> (B, S, D), or what else is returned."""

    def self_attention(self, hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The first layer's: (B, S, D) -> (B, S, D), heads merged, without the output's linear layer."""

    def add_norm(
        self,
        x: np.ndarray,
        output: np.ndarray,
        dense: tuple[np.ndarray, np.ndarray] | None = None,
        training: bool = False,
    ) -> np.ndarray:
        """norm(x + dropout(dense(output))) as after the first layer's attention; `dense`: weight and bias."""

    def feed_forward(self, hidden: np.ndarray) -> np.ndarray:
        """The first layer where its attention's dense layer gives nothing: (B, S, D) -> (B, S, D)."""

    def layer(self, number: int, hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(B, S, D) -> (B, S, D)"""

    def all_layers(self, embeddings: np.ndarray, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The model's last hidden state, if embedding `ids` gives `embeddings`."""

    def pool(
        self, hidden: np.ndarray, embeddings: np.ndarray, ids: np.ndarray, mask: np.ndarray
    ) -> np.ndarray:
        """The model's pooler output (B, D), if its layers give `hidden`."""

    def forward(self, ids: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        """`last_hidden_state` (B, S, D) and `pooler_output` (B, D)."""

    def gradients(
        self, ids: np.ndarray, mask: np.ndarray, hidden: np.ndarray, pooler: np.ndarray
    ) -> dict[str, np.ndarray]:
        """By transformers' names, of sum(last_hidden_state * hidden) + sum(pooler_output * pooler)."""
