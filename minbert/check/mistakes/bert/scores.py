"""Mistakes in the scores Q K^T / sqrt(K), of which softmax sees what they are less their row's mean."""

import math

import numpy as np

from minbert.check.mistakes.bert.mistaken import Mistaken

SCORES = ("scaled scores",)
FORMULA = "Q K^T / sqrt(d), d the size of a head"


class NotScaled(Mistaken):
    stages = SCORES
    name = "scores without 1/sqrt(d)"
    cause = "The products of queries and keys are not divided by the root of the head size."
    remedy = f"Divide them: {FORMULA}."

    def scaled(self, products, size):
        return products


class DividedBySize(Mistaken):
    stages = SCORES
    name = "scores divided by d"
    cause = "The products are divided by the head size, not by its root; or by the root twice."
    remedy = f"Divide by the root once: {FORMULA}."

    def scaled(self, products, size):
        return products / size


class HiddenSizeRoot(Mistaken):
    stages = SCORES
    name = "scores divided by the root of the hidden size"
    cause = "The products are divided by sqrt(D), the size of all heads together."
    remedy = f"Divide by the root of one head's size: {FORMULA}."

    def scaled(self, products, size):
        return products / math.sqrt(self.config["hidden_size"])


class WholeRoot(Mistaken):
    stages = SCORES
    name = "scores divided by the whole part of sqrt(d)"
    cause = "The root is cut by int() or //, which is right only for head sizes such as 64."
    remedy = f"Divide by the root itself: {FORMULA}."

    def scaled(self, products, size):
        return products / int(math.sqrt(size))


class KeyReshaped(Mistaken):
    stages = SCORES
    name = "key reshaped instead of transposed"
    cause = "The numbers keep their order in a view of (B, H, d, S), which scrambles the columns."
    remedy = "Swap the last two dimensions: key.transpose(-1, -2)."

    def products(self, query, key):
        count, heads, columns, size = key.shape
        return query @ key.reshape(count, heads, size, columns)


class MultipliedByRoot(Mistaken):
    stages = SCORES
    name = "scores multiplied by sqrt(d)"
    cause = "The products are multiplied by the root of the head size."
    remedy = f"Divide by it: {FORMULA}."

    def scaled(self, products, size):
        return products * math.sqrt(size)


class LengthRoot(Mistaken):
    stages = SCORES
    name = "scores divided by the root of the sentence's length"
    cause = "The products are divided by sqrt(S): the size was read from the wrong dimension."
    remedy = f"Read it from the last dimension, query.size(-1): {FORMULA}."

    def scaled(self, products, size):
        return products / math.sqrt(products.shape[-1])


class HeadCountRoot(Mistaken):
    stages = SCORES
    name = "scores divided by the root of the number of heads"
    cause = "The products are divided by sqrt(H)."
    remedy = f"Divide by the root of one head's size: {FORMULA}."

    def scaled(self, products, size):
        return products / math.sqrt(self.heads)


class SignOfScores(Mistaken):
    stages = SCORES
    name = "scores with the wrong sign"
    cause = "The scores are negative where they have to be positive."
    remedy = f"Keep the sign: {FORMULA}."

    def scaled(self, products, size):
        return -super().scaled(products, size)


class KeyTimesQuery(Mistaken):
    stages = SCORES
    name = "key and query swapped in the scores"
    cause = "The scores are K Q^T: rows belong to keys."
    remedy = f"Rows have to belong to queries: {FORMULA}."

    def products(self, query, key):
        return super().products(key, query)


class QueryTimesQuery(Mistaken):
    stages = SCORES
    name = "queries in place of the keys in the scores"
    cause = "The scores are Q Q^T."
    remedy = f"Multiply by the keys: {FORMULA}."

    def products(self, query, key):
        return super().products(query, query)


class KeyTimesKey(Mistaken):
    stages = SCORES
    name = "keys in place of the queries in the scores"
    cause = "The scores are K K^T."
    remedy = f"Multiply the queries by the keys: {FORMULA}."

    def products(self, query, key):
        return super().products(key, key)


class Cosines(Mistaken):
    stages = SCORES
    name = "cosines as scores"
    cause = "Queries and keys are divided by their lengths."
    remedy = f"Multiply them as they are: {FORMULA}."

    def products(self, query, key):
        unit = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key))
        return super().products(*unit)

    def scaled(self, products, size):
        return products


class HeadsTogether(Mistaken):
    stages = SCORES
    name = "one matrix of scores for all heads"
    cause = "The products are summed over the heads, so that all heads look at the same tokens."
    remedy = f"Keep the heads apart: {FORMULA} for each head."

    def products(self, query, key):
        products = super().products(query, key)
        return np.broadcast_to(products.sum(axis=1, keepdims=True), products.shape)


class SoftmaxTwice(Mistaken):
    stages = SCORES
    name = "softmax applied twice"
    cause = "The probabilities go through softmax once more."
    remedy = "Apply softmax once, to the masked scores."

    def softmax(self, scores, axis=-1):
        return super().softmax(super().softmax(scores, axis), axis)
