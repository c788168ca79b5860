"""Mistakes whose numbers cannot be foretold, and the signs by which each is recognised."""

import numpy as np

from minbert.check.bert.attention_stages import PADDING_ASKS, UNDER_ONES, expect_softmax
from minbert.check.bert.fixture_arrays import at_tokens, reference
from minbert.check.judge import distance
from minbert.check.mistakes.bert.attention import FEW_DIGITS
from minbert.check.stage import TOLERANCE, Mistake, Outputs

# These stages run twice. Where the runs differ, there are outputs of this name.
WITHOUT_DROPOUT = ", without dropout"
DETERMINISTIC = (
    "embeddings",
    "q/k/v split",
    "scaled scores",
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


def is_right_without_dropout(given: Outputs, expected: Outputs) -> bool:
    """Returns True if runs differ, and all is right where torch's dropout is switched off."""
    return all(
        distance(given.get(f"{name}{WITHOUT_DROPOUT}"), value) <= TOLERANCE
        for name, value in expected.items()
    )


def lacks_weight(given: Outputs, _: Outputs) -> bool:
    missing = [name for name, there in given.items() if not there]
    return any(".weight" in name and "layer_norm" not in name for name in missing)


def changes_weights(given: Outputs, expected: Outputs) -> bool:
    return True


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
    """Padded sentences see padding alone; all would be right under a mask of 1 and 0."""
    full = reference("attention_mask").min(axis=1) == 1
    to_padding = given["probabilities of padding"][~full].sum(axis=-1)
    tokens = expected["probabilities among real tokens"][~full].sum(axis=-1) > 0
    name = "probabilities among real tokens"
    wrong = distance(given[name][full], expected[name][full]) > TOLERANCE
    right_under_ones = distance(given[UNDER_ONES], at_tokens(reference("layer.0.probabilities"))) <= TOLERANCE
    return wrong and right_under_ones and bool(np.allclose(to_padding[tokens], 1, atol=1e-3))


def overflows(given: Outputs, _: Outputs) -> bool:
    return any(not np.isfinite(values).all() for values in given.values())


EVALUATION = "The numbers change from run to run in eval(), and are right where dropout is switched off."
# fmt: off
SIGNS: dict[str, tuple[Mistake, ...]] = {
    stage: (
        Mistake(f"dropout active in evaluation ({stage})", EVALUATION,
                "Use nn.Dropout, or functional dropout with training=self.training.",
                    recognise=is_right_without_dropout),
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
    "parameters": (
        Mistake("a weight has no parameter",
                "The model has no parameter of the name at which this weight is looked for.",
                "Give the modules the names of the starter's code, see docs/checking.md.",
                recognise=lacks_weight),
    ),
    "weights unchanged": (
        Mistake("forward changes the weights",
                "Parameters have other values after BertModel.forward than before it, as by init_weights().",
                "Call init_weights() in __init__ alone; forward reads the weights.",
                recognise=changes_weights),
    ),
}
# fmt: on
