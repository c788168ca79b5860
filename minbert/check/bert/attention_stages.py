"""The stages inside attention: what is asked of a candidate, and what the references say.

Where a sentence has padding, only what its real tokens ask is compared; what padding asks is without effect.
"""

import numpy as np

from minbert.check.bert import attention_reading as reading
from minbert.check.bert.candidate import Candidate
from minbert.check.bert.fixture_arrays import (
    additive_mask,
    at_tokens,
    first_of,
    mask_of_ones,
    no_mask,
    reference,
)
from minbert.check.stage import Array, MissingImplementation, Outputs

LARGE = 30  # times the queries: scores up to 200, whose exponentials fp32 cannot hold
# Not compared; by them some mistakes are told apart.
PADDING_ASKS = "where padding asks"
UNDER_ONES = "probabilities under a mask of 1 and 0"  # right where attention takes its mask for such a one


class Probabilities:
    """A candidate's probabilities without a mask and with it, each (B, H, S, S)."""

    def __init__(self, candidate: Candidate):
        key, query = first_of("key"), first_of("query")
        layout = reading.find_layout(candidate, key, query)
        self.plain = reading.read_probabilities(candidate, key, query, no_mask(), layout)
        self.masked = reading.read_probabilities(candidate, key, query, additive_mask(), layout)
        self.under_ones = reading.read_probabilities(candidate, key, query, mask_of_ones(), layout)

    def refuse_unreadable_scores(self) -> None:
        if not reading.are_probabilities(self.plain):
            raise MissingImplementation(
                "the scores cannot be read from rows that are not probabilities; see the stage softmax"
            )
        real = np.broadcast_to(reference("attention_mask")[:, None, None, :], self.masked.shape)
        even = at_tokens(real / real.sum(axis=-1, keepdims=True))
        multiplied = reading.are_equal(self.plain) and not np.allclose(at_tokens(self.masked), even)
        if multiplied or reading.look_one_way(self.plain):
            raise MissingImplementation(
                "a mask without any padding changes the probabilities; see the stage mask"
            )

    def refuse_unreadable_mask(self) -> None:
        mask = reference("attention_mask")
        padded = self.masked[mask.min(axis=1) == 0, :, : mask.sum(axis=1).min()]
        if not any(map(reading.are_probabilities, (self.plain, padded))):
            raise MissingImplementation(
                "the mask cannot be seen in rows that are not probabilities; see the stage softmax"
            )


def run_scores(candidate: Candidate) -> Outputs:
    probabilities = Probabilities(candidate)
    probabilities.refuse_unreadable_scores()
    return {
        "scores less their row's mean": reading.centered_logarithms(probabilities.plain),
        UNDER_ONES: at_tokens(probabilities.under_ones),
    }


def expect_scores() -> Outputs:
    scores = reference("layer.0.scores")
    return {"scores less their row's mean": scores - scores.mean(axis=-1, keepdims=True)}


def _through_mask(masked: Array) -> Outputs:
    real = reference("attention_mask")[:, None, None, :] == 1
    with np.errstate(all="ignore"):
        among_real = np.where(real, masked, 0.0)
        sums = among_real.sum(axis=-1, keepdims=True)
        shares = np.where(sums > reading.SMALLEST, among_real / sums, 0.0)
    return {
        "probabilities of padding": at_tokens(np.where(real, 0.0, masked)),
        "probabilities among real tokens": at_tokens(shares),
        PADDING_ASKS: masked - at_tokens(masked),
    }


def run_mask(candidate: Candidate) -> Outputs:
    probabilities = Probabilities(candidate)
    probabilities.refuse_unreadable_mask()
    return {**_through_mask(probabilities.masked), UNDER_ONES: at_tokens(probabilities.under_ones)}


def expect_mask() -> Outputs:
    outputs = _through_mask(reference("layer.0.probabilities"))
    return {name: value for name, value in outputs.items() if name != PADDING_ASKS}


def _softmax_outputs(plain: Array, masked: Array) -> Outputs:
    real = reference("attention_mask")[:, None, None, :] == 1
    return {
        "row sums": plain.sum(axis=-1),
        "row sums under the mask": at_tokens(masked.sum(axis=-1)),
        "probabilities": plain,
        "probabilities under the mask": at_tokens(masked),
        "leak to padding": at_tokens(np.where(real, 0.0, masked)),
    }


def run_softmax(candidate: Candidate) -> Outputs:
    probabilities = Probabilities(candidate)
    return _softmax_outputs(probabilities.plain, probabilities.masked)


def expect_softmax() -> Outputs:
    powers = np.exp(reference("layer.0.scores"))
    return _softmax_outputs(powers / powers.sum(axis=-1, keepdims=True), reference("layer.0.probabilities"))


def run_large_scores(candidate: Candidate) -> Array:
    key, query = first_of("key"), first_of("query")
    layout = reading.find_layout(candidate, key, query)
    return reading.read_probabilities(candidate, key, LARGE * query, no_mask(), layout)


def attend(candidate: Candidate) -> Array:
    return candidate.attention(*(first_of(name) for name in ("key", "query", "value")), additive_mask())


def run_context(candidate: Candidate) -> Array:
    query = first_of("query")
    layout = reading.find_layout(candidate, first_of("key"), query)
    return layout(attend(candidate), query.shape)
