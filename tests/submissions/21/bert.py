import math

import torch
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
        score = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        score = score + attention_mask
        # softmax
        e = torch.exp(score)
        alpha = e / e.sum(dim=-1, keepdim=True)
        alpha = self.dropout(alpha)
        z = (alpha @ value).transpose(1, 2)
        return z.flatten(2)

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
        self.interm_af = nn.functional.gelu
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
        seq_length = input_ids.size(1)
        inputs_embeds = self.word_embedding(input_ids)
        pos_ids = self.position_ids[:, :seq_length]
        pos_embeds = self.pos_embedding(pos_ids)
        tk_type_ids = torch.zeros(input_ids.size(), dtype=torch.long, device=input_ids.device)
        tk_type_embeds = self.tk_type_embedding(tk_type_ids)
        embeds = inputs_embeds + tk_type_embeds + pos_embeds
        embeds = self.embed_layer_norm(embeds)
        return self.embed_dropout(embeds)

    def encode(self, hidden_states, attention_mask):
        mask = get_extended_attention_mask(attention_mask, self.dtype)
        for i in range(len(self.bert_layers)):
            hidden_states = self.bert_layers[i](hidden_states, mask)
        return hidden_states

    def forward(self, input_ids, attention_mask):
        embedding_output = self.embed(input_ids=input_ids)
        sequence_output = self.encode(embedding_output, attention_mask=attention_mask)
        first_tk = sequence_output[:, 0]
        first_tk = self.pooler_af(self.pooler_dense(first_tk))
        return {"last_hidden_state": sequence_output, "pooler_output": first_tk}
