"""Mistakes in the use of attention's additive mask, 0 at real tokens and -10000 at padding."""

import numpy as np

from minbert.check.bert.attention_stages import PADDING_ASKS
from minbert.check.mistakes.bert.mistaken import FEW_DIGITS, Mistaken

MASK = ("mask",)


class MaskIgnored(Mistaken):
    stages = MASK
    reads = (PADDING_ASKS,)
    name = "mask ignored"
    cause = "The mask is not added to the scores, so that tokens look at padding."
    remedy = "Add it before softmax: softmax(Q K^T / sqrt(d) + mask)."

    def masked(self, scores, mask):
        return scores


class MaskSubtracted(Mistaken):
    stages = MASK
    tolerance = FEW_DIGITS
    name = "mask with the wrong sign"
    cause = "The mask is subtracted, so that sentences with padding look at nothing but padding."
    remedy = "Add it: it is -10000 at padding already."

    def masked(self, scores, mask):
        return scores - mask


class MaskMultiplied(Mistaken):
    stages = MASK
    name = "scores multiplied by the mask"
    cause = "The scores are multiplied by the mask, which is 0 at real tokens."
    remedy = "Add it: softmax(Q K^T / sqrt(d) + mask)."

    def masked(self, scores, mask):
        return scores * mask


class MaskMultipliedTooMuch(Mistaken):
    stages = MASK
    name = "scores multiplied by 1 + mask"
    cause = "The scores are multiplied by the mask and added to it, or multiplied by 1 + mask."
    remedy = "Add the mask: softmax(Q K^T / sqrt(d) + mask)."

    def masked(self, scores, mask):
        return scores * (1 + mask)


class MaskAddedToProbabilities(Mistaken):
    stages = MASK
    name = "mask added after softmax"
    cause = "-10000 is added to the probabilities of padding."
    remedy = "Add the mask to the scores, before softmax."

    def probabilities(self, query, key, mask):
        return super().probabilities(query, key, np.zeros_like(mask)) + mask


class MaskedByZero(Mistaken):
    stages = MASK
    name = "scores of padding set to zero"
    cause = "A score of 0 at padding still has a probability: e^0 = 1 before it is normalised."
    remedy = "Give padding -10000, by adding the mask."

    def masked(self, scores, mask):
        return np.where(mask < 0, 0.0, scores)


class MaskTooWeak(Mistaken):
    stages = MASK
    name = "mask made too weak"
    cause = "The mask is divided by 10000 or counts as a flag: padding's scores are only 1 lower."
    remedy = "Add the mask as it is: -10000 at padding."

    def masked(self, scores, mask):
        return scores + mask / 10000


class FirstMaskForAll(Mistaken):
    stages = MASK
    name = "the first sentence's mask for all sentences"
    cause = "One sentence's mask is added to the scores of every sentence."
    remedy = "Add mask (B, 1, 1, S) by broadcasting, sentence by sentence."

    def masked(self, scores, mask):
        return scores + mask[:1]


class LastMaskForAll(Mistaken):
    stages = MASK
    name = "the last sentence's mask for all sentences"
    cause = "One sentence's mask is added to the scores of every sentence."
    remedy = "Add mask (B, 1, 1, S) by broadcasting, sentence by sentence."

    def masked(self, scores, mask):
        return scores + mask[-1:]


class Causal(Mistaken):
    stages = MASK
    name = "causal mask"
    cause = "Tokens do not look at those after them, as in a decoder."
    remedy = "BERT looks both ways: mask nothing but padding."

    def masked(self, scores, mask):
        return np.where(np.tri(*scores.shape[-2:]) == 1, scores + mask, -np.inf)


class NotAtItself(Mistaken):
    stages = ("scaled scores",)
    name = "tokens do not look at themselves"
    cause = "The diagonal of the scores is masked."
    remedy = "A token looks at itself too: mask nothing but padding."

    def masked(self, scores, mask):
        return np.where(np.eye(scores.shape[-1]) == 1, -1e9, scores + mask)
