"""A BERT in numpy fp64 with a method for each step, so that a mistake can be written as another such step.

Vaswani et al. 2017 (section 3), Ba et al. 2016 (layer norm), Hendrycks and Gimpel 2016 (GELU), Devlin et al.
2018. B sentences, S columns, D hidden size, H heads, K = D / H head size. The methods under "what is checked"
are those of `Candidate`, so that the stages run on this model as on a student's.
"""

import copy
import math
from collections.abc import Iterable
from functools import cache

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.references.bert_gradients import Arrays, Backward

# Far from each other and from 0, so that it shows which of them is used.
RATES = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.25}
MASKED = -10000.0  # added to the scores at padding
FIRST_HALF = ("attention.output.dense", "attention.output.LayerNorm")  # a layer's dense layer and norm
SECOND_HALF = ("output.dense", "output.LayerNorm")

erf = np.vectorize(math.erf, otypes=[np.float64])


def model_config() -> dict:
    """The content of the fixture's config.json, with the rates of dropout that the kit checks."""
    return model_fixture("model")[1]["config"] | RATES


@cache
def model_weights() -> Arrays:
    """The fixture's weights by transformers' names, fp32."""
    tensors, _ = model_fixture("model")
    start = "weights."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


class Bert:
    """The right steps. A mistake is a subclass that overrides one of them.

    `weights` have transformers' names; without them, weights and `config` are the fixture's.
    """

    cut: frozenset[str] = frozenset()  # where gradients end, see Backward
    reads: tuple[str, ...] = ()  # outputs of a stage that are not compared but tell this mistake from another

    def __init__(self, weights: Arrays | None = None, config: dict | None = None):
        self.config = model_config() if config is None else config
        weights = model_weights() if weights is None else weights
        self.weights = {name: value.astype(np.float64) for name, value in weights.items()}
        self.heads = self.config["num_attention_heads"]
        self.hidden_size = self.config["hidden_size"]
        self.count = self.config["num_hidden_layers"]
        self.hidden_rate = self.config["hidden_dropout_prob"]
        self.attention_rate = self.config["attention_probs_dropout_prob"]
        self.random = np.random.default_rng(0)

    def changed(self, weights: Arrays) -> "Bert":
        """The same model with some other weights."""
        other = copy.copy(self)
        other.weights = self.weights | weights
        return other

    # Steps that all parts use.

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        """x W^T + b: (..., I) -> (..., O)"""
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def layer_norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return self.standardized(x) * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def standardized(self, x: np.ndarray) -> np.ndarray:
        """(x - mean) / sqrt(variance + epsilon) over the last axis."""
        return (x - x.mean(axis=-1, keepdims=True)) / self.deviation(self.variance(x))

    def variance(self, x: np.ndarray) -> np.ndarray:
        return x.var(axis=-1, keepdims=True)

    def deviation(self, variance: np.ndarray) -> np.ndarray:
        return np.sqrt(variance + self.config["layer_norm_eps"])

    def dropped(self, x: np.ndarray, rate: float, scaled: bool = True) -> np.ndarray:
        """Each element 0 with probability `rate`, the others divided by 1 - rate."""
        return np.where(self.random.random(x.shape) < rate, 0.0, x / (1 - rate) if scaled else x)

    def embedding_dropout(self, x: np.ndarray) -> np.ndarray:
        return self.dropped(x, self.hidden_rate)

    def attention_dropout(self, x: np.ndarray) -> np.ndarray:
        return self.dropped(x, self.attention_rate)

    def sublayer_dropout(self, x: np.ndarray, training: bool) -> np.ndarray:
        return self.dropped(x, self.hidden_rate) if training else x

    # Embeddings: ids (B, S) -> (B, S, D).

    def is_padding(self, ids: np.ndarray) -> np.ndarray:
        return ids == self.config["pad_token_id"]

    def positions(self, ids: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.arange(ids.shape[1]), ids.shape)

    def token_types(self, ids: np.ndarray) -> np.ndarray:
        return np.zeros_like(ids)

    def word_embeddings(self, ids: np.ndarray) -> np.ndarray:
        return self.weights["embeddings.word_embeddings.weight"][ids]

    def position_embeddings(self, ids: np.ndarray) -> np.ndarray:
        return self.weights["embeddings.position_embeddings.weight"][self.positions(ids)]

    def token_type_embeddings(self, ids: np.ndarray) -> np.ndarray:
        return self.weights["embeddings.token_type_embeddings.weight"][self.token_types(ids)]

    def embedding_sum(self, ids: np.ndarray) -> np.ndarray:
        return self.word_embeddings(ids) + self.position_embeddings(ids) + self.token_type_embeddings(ids)

    def embedding_norm(self, total: np.ndarray) -> np.ndarray:
        return self.layer_norm(total, "embeddings.LayerNorm")

    # Attention: key, query, value (B, H, S, K), mask (B, 1, 1, S) of 0 and -10000.

    def project(self, hidden: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Key, query and value of layer `number`, in the order in which attention takes them."""
        start = f"encoder.layer.{number}.attention.self"
        key, query, value = (self.linear(hidden, f"{start}.{name}") for name in ("key", "query", "value"))
        return self.split_heads(key), self.split_heads(query), self.split_heads(value)

    def arguments(self, hidden: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the forward method gives to attention."""
        return self.project(hidden, number)

    def split_heads(self, x: np.ndarray) -> np.ndarray:
        """(B, S, D) -> (B, H, S, K)"""
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)

    def products(self, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        return np.einsum("bhik,bhjk->bhij", query, key)

    def scaled(self, products: np.ndarray, size: int) -> np.ndarray:
        """Divided by the root of the head size."""
        return products / math.sqrt(size)

    def masked(self, scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return scores + mask

    def softmax(self, scores: np.ndarray, axis: int = -1) -> np.ndarray:
        powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
        return powers / powers.sum(axis=axis, keepdims=True)

    def probabilities(self, query: np.ndarray, key: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(B, H, S, S), each row sums to one."""
        return self.softmax(self.masked(self.scaled(self.products(query, key), query.shape[-1]), mask))

    def context(self, probabilities: np.ndarray, value: np.ndarray) -> np.ndarray:
        return np.einsum("bhij,bhjk->bhik", probabilities, value)

    def merge_heads(self, context: np.ndarray) -> np.ndarray:
        """(B, H, S, K) -> (B, S, D)"""
        return context.swapaxes(1, 2).reshape(context.shape[0], context.shape[2], -1)

    # A layer: hidden (B, S, D) -> (B, S, D).

    def apply(self, x: np.ndarray, number: int, name: str) -> np.ndarray:
        """A linear layer or a layer norm of layer `number`."""
        function = self.layer_norm if name.endswith("LayerNorm") else self.linear
        return function(x, f"encoder.layer.{number}.{name}")

    def sum_and_norm(
        self, x: np.ndarray, output: np.ndarray, dense: str, norm: str, training: bool
    ) -> np.ndarray:
        """norm(x + dropout(dense(output)))"""
        return self.layer_norm(x + self.sublayer_dropout(self.linear(output, dense), training), norm)

    def half(self, x: np.ndarray, output: np.ndarray, number: int, dense: str, norm: str) -> np.ndarray:
        start = f"encoder.layer.{number}."
        return self.sum_and_norm(x, output, start + dense, start + norm, False)

    def normal_distribution(self, x: np.ndarray) -> np.ndarray:
        return (1 + erf(x / math.sqrt(2))) / 2

    def activation(self, x: np.ndarray) -> np.ndarray:
        """The GELU of the error function."""
        return x * self.normal_distribution(x)

    def intermediate(self, hidden: np.ndarray, number: int) -> np.ndarray:
        """(B, S, D) -> (B, S, I), before the second linear layer."""
        return self.activation(self.apply(hidden, number, "intermediate.dense"))

    def after_attention(self, x: np.ndarray, attended: np.ndarray, number: int) -> np.ndarray:
        """The layer's input and its merged heads -> what enters the feed-forward layers."""
        return self.half(x, attended, number, *FIRST_HALF)

    def after_feed_forward(self, x: np.ndarray, widened: np.ndarray, number: int) -> np.ndarray:
        return self.half(x, widened, number, *SECOND_HALF)

    def second_half(
        self, hidden: np.ndarray, attended: np.ndarray, middle: np.ndarray, number: int
    ) -> np.ndarray:
        """The layer's input, its merged heads, and what after_attention makes of them -> its output."""
        return self.after_feed_forward(middle, self.intermediate(middle, number), number)

    # The model.

    def extended(self, mask: np.ndarray) -> np.ndarray:
        """(B, S) of 1 and 0 -> (B, 1, 1, S) of 0 and -10000."""
        return (1.0 - mask[:, None, None, :]) * MASKED

    def attention_mask(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return mask

    def encode(self, hidden: np.ndarray, extended: np.ndarray) -> np.ndarray:
        return self.run(range(self.count), hidden, extended)

    def run(self, numbers: Iterable[int], hidden: np.ndarray, extended: np.ndarray) -> np.ndarray:
        """The layers of these numbers, each on the output of the one before."""
        for number in numbers:
            hidden = self.step(number, hidden, extended)
        return hidden

    def step(self, number: int, hidden: np.ndarray, extended: np.ndarray) -> np.ndarray:
        return self.layer(number, hidden, extended)

    def first_token(self, hidden: np.ndarray, embeddings: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return hidden[:, 0]

    def pooler_activation(self, x: np.ndarray) -> np.ndarray:
        return np.tanh(x)

    # What is checked.

    def embed(self, ids: np.ndarray, training: bool = False) -> np.ndarray:
        normal = self.embedding_norm(self.embedding_sum(ids))
        return self.embedding_dropout(normal) if training else normal

    def split(self, hidden: np.ndarray) -> Arrays:
        return dict(zip(("key", "query", "value"), self.project(hidden, 0), strict=True))

    def attention(
        self, key: np.ndarray, query: np.ndarray, value: np.ndarray, mask: np.ndarray, training: bool = False
    ) -> np.ndarray:
        key, query, value = (x.astype(np.float64) for x in (key, query, value))
        probabilities = self.probabilities(query, key, mask)
        probabilities = self.attention_dropout(probabilities) if training else probabilities
        return self.merge_heads(self.context(probabilities, value))

    def self_attention(self, hidden: np.ndarray, mask: np.ndarray, number: int = 0) -> np.ndarray:
        return self.attention(*self.arguments(hidden, number), mask)

    def add_norm(
        self,
        x: np.ndarray,
        output: np.ndarray,
        dense: tuple[np.ndarray, np.ndarray] | None = None,
        training: bool = False,
    ) -> np.ndarray:
        linear, norm = (f"encoder.layer.0.{name}" for name in FIRST_HALF)
        weight, bias = dense or (self.weights[f"{linear}.weight"], self.weights[f"{linear}.bias"])
        model = self.changed({f"{linear}.weight": weight, f"{linear}.bias": bias})
        return model.sum_and_norm(x.astype(np.float64), output.astype(np.float64), linear, norm, training)

    def feed_forward(self, hidden: np.ndarray) -> np.ndarray:
        name = f"encoder.layer.0.{FIRST_HALF[0]}"
        silent = {key: self.weights[key] * 0 for key in (f"{name}.weight", f"{name}.bias")}
        return self.changed(silent).layer(0, hidden, np.zeros((len(hidden), 1, 1, hidden.shape[1])))

    def layer(self, number: int, hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
        hidden = hidden.astype(np.float64)
        attended = self.self_attention(hidden, mask, number)
        return self.second_half(hidden, attended, self.after_attention(hidden, attended, number), number)

    def all_layers(self, embeddings: np.ndarray, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self.encode(embeddings, self.extended(self.attention_mask(ids, mask)))

    def pool(
        self, hidden: np.ndarray, embeddings: np.ndarray, ids: np.ndarray, mask: np.ndarray
    ) -> np.ndarray:
        first = self.first_token(hidden, embeddings, mask)
        return self.pooler_activation(self.linear(first, "pooler.dense"))

    def forward(self, ids: np.ndarray, mask: np.ndarray) -> Arrays:
        embeddings = self.embed(ids)
        hidden = self.all_layers(embeddings, ids, mask)
        return {"last_hidden_state": hidden, "pooler_output": self.pool(hidden, embeddings, ids, mask)}

    def gradients(self, ids: np.ndarray, mask: np.ndarray, hidden: np.ndarray, pooler: np.ndarray) -> Arrays:
        return Backward(self).run(ids, mask, hidden, pooler)
