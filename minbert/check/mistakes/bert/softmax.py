"""Mistakes in softmax and in what its probabilities weigh."""

import numpy as np

from minbert.check.mistakes.bert.mistaken import FEW_DIGITS, Mistaken

SOFTMAX = ("softmax",)
FORMULA = "softmax(Q K^T / sqrt(d) + mask) over the keys (dim=-1)"


class NoSoftmax(Mistaken):
    stages = SOFTMAX
    name = "no softmax"
    cause = "The masked scores weigh the values as they are."
    remedy = f"Apply softmax: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return scores


class SoftmaxOverQueries(Mistaken):
    stages = SOFTMAX
    tolerance = FEW_DIGITS
    name = "softmax over the queries"
    cause = "Softmax runs over the queries (dim=-2): columns sum to one, rows do not."
    remedy = f"Let it run over the keys: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return super().softmax(scores, -2)


class SoftmaxOverHeads(Mistaken):
    stages = SOFTMAX
    tolerance = FEW_DIGITS
    name = "softmax over the heads"
    cause = "Softmax runs over the heads (dim=1)."
    remedy = f"Let it run over the keys: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return super().softmax(scores, 1)


class SoftmaxOverBatch(Mistaken):
    stages = SOFTMAX
    name = "softmax over the batch"
    cause = "Softmax runs over the sentences (dim=0)."
    remedy = f"Let it run over the keys: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return super().softmax(scores, 0)


class SoftmaxOverAll(Mistaken):
    stages = SOFTMAX
    name = "softmax over queries and keys together"
    cause = "All probabilities of a head sum to one, not those of each query."
    remedy = f"Let it run over the keys alone: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return super().softmax(scores, (-2, -1))


class Sigmoid(Mistaken):
    stages = SOFTMAX
    name = "sigmoid in place of softmax"
    cause = "Each score goes through a sigmoid on its own."
    remedy = f"Apply softmax: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return np.exp(-np.logaddexp(0, -scores))


class LogSoftmax(Mistaken):
    stages = SOFTMAX
    name = "log-softmax in place of softmax"
    cause = "The logarithms of the probabilities weigh the values."
    remedy = f"Apply softmax: {FORMULA}."

    def softmax(self, scores, axis=-1):
        shifted = scores - scores.max(axis=axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


class NotNormalized(Mistaken):
    stages = SOFTMAX
    name = "exponentials not divided by their sum"
    cause = "The values are weighed by exp(score)."
    remedy = f"Divide by the row's sum: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return np.exp(scores)


class ShiftedNotNormalized(Mistaken):
    stages = SOFTMAX
    name = "exponentials less the maximum not divided by their sum"
    cause = "The values are weighed by exp(score - maximum)."
    remedy = f"Divide by the row's sum: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return np.exp(scores - scores.max(axis=axis, keepdims=True))


class ScoresOverTheirSum(Mistaken):
    stages = SOFTMAX
    tolerance = FEW_DIGITS
    name = "scores divided by their sum"
    cause = "Rows are made to sum to one without the exponential."
    remedy = f"Apply softmax: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return scores / scores.sum(axis=axis, keepdims=True)


class MaskedAfterSoftmax(Mistaken):
    stages = SOFTMAX
    name = "mask after softmax"
    cause = "Padding's probabilities are set to zero after softmax, so that the others sum to less than one."
    remedy = f"Mask the scores, before softmax: {FORMULA}."

    def probabilities(self, query, key, mask):
        return np.where(mask < 0, 0.0, super().probabilities(query, key, np.zeros_like(mask)))


class ScaledAfterSoftmax(Mistaken):
    stages = SOFTMAX
    name = "division by sqrt(d) after softmax"
    cause = "The probabilities are divided by the root of the head size, and the scores are not."
    remedy = f"Divide the scores, before softmax: {FORMULA}."

    def scaled(self, products, size):
        return products

    def softmax(self, scores, axis=-1):
        return super().softmax(scores, axis) / np.sqrt(self.config["hidden_size"] // self.heads)


class ScaledTwice(Mistaken):
    stages = SOFTMAX
    name = "division by sqrt(d) before and after softmax"
    cause = "The probabilities are divided by the root of the head size too."
    remedy = f"Divide the scores alone: {FORMULA}."

    def softmax(self, scores, axis=-1):
        return super().softmax(scores, axis) / np.sqrt(self.config["hidden_size"] // self.heads)


class Transposed(Mistaken):
    stages = SOFTMAX
    name = "context from transposed probabilities"
    cause = "The values are weighed by P^T: a query's weights are what others give to it."
    remedy = "Multiply P V with P (B, H, queries, keys)."

    def probabilities(self, query, key, mask):
        return super().probabilities(query, key, mask).swapaxes(-1, -2)


class ValueAndKeySwapped(Mistaken):
    stages = SOFTMAX
    name = "value and key swapped in attention"
    cause = "The scores are Q V^T and the context is P K."
    remedy = "Scores are Q K^T / sqrt(d), the context is P V."

    def attention(self, key, query, value, mask, training=False):
        return super().attention(value, query, key, mask, training)


class KeyAsValue(Mistaken):
    stages = SOFTMAX
    name = "keys in place of the values"
    cause = "The context is P K."
    remedy = "Weigh the values: P V."

    def attention(self, key, query, value, mask, training=False):
        return super().attention(key, query, key, mask, training)


class QueryAsValue(Mistaken):
    stages = SOFTMAX
    name = "queries in place of the values"
    cause = "The context is P Q."
    remedy = "Weigh the values: P V."

    def attention(self, key, query, value, mask, training=False):
        return super().attention(key, query, query, mask, training)


class ValueAsKey(Mistaken):
    stages = ("scaled scores",)
    name = "values in place of the keys"
    cause = "The scores are Q V^T."
    remedy = "Multiply the queries by the keys: Q K^T / sqrt(d)."

    def attention(self, key, query, value, mask, training=False):
        return super().attention(value, query, value, mask, training)


class ResidualInAttention(Mistaken):
    stages = SOFTMAX
    name = "queries added to the context"
    cause = "attention adds its queries to the context; the residual sum is add_norm's part."
    remedy = "Return the merged P V alone."

    def context(self, probabilities, value):
        return super().context(probabilities, value) + self.asked

    def attention(self, key, query, value, mask, training=False):
        self.asked = query
        return super().attention(key, query, value, mask, training)


class ValuesAddedToContext(Mistaken):
    stages = SOFTMAX
    name = "values added to the context"
    cause = "attention returns P V + V."
    remedy = "Return the merged P V alone."

    def context(self, probabilities, value):
        return super().context(probabilities, value) + value
