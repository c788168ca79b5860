"""Mistakes in the pooler, tanh(W h + b) of the first token's last hidden state h."""

import numpy as np

from minbert.check.bert.formulas import erf
from minbert.check.mistakes.bert.mistaken import Mistaken

POOLER = ("pooler",)
FORMULA = "tanh(W h + b), h the last hidden state of column 0"


class NoTanh(Mistaken):
    stages = POOLER
    name = "pooler without tanh"
    cause = "The dense layer's output is returned as it is."
    remedy = f"Apply tanh: {FORMULA}."

    def pooler_activation(self, x):
        return x


class SigmoidPooler(Mistaken):
    stages = POOLER
    name = "sigmoid in place of tanh in the pooler"
    cause = "The pooler's activation is a sigmoid."
    remedy = f"Apply tanh: {FORMULA}."

    def pooler_activation(self, x):
        return 1 / (1 + np.exp(-x))


class ReluPooler(Mistaken):
    stages = POOLER
    name = "ReLU in place of tanh in the pooler"
    cause = "The pooler's activation is max(x, 0)."
    remedy = f"Apply tanh: {FORMULA}."

    def pooler_activation(self, x):
        return np.maximum(x, 0)


class GeluPooler(Mistaken):
    stages = POOLER
    name = "GELU in place of tanh in the pooler"
    cause = "The pooler's activation is the feed-forward layers'."
    remedy = f"Apply tanh: {FORMULA}."

    def pooler_activation(self, x):
        return x * (1 + erf(x / np.sqrt(2))) / 2


class TanhTwice(Mistaken):
    stages = POOLER
    name = "tanh applied twice in the pooler"
    cause = "tanh is applied to its own output."
    remedy = f"Apply it once: {FORMULA}."

    def pooler_activation(self, x):
        return np.tanh(np.tanh(x))


class TanhBefore(Mistaken):
    stages = POOLER
    name = "tanh before the pooler's dense layer"
    cause = "The pooler computes W tanh(h) + b."
    remedy = f"tanh comes last: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        return np.tanh(hidden[:, 0])

    def pooler_activation(self, x):
        return x


class NoPoolerDense(Mistaken):
    stages = POOLER
    name = "pooler without its dense layer"
    cause = "The pooler computes tanh(h)."
    remedy = f"Apply pooler_dense: {FORMULA}."

    def pool(self, hidden, embeddings, ids, mask):
        return self.pooler_activation(hidden[:, 0])


class FirstTokenItself(Mistaken):
    stages = POOLER
    name = "no pooler"
    cause = "The first token's hidden state is returned as it is."
    remedy = f"Apply pooler_dense and pooler_af: {FORMULA}."

    def pool(self, hidden, embeddings, ids, mask):
        return hidden[:, 0]


class PoolerWithoutBias(Mistaken):
    stages = POOLER
    name = "pooler without its bias"
    cause = "The pooler computes tanh(W h)."
    remedy = f"Add the bias: {FORMULA}."

    def pool(self, hidden, embeddings, ids, mask):
        return self.pooler_activation(hidden[:, 0] @ self.weights["pooler.dense.weight"].T)


class LastColumn(Mistaken):
    stages = POOLER
    name = "pooler of the last column"
    cause = "The pooler reads hidden[:, -1], which may be padding."
    remedy = f"Read column 0: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        return hidden[:, -1]


class LastToken(Mistaken):
    stages = POOLER
    name = "pooler of the last token"
    cause = "The pooler reads each sentence's last real token, [SEP]."
    remedy = f"Read column 0: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        return hidden[np.arange(len(hidden)), mask.sum(axis=1) - 1]


class SecondToken(Mistaken):
    stages = POOLER
    name = "pooler of the second token"
    cause = "The pooler reads hidden[:, 1]."
    remedy = f"Read column 0: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        return hidden[:, 1]


class FirstSentence(Mistaken):
    stages = POOLER
    name = "pooler of the first sentence"
    cause = "The pooler reads hidden[0], the tokens of the first sentence."
    remedy = f"Read hidden[:, 0], the first token of each sentence: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        return hidden[0]


class EveryToken(Mistaken):
    stages = POOLER
    name = "pooler of every token"
    cause = "The pooler is applied to all tokens: (B, S, D)."
    remedy = f"Read column 0 alone: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        return hidden


class MeanOfColumns(Mistaken):
    stages = POOLER
    name = "pooler of the mean over all columns"
    cause = "The pooler reads the mean of the hidden states, padding included."
    remedy = f"Read column 0: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        return hidden.mean(axis=1)


class MeanOfTokens(Mistaken):
    stages = POOLER
    name = "pooler of the mean over real tokens"
    cause = "The pooler reads the mean of the hidden states."
    remedy = f"Read column 0: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        weights = mask[..., None] / mask.sum(axis=1)[:, None, None]
        return (hidden * weights).sum(axis=1)


class MaximumOfColumns(Mistaken):
    stages = POOLER
    name = "pooler of the maximum over all columns"
    cause = "The pooler reads the largest value of each feature, padding included."
    remedy = f"Read column 0: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        return hidden.max(axis=1)


class PoolerOfEmbeddings(Mistaken):
    stages = POOLER
    name = "pooler of the embeddings"
    cause = "The pooler reads the embeddings' first row, not the last layer's."
    remedy = f"Read the last layer's output: {FORMULA}."

    def first_token(self, hidden, embeddings, mask):
        return embeddings[:, 0]
