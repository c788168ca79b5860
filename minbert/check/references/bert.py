"""A BERT in numpy fp64 with a method for each step, so that a mistake can be written as another such step.

Vaswani et al. 2017 (section 3), Ba et al. 2016 (layer norm), Hendrycks and Gimpel 2016 (GELU), Devlin et al.
2018. B sentences, S columns, D hidden size, H heads, K = D / H head size. The methods under "what is checked"
are those of `Candidate`, so that the stages run on this model as on a student's.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.references.bert_gradients import Backward
from minbert.check.stage import Array, Arrays
from minbert.weights.course_names import MODULE_NAMES

# Far from each other, from 0 and from torch's default of 0.5, so that it shows which of them is used.
RATES = {"hidden_dropout_prob": 0.375, "attention_probs_dropout_prob": 0.25}
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


@cache
def weight_names(prefix: str) -> dict[str, str]:
    """The course's names of the weights below `prefix`, without it -> transformers' names."""
    names = {}
    for number in range(model_config()["num_hidden_layers"]):
        for _, hugging_face, course in MODULE_NAMES:
            for kind in ("weight", "bias"):
                theirs = f"{hugging_face.format(number)}.{kind}"
                if theirs in model_weights():
                    names[f"{course.format(number)}.{kind}"] = theirs
    return {name.removeprefix(prefix): theirs for name, theirs in names.items() if name.startswith(prefix)}


class Bert:
    """The right steps. A mistake is a subclass that overrides one of them.

    `weights` have transformers' names; without them, weights and `config` are the fixture's.
    """

    training = False  # of layers and the whole model; parts of them are told
    cut: frozenset[str] = frozenset()  # where gradients end, see Backward
    seen_by: tuple[str, ...] = ()  # the outputs of a stage that tell this mistake, where not all of them can
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
        self.draws = np.random.default_rng(0).random  # of a shape, from 0 to 1

    def changed(self, weights: Arrays) -> "Bert":
        """The same model with some other weights."""
        other = copy.copy(self)
        other.weights = self.weights | weights
        return other

    # Steps that all parts use.

    def linear(self, x: Array, name: str) -> Array:
        """x W^T + b: (..., I) -> (..., O)"""
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def layer_norm(self, x: Array, name: str) -> Array:
        return self.standardized(x) * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def standardized(self, x: Array) -> Array:
        """(x - mean) / sqrt(variance + epsilon) over the last axis."""
        return (x - x.mean(axis=-1, keepdims=True)) / self.deviation(self.variance(x))

    def variance(self, x: Array) -> Array:
        return x.var(axis=-1, keepdims=True)

    def deviation(self, variance: Array) -> Array:
        return np.sqrt(variance + self.config["layer_norm_eps"])

    def dropped(self, x: Array, rate: float, scaled: bool = True) -> Array:
        """Each element 0 with probability `rate`, the others divided by 1 - rate."""
        if self.draws is None:
            return x
        return np.where(self.draws(x.shape) < rate, 0.0, x / (1 - rate) if scaled else x)

    def embedding_dropout(self, x: Array) -> Array:
        return self.dropped(x, self.hidden_rate)

    def attention_dropout(self, x: Array) -> Array:
        return self.dropped(x, self.attention_rate)

    def sublayer_dropout(self, x: Array, training: bool) -> Array:
        return self.dropped(x, self.hidden_rate) if training else x

    # Embeddings: ids (B, S) -> (B, S, D).

    def is_padding(self, ids: Array) -> Array:
        return ids == self.config["pad_token_id"]

    def positions(self, ids: Array) -> Array:
        return np.broadcast_to(np.arange(ids.shape[1]), ids.shape)

    def token_types(self, ids: Array) -> Array:
        return np.zeros_like(ids)

    def word_embeddings(self, ids: Array) -> Array:
        return self.weights["embeddings.word_embeddings.weight"][ids]

    def position_embeddings(self, ids: Array) -> Array:
        return self.weights["embeddings.position_embeddings.weight"][self.positions(ids)]

    def token_type_embeddings(self, ids: Array) -> Array:
        return self.weights["embeddings.token_type_embeddings.weight"][self.token_types(ids)]

    def embedding_sum(self, ids: Array) -> Array:
        return self.word_embeddings(ids) + self.position_embeddings(ids) + self.token_type_embeddings(ids)

    def embedding_norm(self, total: Array) -> Array:
        return self.layer_norm(total, "embeddings.LayerNorm")

    # Attention: key, query, value (B, H, S, K), mask (B, 1, 1, S) of 0 and -10000.

    def project(self, hidden: Array, number: int) -> tuple[Array, Array, Array]:
        """Key, query and value of layer `number`, in the order in which attention takes them."""
        start = f"encoder.layer.{number}.attention.self"
        key, query, value = (self.linear(hidden, f"{start}.{name}") for name in ("key", "query", "value"))
        return self.split_heads(key), self.split_heads(query), self.split_heads(value)

    def arguments(self, hidden: Array, number: int) -> tuple[Array, Array, Array]:
        """The arguments of attention in the forward method."""
        return self.project(hidden, number)

    def split_heads(self, x: Array) -> Array:
        """(B, S, D) -> (B, H, S, K)"""
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)

    def products(self, query: Array, key: Array) -> Array:
        return np.einsum("bhik,bhjk->bhij", query, key)

    def scaled(self, products: Array, size: int) -> Array:
        """Divided by the root of the head size."""
        return products / math.sqrt(size)

    def masked(self, scores: Array, mask: Array) -> Array:
        return scores + mask

    def softmax(self, scores: Array, axis: int = -1) -> Array:
        powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
        return powers / powers.sum(axis=axis, keepdims=True)

    def probabilities(self, query: Array, key: Array, mask: Array) -> Array:
        """(B, H, S, S), each row sums to one."""
        return self.softmax(self.masked(self.scaled(self.products(query, key), query.shape[-1]), mask))

    def context(self, probabilities: Array, value: Array) -> Array:
        return np.einsum("bhij,bhjk->bhik", probabilities, value)

    def merge_heads(self, context: Array) -> Array:
        """(B, H, S, K) -> (B, S, D)"""
        return context.swapaxes(1, 2).reshape(context.shape[0], context.shape[2], -1)

    # A layer: hidden (B, S, D) -> (B, S, D).

    def apply(self, x: Array, number: int, name: str) -> Array:
        """A linear layer or a layer norm of layer `number`."""
        function = self.layer_norm if name.endswith("LayerNorm") else self.linear
        return function(x, f"encoder.layer.{number}.{name}")

    def sum_and_norm(self, x: Array, output: Array, dense: str, norm: str, training: bool) -> Array:
        """norm(x + dropout(dense(output)))"""
        return self.layer_norm(self.summed(x, self.projected(output, dense, training)), norm)

    def summed(self, x: Array, projected: Array) -> Array:
        return x + projected

    def projected(self, output: Array, dense: str, training: bool) -> Array:
        return self.sublayer_dropout(self.linear(output, dense), training)

    def half(self, x: Array, output: Array, number: int, dense: str, norm: str) -> Array:
        start = f"encoder.layer.{number}."
        return self.sum_and_norm(x, output, start + dense, start + norm, self.training)

    def normal_distribution(self, x: Array) -> Array:
        return (1 + erf(x / math.sqrt(2))) / 2

    def activation(self, x: Array) -> Array:
        """The GELU of the error function."""
        return x * self.normal_distribution(x)

    def intermediate(self, hidden: Array, number: int) -> Array:
        """(B, S, D) -> (B, S, I), before the second linear layer."""
        return self.activation(self.apply(hidden, number, "intermediate.dense"))

    def after_attention(self, x: Array, attended: Array, number: int) -> Array:
        """The layer's input and its merged heads -> what enters the feed-forward layers."""
        return self.half(x, attended, number, *FIRST_HALF)

    def after_feed_forward(self, x: Array, widened: Array, number: int) -> Array:
        return self.half(x, widened, number, *SECOND_HALF)

    def second_half(self, hidden: Array, attended: Array, middle: Array, number: int) -> Array:
        """The layer's input, its merged heads, and what after_attention makes of them -> its output."""
        return self.after_feed_forward(middle, self.intermediate(middle, number), number)

    # The model.

    def extended(self, mask: Array) -> Array:
        """(B, S) of 1 and 0 -> (B, 1, 1, S) of 0 and -10000."""
        return (1.0 - mask[:, None, None, :]) * MASKED

    def attention_mask(self, ids: Array, mask: Array) -> Array:
        return mask

    def encode(self, hidden: Array, extended: Array) -> Array:
        return self.run(range(self.count), hidden, extended)

    def run(self, numbers: Iterable[int], hidden: Array, extended: Array) -> Array:
        """The layers of these numbers, each on the output of the one before."""
        for number in numbers:
            hidden = self.step(number, hidden, extended)
        return hidden

    def step(self, number: int, hidden: Array, extended: Array) -> Array:
        return self.layer(number, hidden, extended)

    def first_token(self, hidden: Array, embeddings: Array, mask: Array) -> Array:
        return hidden[:, 0]

    def pooler_activation(self, x: Array) -> Array:
        return np.tanh(x)

    def in_mode(self, training: bool) -> "Bert":
        other = copy.copy(self)
        other.training = training
        return other

    def lacks(self, name: str) -> bool:
        """Returns True if the model has no parameter of the course's name."""
        return False

    # What is checked: the interface of a candidate, see minbert/check/bert/candidate.py.

    def embed(self, ids: Array, training: bool = False) -> Array:
        normal = self.embedding_norm(self.embedding_sum(ids))
        return self.embedding_dropout(normal) if training else normal

    def split(self, hidden: Array) -> Arrays:
        return dict(zip(("key", "query", "value"), self.project(hidden, 0), strict=True))

    def attention(self, key: Array, query: Array, value: Array, mask: Array, training: bool = False) -> Array:
        key, query, value = (x.astype(np.float64) for x in (key, query, value))
        probabilities = self.probabilities(query, key, mask)
        probabilities = self.attention_dropout(probabilities) if training else probabilities
        return self.merge_heads(self.context(probabilities, value))

    def self_attention(self, hidden: Array, mask: Array, number: int = 0) -> Array:
        return self.attention(*self.arguments(hidden, number), mask, self.training)

    def add_norm(
        self, x: Array, output: Array, dense: tuple[Array, Array] | None = None, training: bool = False
    ) -> Array:
        linear, norm = (f"encoder.layer.0.{name}" for name in FIRST_HALF)
        weight, bias = dense or (self.weights[f"{linear}.weight"], self.weights[f"{linear}.bias"])
        model = self.changed({f"{linear}.weight": weight, f"{linear}.bias": bias})
        return model.sum_and_norm(x.astype(np.float64), output.astype(np.float64), linear, norm, training)

    def feed_forward(self, hidden: Array) -> Array:
        name = f"encoder.layer.0.{FIRST_HALF[0]}"
        silent = {key: self.weights[key] * 0 for key in (f"{name}.weight", f"{name}.bias")}
        return self.changed(silent).layer(0, hidden, np.zeros((len(hidden), 1, 1, hidden.shape[1])))

    def layer(self, number: int, hidden: Array, mask: Array) -> Array:
        hidden = hidden.astype(np.float64)
        attended = self.self_attention(hidden, mask, number)
        return self.second_half(hidden, attended, self.after_attention(hidden, attended, number), number)

    def all_layers(self, embeddings: Array, ids: Array, mask: Array) -> Array:
        return self.encode(embeddings, self.extended(self.attention_mask(ids, mask)))

    def pool(self, hidden: Array, embeddings: Array, ids: Array, mask: Array) -> Array:
        first = self.first_token(hidden, embeddings, mask)
        return self.pooler_activation(self.linear(first, "pooler.dense"))

    def forward(self, ids: Array, mask: Array) -> Arrays:
        embeddings = self.embed(ids, self.training)
        hidden = self.all_layers(embeddings, ids, mask)
        return {"last_hidden_state": hidden, "pooler_output": self.pool(hidden, embeddings, ids, mask)}

    def layer_in_training(self, hidden: Array, mask: Array) -> Array:
        return self.in_mode(True).layer(0, hidden, mask)

    def forward_in_training(self, ids: Array, mask: Array) -> Arrays:
        return self.in_mode(True).forward(ids, mask)

    def has_parameter(self) -> dict[str, bool]:
        return {name: not self.lacks(name) for name in weight_names("")}

    def changed_weights(self, ids: Array, mask: Array) -> Array:
        return np.array(0)

    @contextmanager
    def with_dropout(self, draws: Callable[[tuple[int, ...]], Array] | None) -> Iterator[None]:
        before, self.draws = self.draws, draws
        yield
        self.draws = before

    def gradients(self, ids: Array, mask: Array, hidden: Array, pooler: Array) -> Arrays:
        return Backward(self).run(ids, mask, hidden, pooler)
