"""Mistakes in how the forward method of self-attention calls attention."""

import numpy as np

from minbert.check.mistakes.bert.mistaken import Mistaken

CALL = ("self-attention",)
ORDER = "attention(key, query, value, mask)"


class KeyQueryCall(Mistaken):
    stages = CALL
    name = "key and query swapped in the call of attention"
    cause = "attention is given the queries as its keys and the keys as its queries."
    remedy = f"Keep the order of its arguments: {ORDER}."

    def arguments(self, hidden, number):
        key, query, value = super().arguments(hidden, number)
        return query, key, value


class ValueKeyCall(Mistaken):
    stages = CALL
    name = "value and key swapped in the call of attention"
    cause = "attention is given the values as its keys and the keys as its values."
    remedy = f"Keep the order of its arguments: {ORDER}."

    def arguments(self, hidden, number):
        key, query, value = super().arguments(hidden, number)
        return value, query, key


class ValueQueryCall(Mistaken):
    stages = CALL
    name = "value and query swapped in the call of attention"
    cause = "attention is given the values as its queries and the queries as its values."
    remedy = f"Keep the order of its arguments: {ORDER}."

    def arguments(self, hidden, number):
        key, query, value = super().arguments(hidden, number)
        return key, value, query


class QueryKeyValueShifted(Mistaken):
    stages = CALL
    name = "arguments of attention shifted by one"
    cause = "attention(query, value, key, mask) is called."
    remedy = f"Keep the order of its arguments: {ORDER}."

    def arguments(self, hidden, number):
        key, query, value = super().arguments(hidden, number)
        return query, value, key


class ValueKeyQueryShifted(Mistaken):
    stages = CALL
    name = "arguments of attention shifted by two"
    cause = "attention(value, key, query, mask) is called."
    remedy = f"Keep the order of its arguments: {ORDER}."

    def arguments(self, hidden, number):
        key, query, value = super().arguments(hidden, number)
        return value, key, query


class KeysByQueryLayer(Mistaken):
    stages = CALL
    name = "keys from the query's linear layer"
    cause = "The keys are transform(x, self.query)."
    remedy = "Use self.key for the keys."

    def arguments(self, hidden, number):
        _, query, value = super().arguments(hidden, number)
        return query, query, value


class QueriesByKeyLayer(Mistaken):
    stages = CALL
    name = "queries from the key's linear layer"
    cause = "The queries are transform(x, self.key)."
    remedy = "Use self.query for the queries."

    def arguments(self, hidden, number):
        key, _, value = super().arguments(hidden, number)
        return key, key, value


class ValuesByKeyLayer(Mistaken):
    stages = CALL
    name = "values from the key's linear layer"
    cause = "The values are transform(x, self.key)."
    remedy = "Use self.value for the values."

    def arguments(self, hidden, number):
        key, query, _ = super().arguments(hidden, number)
        return key, query, key


class ValuesByQueryLayer(Mistaken):
    stages = CALL
    name = "values from the query's linear layer"
    cause = "The values are transform(x, self.query)."
    remedy = "Use self.value for the values."

    def arguments(self, hidden, number):
        key, query, _ = super().arguments(hidden, number)
        return key, query, query


class KeysByValueLayer(Mistaken):
    stages = CALL
    name = "keys from the value's linear layer"
    cause = "The keys are transform(x, self.value)."
    remedy = "Use self.key for the keys."

    def arguments(self, hidden, number):
        _, query, value = super().arguments(hidden, number)
        return value, query, value


class AllByQueryLayer(Mistaken):
    stages = CALL
    name = "one linear layer for queries, keys and values"
    cause = "All three are transform(x, self.query)."
    remedy = "Use self.query, self.key and self.value."

    def arguments(self, hidden, number):
        _, query, _ = super().arguments(hidden, number)
        return query, query, query


class ValuesNotProjected(Mistaken):
    stages = CALL
    name = "values without their linear layer"
    cause = "The values are the hidden states split into heads."
    remedy = "Use transform(x, self.value)."

    def arguments(self, hidden, number):
        key, query, _ = super().arguments(hidden, number)
        return key, query, self.split_heads(hidden)


class MaskNotHandedOn(Mistaken):
    stages = CALL
    name = "self-attention without its mask"
    cause = "The forward method of self-attention does not hand its mask to attention."
    remedy = f"Hand it on: {ORDER}."

    def self_attention(self, hidden, mask, number=0):
        return super().self_attention(hidden, np.zeros_like(mask), number)


class ResidualInSelfAttention(Mistaken):
    stages = CALL
    name = "residual sum inside self-attention"
    cause = "self-attention adds its input to the merged heads; add_norm does so again."
    remedy = "Return attention's output alone."

    def self_attention(self, hidden, mask, number=0):
        return super().self_attention(hidden, mask, number) + hidden
