"""Mistakes whose numbers cannot be foretold, and the signs by which each is recognised."""

import numpy as np

from minbert.check.bert.attention_stages import PADDING_ASKS, expect_softmax
from minbert.check.bert.dropout_stages import RANGE, SHARE
from minbert.check.bert.fixture_arrays import at_tokens, reference
from minbert.check.judge import distance
from minbert.check.mistakes.bert.attention import FEW_DIGITS
from minbert.check.stage import TOLERANCE, Mistake, Outputs

# At these, stages run twice, and the outputs of the second run are named so.
AGAIN = ", again"
DETERMINISTIC = (
    "embeddings",
    "q/k/v split",
    "softmax",
    "context",
    "self-attention",
    "output projection",
    "add and norm",
    "feed-forward",
    "one layer",
    "all layers",
    "pooler",
)


def changes(given: Outputs, expected: Outputs) -> bool:
    """Returns True if two runs gave different numbers."""
    return any(
        f"{name}{AGAIN}" in given and distance(given[f"{name}{AGAIN}"], given[name]) > TOLERANCE
        for name in expected
        if name in given
    )


def is_masked_by_query(given: Outputs, _: Outputs) -> bool:
    """Real tokens see all, and what padding asks has lost its digits or looks evenly."""
    plain = expect_softmax()["probabilities"]
    unmasked = at_tokens(plain)
    padding = reference("attention_mask")[:, None, None, :] == 0
    masked = given["probabilities of padding"]
    asked = given.get(PADDING_ASKS)
    if asked is None or distance(masked, np.where(padding, unmasked, 0.0)) > TOLERANCE:
        return False
    elsewhere = plain - unmasked
    rows = elsewhere.sum(axis=-1, keepdims=True) > 0
    even = np.broadcast_to(np.where(rows, 1 / plain.shape[-1], 0.0), plain.shape)
    fewer_digits = TOLERANCE < distance(asked, elsewhere) <= FEW_DIGITS
    return fewer_digits or distance(asked, even) <= TOLERANCE or bool(np.isnan(asked).any())


def is_masked_inversely(given: Outputs, expected: Outputs) -> bool:
    """Padded sentences see padding alone, and the one without padding sees nothing that is right."""
    full = reference("attention_mask").min(axis=1) == 1
    to_padding = given["probabilities of padding"][~full].sum(axis=-1)
    tokens = expected["probabilities among real tokens"][~full].sum(axis=-1) > 0
    name = "probabilities among real tokens"
    wrong = distance(given[name][full], expected[name][full]) > TOLERANCE
    return wrong and bool(np.allclose(to_padding[tokens], 1, atol=1e-3))


def is_dropped_before(given: Outputs, _: Outputs) -> bool:
    """Nothing is 0 and all changes from draw to draw: it was computed from what has been dropped."""
    return SHARE in given and float(given[SHARE]) == 0.0 and float(given[RANGE]) > FEW_DIGITS


def overflows(given: Outputs, _: Outputs) -> bool:
    return any(not np.isfinite(values).all() for values in given.values())


EVALUATION = "The numbers change from run to run although the model is in eval(): dropout is active."
# fmt: off
SIGNS: dict[str, tuple[Mistake, ...]] = {
    stage: (
        Mistake(f"dropout active in evaluation ({stage})", EVALUATION,
                "Use nn.Dropout, or functional dropout with training=self.training.", recognise=changes),
    )
    for stage in DETERMINISTIC
} | {
    "mask": (
        Mistake("mask on the query axis",
                "The mask is added to the rows of padding (transposed), so that real tokens see padding too.",
                "Add it over the keys, the last dimension: (B, 1, 1, S).", recognise=is_masked_by_query),
        Mistake("mask read the wrong way round",
                "Scores are overwritten where the mask is 0, but 0 means a real token and -10000 padding.",
                "Add the mask as it is, or overwrite where it is below 0.", recognise=is_masked_inversely),
    ),
    "large scores": (
        Mistake("softmax without subtracting the maximum",
                "In fp32 exp(score) is infinite for scores above 88, and infinity over infinity is NaN.",
                "Use torch.softmax, or subtract each row's maximum before exp.", recognise=overflows),
    ),
    "embedding dropout": (
        Mistake("dropout before the layer norm of the embeddings",
                "The sum of the embeddings is dropped and normalized after.",
                "Return dropout(layer_norm(sum)).", recognise=is_dropped_before),
    ),
    "attention dropout": (
        Mistake("dropout before softmax", "The scores are dropped: a score of 0 still has a probability.",
                "Drop the probabilities, after softmax.", recognise=is_dropped_before),
    ),
}
# fmt: on
