"""The gradients of all weights by hand, from the output back, for graphs that are whole or cut."""

import math

import numpy as np

from minbert.check.stage import Array, Arrays


class Backward:
    """The chain rule through the right formulas of a BERT; at the points in `bert.cut` gradients end.

    The points are named query, key, value, probabilities, context, attention output, attention residual,
    activation, feed-forward output, feed-forward residual, layers (between two), encoder (after the last),
    pooler, pooler output, embeddings, word embeddings, position embeddings and token_type embeddings.
    """

    def __init__(self, bert):
        self.bert = bert
        self.weights: Arrays = bert.weights
        self.found = {name: np.zeros_like(value) for name, value in self.weights.items()}

    def run(self, ids: Array, mask: Array, hidden_direction: Array, pooler_direction: Array) -> Arrays:
        """Of sum(last_hidden_state * hidden_direction) + sum(pooler_output * pooler_direction)."""
        bert = self.bert
        extended, count = bert.extended(mask), bert.config["num_hidden_layers"]
        total = bert.embedding_sum(ids)
        states = [bert.embedding_norm(total)]
        for number in range(count):
            states.append(bert.layer(number, states[-1], extended))
        gradient = np.array(hidden_direction, dtype=np.float64)
        first = states[-1][:, 0]
        slope = 1 - np.tanh(bert.linear(first, "pooler.dense")) ** 2
        pooler = self.until("pooler output", pooler_direction * slope)
        gradient[:, 0] += self.until("pooler", self.linear(pooler, first, "pooler.dense"))
        gradient = self.until("encoder", gradient)
        for number in reversed(range(count)):
            gradient = self.layer(gradient, states[number], extended, number)
            gradient = self.until("layers", gradient) if number else gradient
        gradient = self.norm(self.until("embeddings", gradient), total, "embeddings.LayerNorm")
        self.embeddings(gradient, ids)
        return self.found

    def until(self, point: str, gradient: Array) -> Array:
        return np.zeros_like(gradient) if point in self.bert.cut else gradient

    def embeddings(self, gradient: Array, ids: Array) -> None:
        bert = self.bert
        indices = {"word": ids, "position": bert.positions(ids), "token_type": bert.token_types(ids)}
        for kind, index in indices.items():
            table = self.found[f"embeddings.{kind}_embeddings.weight"]
            np.add.at(table, index, self.until(f"{kind} embeddings", gradient))

    def layer(self, gradient: Array, hidden: Array, mask: Array, number: int) -> Array:
        bert, name = self.bert, f"encoder.layer.{number}"
        attended = bert.self_attention(hidden, mask, number)
        output = f"{name}.attention.output"
        attention_sum = hidden + bert.linear(attended, f"{output}.dense")
        middle = bert.layer_norm(attention_sum, f"{output}.LayerNorm")
        wide = bert.linear(middle, f"{name}.intermediate.dense")
        active = bert.activation(wide)
        layer_sum = middle + bert.linear(active, f"{name}.output.dense")

        gradient = self.norm(gradient, layer_sum, f"{name}.output.LayerNorm")
        inner = self.until("feed-forward output", gradient)
        inner = self.linear(inner, active, f"{name}.output.dense")
        inner = self.until("activation", inner) * self.gelu_slope(wide)
        inner = self.linear(inner, middle, f"{name}.intermediate.dense")
        gradient = self.until("feed-forward residual", gradient) + inner

        gradient = self.norm(gradient, attention_sum, f"{output}.LayerNorm")
        inner = self.linear(self.until("attention output", gradient), attended, f"{output}.dense")
        inner = self.attention(self.until("context", inner), hidden, mask, number)
        return self.until("attention residual", gradient) + inner

    def attention(self, gradient: Array, hidden: Array, mask: Array, number: int) -> Array:
        bert = self.bert
        key, query, value = bert.project(hidden, number)
        probabilities = bert.probabilities(query, key, mask)
        gradient = bert.split_heads(gradient)  # (B, H, S, K)
        inner = self.until("probabilities", np.einsum("bhik,bhjk->bhij", gradient, value))
        inner = probabilities * (inner - (inner * probabilities).sum(axis=-1, keepdims=True))
        inner = inner / math.sqrt(query.shape[-1])
        gradients = {
            "query": np.einsum("bhij,bhjk->bhik", inner, key),
            "key": np.einsum("bhij,bhik->bhjk", inner, query),
            "value": np.einsum("bhij,bhik->bhjk", probabilities, gradient),
        }
        start = f"encoder.layer.{number}.attention.self"
        return sum(
            self.linear(self.until(name, bert.merge_heads(part)), hidden, f"{start}.{name}")
            for name, part in gradients.items()
        )

    def linear(self, gradient: Array, x: Array, name: str) -> Array:
        """The gradient (..., O) of x W^T + b -> that of x (..., I)."""
        rows = gradient.reshape(-1, gradient.shape[-1])
        self.found[f"{name}.weight"] += rows.T @ x.reshape(-1, x.shape[-1])
        self.found[f"{name}.bias"] += rows.sum(axis=0)
        return gradient @ self.weights[f"{name}.weight"]

    def norm(self, gradient: Array, x: Array, name: str) -> Array:
        """The gradient (B, S, D) of a layer norm -> that of its input x."""
        bert = self.bert
        standard = bert.standardized(x)
        self.found[f"{name}.weight"] += (gradient * standard).sum(axis=(0, 1))
        self.found[f"{name}.bias"] += gradient.sum(axis=(0, 1))
        inner = gradient * self.weights[f"{name}.weight"]
        across = inner.mean(axis=-1, keepdims=True)
        along = standard * (inner * standard).mean(axis=-1, keepdims=True)
        return (inner - across - along) / bert.deviation(bert.variance(x))

    def gelu_slope(self, x: Array) -> Array:
        """Phi(x) + x phi(x)"""
        density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        return self.bert.normal_distribution(x) + x * density
