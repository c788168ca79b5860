"""BERT encoder: self-attention, encoder layer and the whole model."""

import math

import torch
import torch.nn.functional as F
from base_bert import BertPreTrainedModel
from torch import nn
from utils import get_extended_attention_mask


class BertSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_attention_heads = config.num_attention_heads
        self.attention_head_size = config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def transform(self, x, linear_layer):
        """Project x and split it into heads: (B, S, D) -> (B, H, S, K)."""
        batch, length, _ = x.shape
        projected = linear_layer(x)
        return projected.view(batch, length, self.num_attention_heads, -1).transpose(1, 2)

    def attention(self, key, query, value, attention_mask):
        """Scaled dot-product attention; the mask is 0 for real tokens and -10000 for padding."""
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
        weights = self.dropout(torch.softmax(scores + attention_mask, dim=-1))
        context = weights @ value  # (B, H, S, K)
        return context.transpose(1, 2).flatten(start_dim=2)

    def forward(self, hidden_states, attention_mask):
        key = self.transform(hidden_states, self.key)
        query = self.transform(hidden_states, self.query)
        value = self.transform(hidden_states, self.value)
        return self.attention(key, query, value, attention_mask)


class BertLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attention = BertSelfAttention(config)
        self.attention_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.attention_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.interm_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.interm_af = F.gelu
        self.out_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.out_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.out_dropout = nn.Dropout(config.hidden_dropout_prob)

    def add_norm(self, input, output, dense_layer, dropout, ln_layer):
        """Residual connection around a sublayer, then layer normalisation."""
        return ln_layer(input + dropout(dense_layer(output)))

    def forward(self, hidden_states, attention_mask):
        attended = self.self_attention(hidden_states, attention_mask)
        middle = self.add_norm(
            hidden_states, attended, self.attention_dense, self.attention_dropout, self.attention_layer_norm
        )
        wide = self.interm_af(self.interm_dense(middle))
        return self.add_norm(middle, wide, self.out_dense, self.out_dropout, self.out_layer_norm)


class BertModel(BertPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.config = config
        self.word_embedding = nn.Embedding(
            config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id
        )
        self.pos_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.tk_type_embedding = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.embed_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.embed_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.register_buffer("position_ids", torch.arange(config.max_position_embeddings).unsqueeze(0))
        self.bert_layers = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))
        self.pooler_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.pooler_af = nn.Tanh()
        self.extended_mask = None
        self.init_weights()

    def embed(self, input_ids):
        words = self.word_embedding(input_ids)
        positions = self.pos_embedding(self.position_ids[:, : input_ids.size(1)])
        types = self.tk_type_embedding(torch.zeros_like(input_ids))
        return self.embed_dropout(self.embed_layer_norm(words + positions + types))

    def encode(self, hidden_states, attention_mask):
        # the mask is the same for every layer, so compute it only when the shape changes
        if (
            self.extended_mask is None
            or self.extended_mask.size(-1) != attention_mask.size(1)
            or (self.extended_mask.size(0) != attention_mask.size(0))
        ):
            self.extended_mask = get_extended_attention_mask(attention_mask, self.dtype)
        extended = self.extended_mask
        for layer in self.bert_layers:
            hidden_states = layer(hidden_states, extended)
        return hidden_states

    def forward(self, input_ids, attention_mask):
        sequence = self.encode(self.embed(input_ids), attention_mask)
        pooled = self.pooler_af(self.pooler_dense(sequence[:, 0]))
        return {"last_hidden_state": sequence, "pooler_output": pooled}
