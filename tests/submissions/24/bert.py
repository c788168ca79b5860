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
        self.attention_head_size = int(config.hidden_size / config.num_attention_heads)
        all_head_size = self.num_attention_heads * self.attention_head_size
        # linear layers for query, key and value
        self.query = nn.Linear(config.hidden_size, all_head_size)
        self.key = nn.Linear(config.hidden_size, all_head_size)
        self.value = nn.Linear(config.hidden_size, all_head_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def transform(self, x, linear_layer):
        bs, seq_len = x.shape[:2]
        proj = linear_layer(x)
        proj = proj.view(bs, seq_len, self.num_attention_heads, self.attention_head_size)
        # -> [bs, num_attention_heads, seq_len, attention_head_size]
        return proj.transpose(1, 2)

    def attention(self, key, query, value, attention_mask):
        scores = torch.einsum("bhqd,bhkd->bhqk", [query, key])
        scores = scores / math.sqrt(self.attention_head_size)
        scores = self.dropout(scores)
        probs = F.softmax(scores + attention_mask, -1)
        out = torch.einsum("bhqk,bhkd->bhqd", [probs, value])
        bs, heads, n, d = out.size()
        return out.permute(0, 2, 1, 3).contiguous().view(bs, n, heads * d)

    def forward(self, hidden_states, attention_mask):
        key_layer = self.transform(hidden_states, self.key)
        value_layer = self.transform(hidden_states, self.value)
        query_layer = self.transform(hidden_states, self.query)
        return self.attention(key_layer, query_layer, value_layer, attention_mask)


class BertLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        # attention block
        self.self_attention = BertSelfAttention(config)
        self.attention_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.attention_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention_dropout = nn.Dropout(config.hidden_dropout_prob)
        # feed forward block
        self.interm_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.interm_af = F.gelu
        self.out_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.out_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.out_dropout = nn.Dropout(config.hidden_dropout_prob)

    def add_norm(self, input, output, dense_layer, dropout, ln_layer):
        """Post-norm residual block."""
        residual = input
        transformed = dropout(dense_layer(output))
        summed = torch.add(residual, transformed)
        normed = ln_layer(summed)
        return normed

    def forward(self, hidden_states, attention_mask):
        # 1. multi-head attention
        attn_out = self.self_attention(hidden_states, attention_mask)
        # 2. add & norm
        normed = self.add_norm(
            hidden_states, attn_out, self.attention_dense, self.attention_dropout, self.attention_layer_norm
        )
        # 3. feed forward
        ff = self.interm_af(self.interm_dense(normed))
        # 4. add & norm again
        return self.add_norm(normed, ff, self.out_dense, self.out_dropout, self.out_layer_norm)


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
        # position ids are constant, so they are a buffer
        position_ids = torch.arange(config.max_position_embeddings).unsqueeze(0)
        self.register_buffer("position_ids", position_ids)
        self.bert_layers = nn.ModuleList([BertLayer(config) for _ in range(config.num_hidden_layers)])
        self.pooler_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.pooler_af = nn.Tanh()
        self.init_weights()

    def embed(self, input_ids):
        B, S = input_ids.shape
        e = self.word_embedding(input_ids)
        e = e + self.pos_embedding.weight[:S]  # broadcast over the batch
        e = e + self.tk_type_embedding.weight[0]  # always segment A
        return self.embed_dropout(self.embed_layer_norm(e))

    def encode(self, hidden_states, attention_mask):
        extended_mask = get_extended_attention_mask(attention_mask, self.dtype)
        for layer_module in self.bert_layers:
            hidden_states = layer_module(hidden_states, extended_mask)
        return hidden_states

    def forward(self, input_ids, attention_mask):
        embedding_output = self.embed(input_ids=input_ids)
        sequence_output = self.encode(embedding_output, attention_mask=attention_mask)
        first_tk = sequence_output[:, 0]
        first_tk = self.pooler_af(self.pooler_dense(first_tk))
        return {"last_hidden_state": sequence_output, "pooler_output": first_tk}
