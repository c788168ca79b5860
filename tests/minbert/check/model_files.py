"""A right bert.py as source text: with every step written out, with loops, einsum, torch's calls."""

from tests.minbert.check.judging import changed

PLAIN = """
import math

import torch
import torch.nn.functional as F
from torch import nn


class EmbeddingNorm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.eps = config.layer_norm_eps

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        variance = x.var(-1, unbiased=False, keepdim=True)
        return (x - mean) / torch.sqrt(variance + self.eps) * self.weight + self.bias


class LayerNorm(EmbeddingNorm):
    def forward(self, y):
        center = y.mean(-1, keepdim=True)
        spread = y.var(-1, unbiased=False, keepdim=True)
        return (y - center) / torch.sqrt(spread + self.eps) * self.weight + self.bias


class BertSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.num_attention_heads
        self.size = config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.hidden_rate = config.hidden_dropout_prob

    def transform(self, x, linear_layer):
        proj = linear_layer(x)
        proj = proj.view(x.shape[0], x.shape[1], self.heads, self.size)
        return proj.transpose(1, 2)

    def attention(self, key, query, value, attention_mask):
        scores = query @ key.transpose(-1, -2)
        scores = scores / math.sqrt(self.size)
        scores = scores + attention_mask
        probs = torch.softmax(scores, dim=-1)
        probs = self.dropout(probs)
        context = probs @ value
        context = context.transpose(1, 2).contiguous()
        return context.view(query.shape[0], query.shape[2], self.heads * self.size)

    def forward(self, hidden_states, attention_mask):
        k = self.transform(hidden_states, self.key)
        v = self.transform(hidden_states, self.value)
        q = self.transform(hidden_states, self.query)
        return self.attention(k, q, v, attention_mask)


class BertLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attention = BertSelfAttention(config)
        self.attention_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.attention_layer_norm = LayerNorm(config)
        self.attention_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.interm_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.interm_af = F.gelu
        self.out_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.out_layer_norm = LayerNorm(config)
        self.out_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.attention_rate = config.attention_probs_dropout_prob

    def add_norm(self, input, output, dense_layer, dropout, ln_layer):
        projected = dense_layer(output)
        projected = dropout(projected)
        total = input + projected
        return ln_layer(total)

    def forward(self, hidden_states, attention_mask):
        attended = self.self_attention(hidden_states, attention_mask)
        middle = self.add_norm(
            hidden_states, attended, self.attention_dense, self.attention_dropout, self.attention_layer_norm
        )
        wide = self.interm_dense(middle)
        wide = self.interm_af(wide)
        return self.add_norm(middle, wide, self.out_dense, self.out_dropout, self.out_layer_norm)


class BertModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.word_embedding = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.pos_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.tk_type_embedding = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.embed_layer_norm = EmbeddingNorm(config)
        self.embed_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.register_buffer("position_ids", torch.arange(config.max_position_embeddings).unsqueeze(0))
        self.bert_layers = nn.ModuleList([BertLayer(config) for _ in range(config.num_hidden_layers)])
        self.pooler_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.pooler_af = nn.Tanh()

    def embed(self, input_ids):
        words = self.word_embedding(input_ids)
        positions = self.pos_embedding(self.position_ids[:, : input_ids.shape[1]])
        types = self.tk_type_embedding(torch.zeros_like(input_ids))
        summed = words + positions + types
        normed = self.embed_layer_norm(summed)
        return self.embed_dropout(normed)

    def encode(self, hidden_states, attention_mask):
        extended = (1 - attention_mask[:, None, None, :].float()) * -10000.0
        for layer in self.bert_layers:
            hidden_states = layer(hidden_states, extended)
        return hidden_states

    def forward(self, input_ids, attention_mask):
        embedded = self.embed(input_ids)
        encoded = self.encode(embedded, attention_mask)
        first = encoded[:, 0]
        pooled = self.pooler_dense(first)
        pooled = self.pooler_af(pooled)
        return {"last_hidden_state": encoded, "pooler_output": pooled}
"""

ATTENTION = PLAIN[
    PLAIN.index("        scores = query @") : PLAIN.index("    def forward(self, hidden_states")
]
NORMS = PLAIN[PLAIN.index("class EmbeddingNorm") : PLAIN.index("class BertSelfAttention")]

LOOPS = changed(
    PLAIN,
    (
        ATTENTION,
        """        count, heads, columns, size = query.shape
        rows = []
        for b in range(count):
            tokens = []
            for i in range(columns):
                parts = []
                for h in range(heads):
                    scores = []
                    for j in range(columns):
                        score = sum(query[b, h, i, k] * key[b, h, j, k] for k in range(size)) / size**0.5
                        scores.append(score + attention_mask[b, 0, 0, j])
                    largest = max(scores)
                    powers = torch.stack([torch.exp(score - largest) for score in scores])
                    probs = self.dropout(powers / powers.sum())
                    parts.append(sum(probs[j] * value[b, h, j] for j in range(columns)))
                tokens.append(torch.cat(parts))
            rows.append(torch.stack(tokens))
        return torch.stack(rows)

""",
    ),
)
EINSUM = changed(
    PLAIN,
    (
        ATTENTION,
        """        scores = torch.einsum("bhid,bhjd->bhij", query * self.size**-0.5, key)
        probs = self.dropout(F.softmax(scores + attention_mask, dim=3))
        context = torch.einsum("bhij,bhjd->bihd", probs, value)
        return context.flatten(2)

""",
    ),
    (
        "        proj = linear_layer(x)\n",
        "        proj = torch.einsum('bsi,oi->bso', x, linear_layer.weight) + linear_layer.bias\n",
    ),
)
TORCH = changed(
    PLAIN,
    (
        ATTENTION,
        """        rate = self.dropout.p if self.training else 0.0
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, dropout_p=rate)
        return context.transpose(1, 2).flatten(2)

""",
    ),
    (NORMS, ""),
    ("EmbeddingNorm(config)", "nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)"),
    (
        "self.attention_layer_norm = LayerNorm(config)",
        "self.attention_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)",
    ),
    (
        "self.out_layer_norm = LayerNorm(config)",
        "self.out_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)",
    ),
    (
        "        return ln_layer(total)\n",
        "        ln = ln_layer\n"
        "        return F.layer_norm(total, ln.normalized_shape, ln.weight, ln.bias, ln.eps)\n",
    ),
    ("self.interm_af = F.gelu", "self.interm_af = nn.GELU()"),
)
STYLES = {"plain": PLAIN, "loops": LOOPS, "einsum": EINSUM, "torch": TORCH}
