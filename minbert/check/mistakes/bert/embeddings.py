"""Mistakes in the embeddings: words, positions, token types and what is done with their sum."""

import math

import numpy as np

from minbert.check.mistakes.table import wrong
from minbert.check.references.bert import Bert


def _wave_positions(self, ids):
    size = self.hidden_size
    angles = self.positions(ids)[..., None] * np.exp(-math.log(1e4) * np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(*ids.shape, size)


def _token_types_after_norm(self, total):
    types = self.token_type_embeddings(np.zeros(total.shape[:2], dtype=np.int64))
    return Bert.embedding_norm(self, total - types) + types


def _output_zero_at_padding(self, total):
    padding = self.embedding_sum(np.full(total.shape[:2], self.config["pad_token_id"]))
    is_padding = (np.abs(total - padding).max(axis=-1) == 0)[..., None]
    return np.where(is_padding, 0.0, Bert.embedding_norm(self, total))


# fmt: off
EMBEDDINGS = (
    wrong("positions from 1",
          "The first token has position 1, as in RoBERTa, and every other token one too many.",
          "Number positions 0 to S - 1: position_ids[:, :S].",
          positions=lambda self, ids: Bert.positions(self, ids) + 1),
    wrong("position 0 for every token", "All tokens get the embedding of position 0.",
          "Look up positions 0 to S - 1, one for each column.",
          positions=lambda self, ids: np.zeros_like(ids)),
    wrong("the sentence's number as its tokens' position",
          "Positions count the sentences of the batch (size(0)), not the tokens of a sentence (size(1)).",
          "Number the columns: positions 0 to S - 1 with S = input_ids.size(1).",
          positions=lambda self, ids: np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)),
    wrong("positions counted from the end", "The last column has position 0 and the first one S - 1.",
          "Number positions 0 to S - 1 from left to right.",
          positions=lambda self, ids: Bert.positions(self, ids)[:, ::-1]),
    wrong("no position embeddings", "The position embeddings are not added.",
          "Sum three embeddings: word + position + token type.", position_embeddings=lambda self, ids: 0.0),
    wrong("sines and cosines as positions",
          "Positions are the sines and cosines of the Transformer's paper; BERT has learned ones.",
          "Look positions 0 to S - 1 up in pos_embedding.", position_embeddings=_wave_positions),
    wrong("no token-type embeddings",
          "The token-type embeddings are not added; type 0 has an embedding too, and it is not zero.",
          "Add tk_type_embedding of type 0 at every token.", token_type_embeddings=lambda self, ids: 0.0),
    wrong("token type 1 for every token", "All tokens get the embedding of type 1, the second sentence's.",
          "Use type 0: torch.zeros_like(input_ids).", token_types=lambda self, ids: np.ones_like(ids)),
    wrong("the padding mask as token types",
          "Real tokens get type 1 and padding type 0: the attention mask was taken for the token types.",
          "Use type 0 at every token: torch.zeros_like(input_ids).",
          token_types=lambda self, ids: (~self.is_padding(ids)).astype(np.int64)),
    wrong("token types from the position", "The first token has type 0 and all others type 1.",
          "Use type 0 at every token: torch.zeros_like(input_ids).",
          token_types=lambda self, ids: (self.positions(ids) > 0).astype(np.int64)),
    wrong("no word embeddings", "The word embeddings are not added.",
          "Sum three embeddings: word + position + token type.", word_embeddings=lambda self, ids: 0.0),
    wrong("word embeddings times sqrt(D)",
          "The word embeddings are multiplied by the root of the hidden size, as the Transformer does.",
          "Add the word embeddings as they are.",
          word_embeddings=lambda self, ids: Bert.word_embeddings(self, ids) * math.sqrt(self.hidden_size)),
    wrong("sum of the embeddings times sqrt(D)",
          "The sum of the embeddings is multiplied by the root of the hidden size.",
          "Normalize the sum as it is.",
          embedding_sum=lambda self, ids: Bert.embedding_sum(self, ids) * math.sqrt(self.hidden_size)),
    wrong("mean of the embeddings", "The three embeddings are averaged.",
          "Sum them: word + position + token type.",
          embedding_sum=lambda self, ids: Bert.embedding_sum(self, ids) / 3),
    wrong("zero in place of the padding token's embedding",
          "The padding token's row of the word embeddings is set to zero although the weights hold another.",
          "Take all rows of the word embeddings as they are; the mask takes care of padding.",
          word_embeddings=lambda self, ids:
              np.where(self.is_padding(ids)[..., None], 0.0, Bert.word_embeddings(self, ids))),
    wrong("embeddings set to zero at padding", "The embeddings' output is multiplied by the padding mask.",
          "Leave the rows of padding as they are; attention's mask takes care of them.",
          embedding_norm=_output_zero_at_padding),
    wrong("no layer norm after the embeddings",
          "The sum of the embeddings is returned without layer normalisation.",
          "Return dropout(layer_norm(word + position + token type)).",
          embedding_norm=lambda self, total: total),
    wrong("layer norm applied twice to the embeddings",
          "The embeddings' layer norm is applied to its own output.",
          "Apply it once to the sum of the embeddings.",
          embedding_norm=lambda self, total: Bert.embedding_norm(self, Bert.embedding_norm(self, total))),
    wrong("layer norm of the word embeddings alone",
          "The words are normalized first, and positions and token types are added after.",
          "Sum all three embeddings first, and normalize the sum.",
          word_embeddings=lambda self, ids: Bert.embedding_norm(self, Bert.word_embeddings(self, ids)),
          embedding_norm=lambda self, total: total),
    wrong("layer norm of each embedding apart", "Words, positions and types are normalized and then added.",
          "Sum all three embeddings first, and normalize the sum.",
          embedding_sum=lambda self, ids: sum(
              Bert.embedding_norm(self, part(ids))
              for part in (self.word_embeddings, self.position_embeddings, self.token_type_embeddings)),
          embedding_norm=lambda self, total: total),
    wrong("positions added after the layer norm",
          "The position embeddings are added to the normalized sum of the others.",
          "Sum all three embeddings first, and normalize the sum.",
          position_embeddings=lambda self, ids: 0.0,
          embed=lambda self, ids, training=False:
              Bert.embed(self, ids, training) + Bert.position_embeddings(self, ids)),
    wrong("word embeddings added after the layer norm",
          "The word embeddings are added to the normalized sum of the others.",
          "Sum all three embeddings first, and normalize the sum.",
          word_embeddings=lambda self, ids: 0.0,
          embed=lambda self, ids, training=False:
              Bert.embed(self, ids, training) + Bert.word_embeddings(self, ids)),
    wrong("word embeddings added twice", "The sum has the word embeddings two times.",
          "Sum three embeddings: word + position + token type.",
          word_embeddings=lambda self, ids: 2 * Bert.word_embeddings(self, ids)),
    wrong("position embeddings added twice", "The sum has the position embeddings two times.",
          "Sum three embeddings: word + position + token type.",
          position_embeddings=lambda self, ids: 2 * Bert.position_embeddings(self, ids)),
    wrong("token-type embeddings added twice", "The sum has the token-type embeddings two times.",
          "Sum three embeddings: word + position + token type.",
          token_type_embeddings=lambda self, ids: 2 * Bert.token_type_embeddings(self, ids)),
    wrong("product of the embeddings", "Words, positions and types are multiplied.",
          "Sum three embeddings: word + position + token type.",
          embedding_sum=lambda self, ids:
              self.word_embeddings(ids) * self.position_embeddings(ids) * self.token_type_embeddings(ids)),
    wrong("positions of RoBERTa", "Real tokens are counted from 1, and padding has position 0.",
          "Number positions 0 to S - 1, one for each column, padding too.",
          positions=lambda self, ids: np.where(self.is_padding(ids), 0, np.cumsum(~self.is_padding(ids),
              axis=1))),
    wrong("token types added after the layer norm",
          "The token-type embeddings are added to the normalized sum of the others.",
          "Sum all three embeddings first, and normalize the sum.", embedding_norm=_token_types_after_norm),
)
# fmt: on
