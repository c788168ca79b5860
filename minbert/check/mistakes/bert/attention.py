"""Mistakes in attention: heads, scores, mask, softmax, what is weighed, and the call of attention itself."""

import itertools
import math

import numpy as np

from minbert.check.bert.attention_stages import PADDING_ASKS, UNDER_ONES
from minbert.check.mistakes.table import Wrong, wrong
from minbert.check.references.bert import Bert

FEW_DIGITS = 5e-3  # 10000 + x has 3 digits after the point in fp32

# fmt: off
SPLIT = (
    wrong("heads split without a transpose",
          "(B, S, D) is viewed as (B, H, S, K), which mixes tokens and features.",
          "View as (B, S, H, K), then transpose dimensions 1 and 2.",
          split_heads=lambda self, x: x.reshape(len(x), self.heads, x.shape[1], -1)),
    wrong("features dealt out to the heads in turn",
          "(B, S, D) is viewed as (B, S, K, H), so that a head gets every H-th feature.",
          "View as (B, S, H, K): a head has K neighbouring features.",
          split_heads=lambda self, x: x.reshape(*x.shape[:2], -1, self.heads).transpose(0, 3, 1, 2)),
    wrong("heads and features transposed",
          "(B, S, H, K) has its dimensions 1 and 3 transposed: (B, K, S, H).",
          "Transpose dimensions 1 and 2: (B, H, S, K).",
          split_heads=lambda self, x: Bert.split_heads(self, x).transpose(0, 3, 2, 1)),
    wrong("12 heads whatever the configuration says", "The heads are bert-base's 12.",
          "Read config.num_attention_heads; a head has hidden_size // num_attention_heads features.",
          split_heads=lambda self, x: x.reshape(*x.shape[:2], 12, -1).swapaxes(1, 2)),
    wrong("heads and tokens not transposed", "(B, S, H, K) is returned.",
          "Transpose dimensions 1 and 2: (B, H, S, K).",
          split_heads=lambda self, x: x.reshape(*x.shape[:2], self.heads, -1)),
    wrong("heads split without the linear layer",
          "transform splits its input itself and does not apply linear_layer.", "Split linear_layer(x).",
          linear=lambda self, x, name: x),
    wrong("projections by the weight as it is stored",
          "x is multiplied by W; torch stores the weights of a linear layer as (out, in).",
          "Compute x W^T + b: linear_layer(x).",
          linear=lambda self, x, name: x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]),
)
# fmt: on


PLURAL = {"query": "queries", "key": "keys", "value": "values"}


def _without_bias(*projections: str) -> Wrong:
    def linear(self, x, name):
        product = x @ self.weights[f"{name}.weight"].T
        return product if name.rpartition(".")[2] in projections else Bert.linear(self, x, name)

    plural = " and ".join(PLURAL[each] for each in projections)
    return wrong(
        f"{plural if len(projections) < len(PLURAL) else 'projections'} without a bias",
        f"The {plural} are computed without the bias of their linear layer.",
        "Compute x W^T + b by nn.Linear(hidden_size, hidden_size), which has a bias.",
        linear=linear,
        lacks=lambda self, name: name.endswith(tuple(f".{each}.bias" for each in projections)),
    )


WITHOUT_BIAS = tuple(
    _without_bias(*projections)
    for count in (1, 2, 3)
    for projections in itertools.combinations(PLURAL, count)
)

# fmt: off
MERGED = (
    wrong("heads merged without a transpose",
          "(B, H, S, K) is viewed as (B, S, D), which mixes tokens and heads.",
          "Transpose dimensions 1 and 2 first: context.transpose(1, 2).reshape(B, S, D).",
          merge_heads=lambda self, context: context.reshape(len(context), context.shape[2], -1)),
    wrong("heads interleaved", "The heads' features are merged in turn: (B, S, K, H) is flattened.",
          "Put the heads side by side: flatten (B, S, H, K).",
          merge_heads=lambda self, context:
              context.transpose(0, 2, 3, 1).reshape(len(context), context.shape[2], -1)),
    wrong("heads not merged", "attention returns the heads' contexts (B, H, S, K) as they are.",
          "Return (B, S, D): context.transpose(1, 2).reshape(B, S, D).",
          merge_heads=lambda self, context: context),
    wrong("heads transposed but not merged", "attention returns (B, S, H, K).",
          "Flatten the last two dimensions to (B, S, D).",
          merge_heads=lambda self, context: context.swapaxes(1, 2)),
    wrong("mean of the heads", "The heads' contexts are averaged to (B, S, K).",
          "Put them side by side: context.transpose(1, 2).reshape(B, S, D).",
          merge_heads=lambda self, context: context.mean(axis=1)),
    wrong("sum of the heads", "The heads' contexts are added up to (B, S, K).",
          "Put them side by side: context.transpose(1, 2).reshape(B, S, D).",
          merge_heads=lambda self, context: context.sum(axis=1)),
    wrong("heads in reverse order", "The last head's context comes first.",
          "Put the heads side by side in their order: context.transpose(1, 2).reshape(B, S, D).",
          merge_heads=lambda self, context: Bert.merge_heads(self, np.flip(context, axis=1))),
)
# fmt: on


def rounded_sum(self, scores, mask):
    """In fp32, as far as it keeps digits of 10000 + x."""
    return (scores.astype(np.float32) + np.asarray(mask, dtype=np.float32)).astype(np.float64)


SCORE = "Q K^T / sqrt(d), d the size of a head"


def _cosines(self, query, key):
    unit = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key))
    return Bert.products(self, *unit)


def _heads_together(self, query, key):
    products = Bert.products(self, query, key)
    return np.broadcast_to(products.sum(axis=1, keepdims=True), products.shape)


# fmt: off
SCORES = (
    wrong("scores without 1/sqrt(d)",
          "The products of queries and keys are not divided by the root of the head size.",
          f"Divide them: {SCORE}.", scaled=lambda self, products, size: products),
    wrong("scores divided by d",
          "The products are divided by the head size, as by its root two times, not by its root.",
          f"Divide by the root once: {SCORE}.", scaled=lambda self, products, size: products / size),
    wrong("scores divided by the fourth root of d",
          "The products are divided by d^(1/4), the root of the root.",
          f"Divide by the root: {SCORE}.", scaled=lambda self, products, size: products / size**0.25),
    wrong("scores divided by the root of the hidden size",
          "The products are divided by sqrt(D), the size of all heads together.",
          f"Divide by the root of one head's size: {SCORE}.",
          scaled=lambda self, products, size: products / math.sqrt(self.hidden_size)),
    wrong("scores divided by the whole part of sqrt(d)",
          "The root's fraction is cut off, as by int(), which is right only for head sizes such as 64.",
          f"Divide by the root itself: {SCORE}.",
          scaled=lambda self, products, size: products / int(math.sqrt(size))),
    wrong("key reshaped instead of transposed",
          "The numbers keep their order in a view of (B, H, d, S), which scrambles the columns.",
          "Swap the last two dimensions: key.transpose(-1, -2).",
          products=lambda self, query, key: query @ key.reshape(*key.shape[:2], *key.shape[:1:-1])),
    wrong("scores multiplied by sqrt(d)", "The products are multiplied by the root of the head size.",
          f"Divide by it: {SCORE}.", scaled=lambda self, products, size: products * math.sqrt(size)),
    wrong("scores divided by the root of the sentence's length",
          "The products are divided by sqrt(S): the size was read from the wrong dimension.",
          f"Read it from the last dimension, query.size(-1): {SCORE}.",
          scaled=lambda self, products, size: products / math.sqrt(products.shape[-1])),
    wrong("scores divided by the root of the number of heads", "The products are divided by sqrt(H).",
          f"Divide by the root of one head's size: {SCORE}.",
          scaled=lambda self, products, size: products / math.sqrt(self.heads)),
    wrong("scores with the wrong sign", "The scores are negative where they have to be positive.",
          f"Keep the sign: {SCORE}.", scaled=lambda self, products, size: -Bert.scaled(self, products, size)),
    wrong("key and query swapped in the scores", "The scores are K Q^T: rows belong to keys.",
          f"Rows have to belong to queries: {SCORE}.",
          products=lambda self, query, key: Bert.products(self, key, query)),
    wrong("queries in place of the keys in the scores", "The scores are Q Q^T.",
          f"Multiply by the keys: {SCORE}.",
          products=lambda self, query, key: Bert.products(self, query, query)),
    wrong("keys in place of the queries in the scores", "The scores are K K^T.",
          f"Multiply the queries by the keys: {SCORE}.",
          products=lambda self, query, key: Bert.products(self, key, key)),
    wrong("cosines as scores", "Queries and keys are divided by their lengths.",
          f"Multiply them as they are: {SCORE}.", products=_cosines,
          scaled=lambda self, products, size: products),
    wrong("one matrix of scores for all heads",
          "The products are summed over the heads, so that all heads look at the same tokens.",
          f"Keep the heads apart: {SCORE} for each head.", products=_heads_together),
    wrong("softmax applied twice", "The probabilities go through softmax once more.",
          "Apply softmax once, to the masked scores.",
          softmax=lambda self, scores, axis=-1: Bert.softmax(self, Bert.softmax(self, scores, axis), axis)),
    wrong("mask extended again in attention",
          "attention computes (1 - mask) * -10000, but its mask is 0 and -10000 already.",
          "Add the mask as it is: softmax(Q K^T / sqrt(d) + mask).", tolerance=FEW_DIGITS, reads=(UNDER_ONES,
              ),
          masked=lambda self, scores, mask: rounded_sum(self, scores, (1 - mask) * -10000.0)),
    wrong("tokens do not look at themselves", "The diagonal of the scores is masked.",
          "A token looks at itself too: mask nothing but padding.",
          masked=lambda self, scores, mask: np.where(np.eye(scores.shape[-1]) == 1, -1e9, scores + mask)),
    wrong("values in place of the keys", "The scores are Q V^T.",
          "Multiply the queries by the keys: Q K^T / sqrt(d).",
          attention=lambda self, key, query, value, mask, training=False:
              Bert.attention(self, value, query, value, mask, training)),
)
# fmt: on

# fmt: off
MASK = (
    wrong("mask ignored", "The mask is not added to the scores, so that tokens look at padding.",
          "Add it before softmax: softmax(Q K^T / sqrt(d) + mask).", reads=(PADDING_ASKS,),
          masked=lambda self, scores, mask: scores),
    wrong("mask with the wrong sign",
          "The mask is subtracted, so that sentences with padding look at nothing but padding.",
          "Add it: it is -10000 at padding already.", tolerance=FEW_DIGITS,
          masked=lambda self, scores, mask: scores - mask),
    wrong("scores multiplied by the mask",
          "The scores are multiplied by the mask, which is 0 at real tokens.",
          "Add it: softmax(Q K^T / sqrt(d) + mask).", masked=lambda self, scores, mask: scores * mask),
    wrong("scores multiplied by the mask, which is added too",
          "The scores are multiplied by the mask, and the mask is added: S * mask + mask.",
          "Add the mask alone: softmax(Q K^T / sqrt(d) + mask).",
          masked=lambda self, scores, mask: scores * mask + mask),
    wrong("scores multiplied by 1 + mask",
          "The products with the mask are added to the scores: S + S * mask.",
          "Add the mask: softmax(Q K^T / sqrt(d) + mask).",
          masked=lambda self, scores, mask: scores * (1 + mask)),
    wrong("mask added after softmax", "-10000 is added to the probabilities of padding.",
          "Add the mask to the scores, before softmax.",
          probabilities=lambda self, query, key, mask:
              Bert.probabilities(self, query, key, np.zeros_like(mask)) + mask),
    wrong("scores of padding set to zero",
          "A score of 0 at padding still has a probability: e^0 = 1 before it is normalised.",
          "Give padding -10000, by adding the mask.",
          masked=lambda self, scores, mask: np.where(mask < 0, 0.0, scores)),
    wrong("mask made too weak",
          "Padding's scores are only 1 lower, as by a mask of 0 and -1.",
          "Add the mask as it is: -10000 at padding.",
          masked=lambda self, scores, mask: scores + mask / 10000),
    wrong("the first sentence's mask for all sentences",
          "One sentence's mask is added to the scores of every sentence.",
          "Add mask (B, 1, 1, S) by broadcasting, sentence by sentence.",
          masked=lambda self, scores, mask: scores + mask[:1]),
    wrong("the last sentence's mask for all sentences",
          "One sentence's mask is added to the scores of every sentence.",
          "Add mask (B, 1, 1, S) by broadcasting, sentence by sentence.",
          masked=lambda self, scores, mask: scores + mask[-1:]),
    wrong("causal mask", "Tokens do not look at those after them, as in a decoder.",
          "BERT looks both ways: mask nothing but padding.",
          masked=lambda self, scores, mask:
              np.where(np.tri(*scores.shape[-2:]) == 1, scores + mask, -np.inf)),
)
# fmt: on

WEIGHTS = "softmax(Q K^T / sqrt(d) + mask) over the keys (dim=-1)"


def _log_softmax(self, scores, axis=-1):
    shifted = scores - scores.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _residual_in_attention(self, key, query, value, mask, training=False):
    self.asked = query
    return Bert.attention(self, key, query, value, mask, training)


# fmt: off
SOFTMAX = (
    wrong("no softmax", "The masked scores weigh the values as they are.", f"Apply softmax: {WEIGHTS}.",
          softmax=lambda self, scores, axis=-1: scores),
    wrong("softmax over the queries",
          "Softmax runs over the queries (dim=-2): columns sum to one, rows do not.",
          f"Let it run over the keys: {WEIGHTS}.", tolerance=FEW_DIGITS,
          softmax=lambda self, scores, axis=-1: Bert.softmax(self, scores, -2)),
    wrong("softmax over the heads", "Softmax runs over the heads (dim=1).",
          f"Let it run over the keys: {WEIGHTS}.", tolerance=FEW_DIGITS,
          softmax=lambda self, scores, axis=-1: Bert.softmax(self, scores, 1)),
    wrong("softmax over the batch", "Softmax runs over the sentences (dim=0).",
          f"Let it run over the keys: {WEIGHTS}.",
          softmax=lambda self, scores, axis=-1: Bert.softmax(self, scores, 0)),
    wrong("softmax over queries and keys together",
          "All probabilities of a head sum to one, not those of each query.",
          f"Let it run over the keys alone: {WEIGHTS}.",
          softmax=lambda self, scores, axis=-1: Bert.softmax(self, scores, (-2, -1))),
    wrong("sigmoid in place of softmax", "Each score goes through a sigmoid on its own.",
          f"Apply softmax: {WEIGHTS}.",
          softmax=lambda self, scores, axis=-1: np.exp(-np.logaddexp(0, -scores))),
    wrong("log-softmax in place of softmax", "The logarithms of the probabilities weigh the values.",
          f"Apply softmax: {WEIGHTS}.", softmax=_log_softmax),
    wrong("exponentials not divided by their sum", "The values are weighed by exp(score).",
          f"Divide by the row's sum: {WEIGHTS}.", softmax=lambda self, scores, axis=-1: np.exp(scores)),
    wrong("exponentials less the maximum not divided by their sum",
          "The values are weighed by exp(score - maximum).", f"Divide by the row's sum: {WEIGHTS}.",
          softmax=lambda self, scores, axis=-1: np.exp(scores - scores.max(axis=axis, keepdims=True))),
    wrong("scores divided by their sum", "Rows are made to sum to one without the exponential.",
          f"Apply softmax: {WEIGHTS}.", tolerance=FEW_DIGITS,
          softmax=lambda self, scores, axis=-1: scores / scores.sum(axis=axis, keepdims=True)),
    wrong("mask after softmax",
          "Padding's probabilities are set to zero after softmax, so that the others sum to less than one.",
          f"Mask the scores, before softmax: {WEIGHTS}.",
          probabilities=lambda self, query, key, mask:
              np.where(mask < 0, 0.0, Bert.probabilities(self, query, key, np.zeros_like(mask)))),
    wrong("division by sqrt(d) after softmax",
          "The probabilities are divided by the root of the head size, and the scores are not.",
          f"Divide the scores, before softmax: {WEIGHTS}.", scaled=lambda self, products, size: products,
          softmax=lambda self, scores, axis=-1:
              Bert.softmax(self, scores, axis) / np.sqrt(self.hidden_size // self.heads)),
    wrong("division by sqrt(d) before and after softmax",
          "The probabilities are divided by the root of the head size too.",
          f"Divide the scores alone: {WEIGHTS}.",
          softmax=lambda self, scores, axis=-1:
              Bert.softmax(self, scores, axis) / np.sqrt(self.hidden_size // self.heads)),
    wrong("context from transposed probabilities",
          "The values are weighed by P^T: a query's weights are what others give to it.",
          "Multiply P V with P (B, H, queries, keys).",
          probabilities=lambda self, query, key, mask:
              Bert.probabilities(self, query, key, mask).swapaxes(-1, -2)),
    wrong("value and key swapped in attention", "The scores are Q V^T and the context is P K.",
          "Scores are Q K^T / sqrt(d), the context is P V.",
          attention=lambda self, key, query, value, mask, training=False:
              Bert.attention(self, value, query, key, mask, training)),
    wrong("keys in place of the values", "The context is P K.", "Weigh the values: P V.",
          attention=lambda self, key, query, value, mask, training=False:
              Bert.attention(self, key, query, key, mask, training)),
    wrong("queries in place of the values", "The context is P Q.", "Weigh the values: P V.",
          attention=lambda self, key, query, value, mask, training=False:
              Bert.attention(self, key, query, query, mask, training)),
    wrong("queries added to the context",
          "attention adds its queries to the context; the residual sum is add_norm's part.",
          "Return the merged P V alone.",
          context=lambda self, probabilities, value: Bert.context(self, probabilities, value) + self.asked,
          attention=_residual_in_attention),
    wrong("values added to the context", "attention returns P V + V.", "Return the merged P V alone.",
          context=lambda self, probabilities, value: Bert.context(self, probabilities, value) + value),
)
# fmt: on

ORDER = "attention(key, query, value, mask)"


def _given(*names):
    """Attention is called with these as its key, query and value."""

    def arguments(self, hidden, number):
        made = dict(zip(("key", "query", "value"), Bert.arguments(self, hidden, number), strict=True))
        return tuple(made[name] for name in names)

    return arguments


# fmt: off
CALL = (
    wrong("key and query swapped in the call of attention",
          "attention is given the queries as its keys and the keys as its queries.",
          f"Keep the order of its arguments: {ORDER}.", arguments=_given("query", "key", "value")),
    wrong("value and key swapped in the call of attention",
          "attention is given the values as its keys and the keys as its values.",
          f"Keep the order of its arguments: {ORDER}.", arguments=_given("value", "query", "key")),
    wrong("value and query swapped in the call of attention",
          "attention is given the values as its queries and the queries as its values.",
          f"Keep the order of its arguments: {ORDER}.", arguments=_given("key", "value", "query")),
    wrong("arguments of attention shifted by one", "attention(query, value, key, mask) is called.",
          f"Keep the order of its arguments: {ORDER}.", arguments=_given("query", "value", "key")),
    wrong("arguments of attention shifted by two", "attention(value, key, query, mask) is called.",
          f"Keep the order of its arguments: {ORDER}.", arguments=_given("value", "key", "query")),
    wrong("keys from the query's linear layer", "The keys are transform(x, self.query).",
          "Use self.key for the keys.", arguments=_given("query", "query", "value")),
    wrong("queries from the key's linear layer", "The queries are transform(x, self.key).",
          "Use self.query for the queries.", arguments=_given("key", "key", "value")),
    wrong("values from the key's linear layer", "The values are transform(x, self.key).",
          "Use self.value for the values.", arguments=_given("key", "query", "key")),
    wrong("values from the query's linear layer", "The values are transform(x, self.query).",
          "Use self.value for the values.", arguments=_given("key", "query", "query")),
    wrong("keys from the value's linear layer", "The keys are transform(x, self.value).",
          "Use self.key for the keys.", arguments=_given("value", "query", "value")),
    wrong("one linear layer for queries, keys and values", "All three are transform(x, self.query).",
          "Use self.query, self.key and self.value.", arguments=_given("query", "query", "query")),
    wrong("values without their linear layer", "The values are the hidden states split into heads.",
          "Use transform(x, self.value).",
          arguments=lambda self, hidden, number:
              (*Bert.arguments(self, hidden, number)[:2], self.split_heads(hidden))),
    wrong("self-attention without its mask",
          "The forward method of self-attention does not hand its mask to attention.",
          f"Hand it on: {ORDER}.",
          self_attention=lambda self, hidden, mask, number=0:
              Bert.self_attention(self, hidden, np.zeros_like(mask), number)),
    wrong("residual sum inside self-attention",
          "self-attention adds its input to the merged heads; add_norm does so again.",
          "Return attention's output alone.",
          self_attention=lambda self, hidden, mask, number=0:
              Bert.self_attention(self, hidden, mask, number) + hidden),
)
# fmt: on
