"""Mistakes in dropout while training: left out, at the wrong place, at the wrong rate, or not scaled."""

import numpy as np

from minbert.check.mistakes.bert.mistaken import Mistaken

EMBEDDING = ("embedding dropout",)
ATTENTION = ("attention dropout",)
SUBLAYER = ("sublayer dropout",)
KEPT = "what is kept is divided by 1 - p"


class NoEmbeddingDropout(Mistaken):
    stages = EMBEDDING
    name = "no dropout on the embeddings"
    cause = "The normalized embeddings are returned without dropout in training."
    remedy = "Return embed_dropout(layer_norm(sum))."

    def embed(self, ids, training=False):
        return super().embed(ids)


class UnscaledEmbeddingDropout(Mistaken):
    stages = EMBEDDING
    name = "dropout of the embeddings not scaled"
    cause = "What is kept is not divided by 1 - p."
    remedy = f"Use nn.Dropout: {KEPT}."

    def embedding_dropout(self, x):
        return np.where(self.random.random(x.shape) < self.config["hidden_dropout_prob"], 0.0, x)


class EmbeddingDropoutOfAttention(Mistaken):
    stages = EMBEDDING
    name = "attention's rate of dropout on the embeddings"
    cause = "The embeddings are dropped by attention_probs_dropout_prob."
    remedy = "Use hidden_dropout_prob."

    def embedding_dropout(self, x):
        return self.attention_dropout(x)


class NoAttentionDropout(Mistaken):
    stages = ATTENTION
    name = "no dropout on the attention probabilities"
    cause = "The probabilities weigh the values without dropout in training."
    remedy = "Apply self.dropout to the probabilities, after softmax."

    def attention_dropout(self, x):
        return x


class UnscaledAttentionDropout(Mistaken):
    stages = ATTENTION
    name = "dropout of the attention probabilities not scaled"
    cause = "What is kept is not divided by 1 - p."
    remedy = f"Use nn.Dropout: {KEPT}."

    def attention_dropout(self, x):
        return np.where(self.random.random(x.shape) < self.config["attention_probs_dropout_prob"], 0.0, x)


class AttentionDropoutOfHidden(Mistaken):
    stages = ATTENTION
    name = "the hidden rate of dropout on the attention probabilities"
    cause = "The probabilities are dropped by hidden_dropout_prob."
    remedy = "Use attention_probs_dropout_prob."

    def attention_dropout(self, x):
        return self.embedding_dropout(x)


class ContextDropout(Mistaken):
    stages = ATTENTION
    name = "dropout on the context"
    cause = "The context is dropped, not the probabilities that make it."
    remedy = "Apply self.dropout to the probabilities, after softmax."

    def attention(self, key, query, value, mask, training=False):
        merged = super().attention(key, query, value, mask)
        return self.attention_dropout(merged) if training else merged


class NoSublayerDropout(Mistaken):
    stages = SUBLAYER
    name = "no dropout in add_norm"
    cause = "In training the dense layer's output is added without dropout, or its input is dropped instead."
    remedy = "Return norm(x + dropout(dense(output)))."

    def sum_and_norm(self, x, output, dense, norm, training):
        return super().sum_and_norm(x, output, dense, norm, False)


class UnscaledSublayerDropout(Mistaken):
    stages = SUBLAYER
    name = "dropout in add_norm not scaled"
    cause = "What is kept is not divided by 1 - p."
    remedy = f"Use nn.Dropout: {KEPT}."

    def sublayer_dropout(self, x, training):
        rate = self.config["hidden_dropout_prob"] if training else 0.0
        return np.where(self.random.random(x.shape) < rate, 0.0, x)


class SublayerDropoutOfAttention(Mistaken):
    stages = SUBLAYER
    name = "attention's rate of dropout in add_norm"
    cause = "The dense layer's output is dropped by attention_probs_dropout_prob."
    remedy = "Use hidden_dropout_prob."

    def sublayer_dropout(self, x, training):
        return self.attention_dropout(x) if training else x


class DropoutAfterNorm(Mistaken):
    stages = SUBLAYER
    name = "dropout after the norm"
    cause = "The normalized sum is dropped: dropout(norm(x + dense(output)))."
    remedy = "Drop the dense layer's output alone: norm(x + dropout(dense(output)))."

    def sum_and_norm(self, x, output, dense, norm, training):
        return self.sublayer_dropout(super().sum_and_norm(x, output, dense, norm, False), training)


class DropoutOfTheSum(Mistaken):
    stages = SUBLAYER
    name = "dropout of the residual sum"
    cause = "The input is dropped too: norm(dropout(x + dense(output)))."
    remedy = "Drop the dense layer's output alone: norm(x + dropout(dense(output)))."

    def sum_and_norm(self, x, output, dense, norm, training):
        return self.layer_norm(self.sublayer_dropout(x + self.linear(output, dense), training), norm)


class DropoutOfTheInput(Mistaken):
    stages = SUBLAYER
    name = "dropout of the residual"
    cause = "The input is dropped, and the dense layer's output is not: norm(dropout(x) + dense(output))."
    remedy = "Drop the dense layer's output: norm(x + dropout(dense(output)))."

    def sum_and_norm(self, x, output, dense, norm, training):
        return self.layer_norm(self.sublayer_dropout(x, training) + self.linear(output, dense), norm)
