"""Dropout in training, read from many draws: what share is dropped, and what the rest is multiplied by.

The outputs do not depend on the draws: a share that agrees with a rate of the configuration within the chance
of so many draws is taken for that rate.
"""

import math
from functools import cache

import numpy as np

from minbert.check.bert.attention_reading import find_layout, read_probabilities
from minbert.check.bert.attention_stages import expect_softmax
from minbert.check.bert.candidate import Candidate
from minbert.check.bert.fixture_arrays import additive_mask, at_tokens, first_of, given, no_mask, reference
from minbert.check.judge import distance
from minbert.check.references.bert import RATES, Bert, model_config, model_weights
from minbert.check.stage import TOLERANCE, Array, Outputs

DEVIATIONS = 5  # between a share and its rate: once in two million
REPEATS, FEW_REPEATS = 40, 6
ROWS = 600
ADDEND, INPUT = 0.02, 0.014  # their variance under dropout is comparable to the norm's epsilon
OF_INPUT = ADDEND / 4  # the part of the addend that the dense layer does not add itself
SHARE, KEPT, RANGE = "share dropped", "what is kept", "range of what is kept"
ADDED = "what is kept, over the addend"
SPREAD = "spread of a constant value's context"
ONE_VALUE = 1e-3  # standardized values that differ by less are one
KNOWN = "under known draws"  # not compared, since dropout may be written by hand; tells mistakes apart


def known_draws(shape: tuple[int, ...]) -> np.ndarray:
    """The same numbers from 0 to 1 for every tensor of a size."""
    return np.random.default_rng(math.prod(shape)).random(shape)


def rate_of(dropped: np.ndarray) -> float:
    """The share of True, or the rate that it agrees with."""
    share = float(dropped.mean())
    for rate in (0.0, 1.0, *RATES.values()):
        if abs(share - rate) <= DEVIATIONS * math.sqrt(rate * (1 - rate) / dropped.size):
            return rate
    return share


def kept(draws: np.ndarray) -> Outputs:
    """Of draws (R, ...): the share that is 0, the mean of the rest (...), and the largest range of it."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = draws.sum(axis=0) / (draws != 0).sum(axis=0)
    highest, lowest = (fold(np.where(draws == 0, mean, draws), axis=0) for fold in (np.max, np.min))
    return {SHARE: np.array(rate_of(draws == 0)), KEPT: mean, RANGE: np.array((highest - lowest).max())}


def run_embedding_dropout(candidate: Candidate) -> Outputs:
    ids = given("input_ids")
    draws = candidate.embed(np.tile(ids, (REPEATS, 1)), training=True)
    draws = draws.reshape(REPEATS, *ids.shape, -1)
    with candidate.with_dropout(known_draws):
        known = candidate.embed(ids, training=True)
    return {**kept(draws), KNOWN: known}


def run_training(candidate: Candidate) -> Outputs:
    """A layer and the model in training, where dropout keeps everything: it divides by 1 - rate.

    Dropout that is written by hand is not compared: its draws are unknown.
    """
    hidden, ids, mask = map(given, ("layer.0.input", "input_ids", "attention_mask"))
    evaluated = candidate.forward(ids, mask) | {"layer 1": candidate.layer(0, hidden, additive_mask())}
    with candidate.with_dropout(None):
        without = _in_training(candidate, hidden, ids, mask)
    if any(distance(at_tokens(evaluated[name]), without[name]) > TOLERANCE for name in without):
        return expect_training()
    with candidate.with_dropout(np.ones):
        return _in_training(candidate, hidden, ids, mask)


def _in_training(candidate: Candidate, hidden: Array, ids: Array, mask: Array) -> Outputs:
    layer = {"layer 1": candidate.layer_in_training(hidden, additive_mask())}
    outputs = layer | candidate.forward_in_training(ids, mask)
    return {name: at_tokens(value) for name, value in outputs.items()}


@cache
def expect_training() -> Outputs:
    return run_training(Bert())


def run_attention_dropout(candidate: Candidate) -> Outputs:
    """Of one sentence; also how much a head's context differs among features that all values agree on: 0."""
    key, query = first_of("key")[:1], first_of("query")[:1]
    layout = find_layout(candidate, key, query)
    keys, queries = (np.tile(x, (REPEATS, 1, 1, 1)) for x in (key, query))
    mask = no_mask()[:1].repeat(REPEATS, axis=0)
    draws = read_probabilities(candidate, keys, queries, mask, layout, training=True)
    few = slice(FEW_REPEATS)
    ones = candidate.attention(keys[few], queries[few], np.ones_like(keys[few]), mask[few], training=True)
    contexts = layout(ones, keys[few].shape)
    with candidate.with_dropout(known_draws):
        known = candidate.attention(key, query, first_of("value")[:1], no_mask()[:1], training=True)
    return {**kept(draws), SPREAD: np.array(np.ptp(contexts, axis=-1).max()), KNOWN: known}


def run_sublayer_dropout(candidate: Candidate) -> Outputs:
    """norm(input + dropout(addend)) for rows of one input and one addend.

    A standardized row then has two values, whose distance tells the addend where it was kept, since epsilon
    is comparable to the variance: distance^2 = a^2 / (a^2 f (1 - f) + epsilon) for a share f of kept ones.
    """
    norm = "encoder.layer.0.attention.output.LayerNorm"
    weights = model_weights()
    weight, bias = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
    size = len(weight)
    x = np.full((1, ROWS, size), INPUT, dtype=np.float32)
    dense = (np.eye(size, dtype=np.float32), np.full(size, ADDEND - OF_INPUT, dtype=np.float32))
    output = candidate.add_norm(x, np.full_like(x, OF_INPUT), dense, training=True)
    with candidate.with_dropout(known_draws):
        known = candidate.add_norm(first_of("input"), first_of("merged"), training=True)
    rows = ((output - bias) / weight).reshape(-1, size)
    share, addend = _two_values(rows)
    return {
        SHARE: np.array(share),
        ADDED: np.array(addend),
        "share of zeros": np.array(rate_of(output == 0)),
        KNOWN: known,
    }


def _two_values(rows: np.ndarray) -> tuple[float, float]:
    """The share of the lower value, and what lies between the two before the norm, over ADDEND.

    NaN for rows of more than two values; 0 and 0 where all rows have one. A row of one value among others
    tells nothing: all or none of it was kept.
    """
    if not np.isfinite(rows).all():
        return math.nan, math.nan
    rows = rows[np.ptp(rows, axis=-1) > ONE_VALUE]
    if not len(rows):
        return 0.0, 0.0
    upper = rows > (rows.max(axis=-1, keepdims=True) + rows.min(axis=-1, keepdims=True)) / 2
    if max(_spread(rows, upper), _spread(rows, ~upper)) > ONE_VALUE:
        return math.nan, math.nan
    share, squares = upper.mean(axis=-1), np.ptp(rows, axis=-1) ** 2
    epsilon = model_config()["layer_norm_eps"]
    with np.errstate(invalid="ignore", divide="ignore"):
        between = np.sqrt(squares * epsilon / (1 - squares * share * (1 - share)))
    return rate_of(~upper), float(between.mean()) / ADDEND


def _spread(rows: np.ndarray, chosen: np.ndarray) -> float:
    """The largest range of a row's chosen numbers."""
    high, low = np.where(chosen, rows, -np.inf).max(axis=-1), np.where(chosen, rows, np.inf).min(axis=-1)
    return float((high - low).max())


def expect_embedding_dropout() -> Outputs:
    rate = RATES["hidden_dropout_prob"]
    return {SHARE: np.array(rate), KEPT: reference("embeddings.output") / (1 - rate), RANGE: np.array(0.0)}


def expect_attention_dropout() -> Outputs:
    rate = RATES["attention_probs_dropout_prob"]
    values = expect_softmax()["probabilities"][0] / (1 - rate)
    return {SHARE: np.array(rate), KEPT: values, RANGE: np.array(0.0), SPREAD: np.array(0.0)}


def expect_sublayer_dropout() -> Outputs:
    rate = RATES["hidden_dropout_prob"]
    return {
        SHARE: np.array(rate),
        ADDED: np.array(1 / (1 - rate)),
        "share of zeros": np.array(0.0),
    }
