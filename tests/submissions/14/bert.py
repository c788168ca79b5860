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
        B, S, D = x.size()
        out = linear_layer(x).reshape(B, S, self.num_attention_heads, D // self.num_attention_heads)
        return out.permute(0, 2, 1, 3)

    def attention(self, key, query, value, attention_mask):
        # key, query, value: [bs, num_attention_heads, seq_len, attention_head_size]
        bs, _, seq_len, _ = key.shape
        # step 1: scale the queries first, it is cheaper
        query = query / math.sqrt(self.attention_head_size)
        # step 2: scores
        scores = query @ key.mT
        # step 3: mask and normalize
        scores = scores + attention_mask
        weights = F.softmax(scores, dim=3)
        weights = self.dropout(weights)
        # step 4: weighted sum and concat the heads
        out = (weights @ value).permute(0, 2, 1, 3)
        return out.reshape(bs, seq_len, self.num_attention_heads * self.attention_head_size)

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
        self.interm_af = nn.GELU()
        self.out_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.out_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.out_dropout = nn.Dropout(config.hidden_dropout_prob)

    def add_norm(self, input, output, dense_layer, dropout, ln_layer):
        x = dense_layer(output)
        x = dropout(x)
        x = x + input
        return ln_layer(x)

    def forward(self, hidden_states, attention_mask):
        x = hidden_states
        a = self.self_attention.forward(x, attention_mask)
        x = self.add_norm(
            input=x,
            output=a,
            dense_layer=self.attention_dense,
            dropout=self.attention_dropout,
            ln_layer=self.attention_layer_norm,
        )
        h = self.interm_dense(x)
        h = self.interm_af(h)
        x = self.add_norm(
            input=x,
            output=h,
            dense_layer=self.out_dense,
            dropout=self.out_dropout,
            ln_layer=self.out_layer_norm,
        )
        return x


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
        input_shape = input_ids.size()
        inputs_embeds = self.word_embedding(input_ids)
        pos_ids = self.position_ids[:, : input_shape[1]]
        pos_embeds = self.pos_embedding(pos_ids)
        # we do not use token types (all zeros), so there is nothing to add for them
        hidden = self.embed_layer_norm(inputs_embeds + pos_embeds)
        hidden = self.embed_dropout(hidden)
        return hidden

    def encode(self, hidden_states, attention_mask):
        mask = get_extended_attention_mask(attention_mask, self.dtype)
        for i in range(len(self.bert_layers)):
            hidden_states = self.bert_layers[i](hidden_states, mask)
        return hidden_states

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        x = self.encode(x, attention_mask)
        # [CLS] is the first token
        cls = torch.tanh(self.pooler_dense(x[:, 0, :]))
        return dict(last_hidden_state=x, pooler_output=cls)
