"""Mistakes in the embeddings: words, positions, token types and what is done with their sum."""

import math

import numpy as np

from minbert.check.mistakes.bert.mistaken import Mistaken

EMBEDDINGS = ("embeddings",)


class PositionsFromOne(Mistaken):
    stages = EMBEDDINGS
    name = "positions from 1"
    cause = "The first token has position 1, as in RoBERTa, and every other token one too many."
    remedy = "Number positions 0 to S - 1: position_ids[:, :S]."

    def positions(self, ids):
        return super().positions(ids) + 1


class PositionsAllZero(Mistaken):
    stages = EMBEDDINGS
    name = "position 0 for every token"
    cause = "All tokens get the embedding of position 0."
    remedy = "Look up positions 0 to S - 1, one for each column."

    def positions(self, ids):
        return np.zeros_like(ids)


class PositionOfTheSentence(Mistaken):
    stages = EMBEDDINGS
    name = "the sentence's number as its tokens' position"
    cause = "Positions count the sentences of the batch (size(0)), not the tokens of a sentence (size(1))."
    remedy = "Number the columns: positions 0 to S - 1 with S = input_ids.size(1)."

    def positions(self, ids):
        return np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)


class PositionsBackwards(Mistaken):
    stages = EMBEDDINGS
    name = "positions counted from the end"
    cause = "The last column has position 0 and the first one S - 1."
    remedy = "Number positions 0 to S - 1 from left to right."

    def positions(self, ids):
        return super().positions(ids)[:, ::-1]


class NoPositions(Mistaken):
    stages = EMBEDDINGS
    name = "no position embeddings"
    cause = "The position embeddings are not added."
    remedy = "Sum three embeddings: word + position + token type."

    def position_embeddings(self, ids):
        return 0.0


class WavePositions(Mistaken):
    stages = EMBEDDINGS
    name = "sines and cosines as positions"
    cause = "Positions are the sines and cosines of the Transformer's paper; BERT has learned ones."
    remedy = "Look positions 0 to S - 1 up in pos_embedding."

    def position_embeddings(self, ids):
        size = self.config["hidden_size"]
        angles = self.positions(ids)[..., None] * np.exp(-math.log(1e4) * np.arange(0, size, 2) / size)
        return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(*ids.shape, size)


class NoTokenTypes(Mistaken):
    stages = EMBEDDINGS
    name = "no token-type embeddings"
    cause = "The token-type embeddings are not added; type 0 has an embedding too, and it is not zero."
    remedy = "Add tk_type_embedding of type 0 at every token."

    def token_type_embeddings(self, ids):
        return 0.0


class TokenTypesAllOne(Mistaken):
    stages = EMBEDDINGS
    name = "token type 1 for every token"
    cause = "All tokens get the embedding of type 1, the second sentence's."
    remedy = "Use type 0: torch.zeros_like(input_ids)."

    def token_types(self, ids):
        return np.ones_like(ids)


class TokenTypesFromPadding(Mistaken):
    stages = EMBEDDINGS
    name = "the padding mask as token types"
    cause = "Real tokens get type 1 and padding type 0: the attention mask was taken for the token types."
    remedy = "Use type 0 at every token: torch.zeros_like(input_ids)."

    def token_types(self, ids):
        return (ids != self.config["pad_token_id"]).astype(np.int64)


class TokenTypesFromPosition(Mistaken):
    stages = EMBEDDINGS
    name = "token types from the position"
    cause = "The first token has type 0 and all others type 1."
    remedy = "Use type 0 at every token: torch.zeros_like(input_ids)."

    def token_types(self, ids):
        return (self.positions(ids) > 0).astype(np.int64)


class NoWords(Mistaken):
    stages = EMBEDDINGS
    name = "no word embeddings"
    cause = "The word embeddings are not added."
    remedy = "Sum three embeddings: word + position + token type."

    def word_embeddings(self, ids):
        return 0.0


class WordsScaled(Mistaken):
    stages = EMBEDDINGS
    name = "word embeddings times sqrt(D)"
    cause = "The word embeddings are multiplied by the root of the hidden size, as the Transformer does."
    remedy = "Add the word embeddings as they are."

    def word_embeddings(self, ids):
        return super().word_embeddings(ids) * math.sqrt(self.config["hidden_size"])


class SumScaled(Mistaken):
    stages = EMBEDDINGS
    name = "sum of the embeddings times sqrt(D)"
    cause = "The sum of the embeddings is multiplied by the root of the hidden size."
    remedy = "Normalize the sum as it is."

    def embedding_sum(self, ids):
        return super().embedding_sum(ids) * math.sqrt(self.config["hidden_size"])


class MeanOfEmbeddings(Mistaken):
    stages = EMBEDDINGS
    name = "mean of the embeddings"
    cause = "The three embeddings are averaged."
    remedy = "Sum them: word + position + token type."

    def embedding_sum(self, ids):
        return super().embedding_sum(ids) / 3


class PaddingZeroed(Mistaken):
    stages = EMBEDDINGS
    name = "zero in place of the padding token's embedding"
    cause = "The padding token's row of the word embeddings is set to zero although the weights hold another."
    remedy = "Take all rows of the word embeddings as they are; the mask takes care of padding."

    def word_embeddings(self, ids):
        return np.where((ids == self.config["pad_token_id"])[..., None], 0.0, super().word_embeddings(ids))


class OutputZeroAtPadding(Mistaken):
    stages = EMBEDDINGS
    name = "embeddings set to zero at padding"
    cause = "The embeddings' output is multiplied by the padding mask."
    remedy = "Leave the rows of padding as they are; attention's mask takes care of them."

    def embedding_norm(self, total):
        padding = (np.abs(total - self.embedding_sum(self.padding_ids(total))).max(axis=-1) == 0)[..., None]
        return np.where(padding, 0.0, super().embedding_norm(total))

    def padding_ids(self, total):
        return np.full(total.shape[:2], self.config["pad_token_id"])


class NoEmbeddingNorm(Mistaken):
    stages = EMBEDDINGS
    name = "no layer norm after the embeddings"
    cause = "The sum of the embeddings is returned without layer normalisation."
    remedy = "Return dropout(layer_norm(word + position + token type))."

    def embedding_norm(self, total):
        return total


class EmbeddingNormTwice(Mistaken):
    stages = EMBEDDINGS
    name = "layer norm applied twice to the embeddings"
    cause = "The embeddings' layer norm is applied to its own output."
    remedy = "Apply it once to the sum of the embeddings."

    def embedding_norm(self, total):
        return super().embedding_norm(super().embedding_norm(total))


class WordsNormalizedAlone(Mistaken):
    stages = EMBEDDINGS
    name = "layer norm of the word embeddings alone"
    cause = "The words are normalized first, and positions and token types are added after."
    remedy = "Sum all three embeddings first, and normalize the sum."

    def word_embeddings(self, ids):
        return super().embedding_norm(super().word_embeddings(ids))

    def embedding_norm(self, total):
        return total


class TokenTypesAfterNorm(Mistaken):
    stages = EMBEDDINGS
    name = "token types added after the layer norm"
    cause = "The token-type embeddings are added to the normalized sum of the others."
    remedy = "Sum all three embeddings first, and normalize the sum."

    def embedding_norm(self, total):
        types = self.token_type_embeddings(np.zeros(total.shape[:2], dtype=np.int64))
        return super().embedding_norm(total - types) + types
