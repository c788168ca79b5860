"""The first stage of BERT: word, position and token-type embeddings, summed and normalised."""

import torch
from torch import Tensor, nn

from minbert.config import BertConfig
from minbert.dropout import Dropout
from minbert.kernels import Kernels


class LayerNorm(nn.Module):
    """Layer normalisation (Ba et al. 2016) over the last dimension, by the model's kernels."""

    def __init__(self, config: BertConfig, kernels: Kernels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.eps = config.layer_norm_eps
        self.kernels = kernels

    def forward(self, x: Tensor) -> Tensor:  # (T, D) -> (T, D)
        return self.kernels.layer_norm(x, self.weight, self.bias, self.eps)


class Embeddings(nn.Module):
    """Token ids -> rows that the encoder starts from (Devlin et al. 2018, section 3 and figure 2)."""

    def __init__(self, config: BertConfig, kernels: Kernels):
        super().__init__()
        size = config.hidden_size
        self.word = _table(config.vocab_size, size, config.pad_token_id)
        self.position = _table(config.max_position_embeddings, size)
        self.token_type = _table(config.type_vocab_size, size)
        self.norm = LayerNorm(config, kernels)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, token_ids: Tensor, token_type_ids: Tensor, positions: Tensor) -> Tensor:
        """token_ids, token_type_ids, positions (T,) -> (T, D)"""
        summed = self.word(token_ids) + self.position(positions) + self.token_type(token_type_ids)
        return self.dropout(self.norm(summed))


def _table(count: int, size: int, padding: int | None = None) -> nn.Embedding:
    """A table that `BertModel.initialize` fills: to fill one on the meta device takes torch a second."""
    return nn.Embedding.from_pretrained(torch.empty(count, size), freeze=False, padding_idx=padding)
