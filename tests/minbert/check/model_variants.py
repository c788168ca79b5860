"""A template of a right bert.py with a choice at each step, and mistakes that no catalogue knows."""

CHOICES = {
    "norm": (
        """class Norm(nn.LayerNorm):
    def __init__(self, config):
        super().__init__(config.hidden_size, eps=config.layer_norm_eps)
""",
        """class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.eps = config.layer_norm_eps

    def forward(self, x):
        centered = x - x.mean(dim=-1, keepdim=True)
        inverse = (centered.pow(2).mean(-1, keepdim=True) + self.eps).rsqrt()
        return self.weight * (centered * inverse) + self.bias
""",
        """class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.eps = config.layer_norm_eps

    def forward(self, x):
        wide = x.double()
        variance, mean = torch.var_mean(wide, dim=-1, correction=0, keepdim=True)
        return ((wide - mean) / (variance + self.eps) ** 0.5 * self.weight + self.bias).to(x.dtype)
""",
        """class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.eps = config.layer_norm_eps

    def forward(self, x):
        y = x - x.sum(-1, keepdim=True) / x.shape[-1]
        y = y / torch.sqrt((y * y).sum(-1, keepdim=True) / x.shape[-1] + self.eps)
        y *= self.weight
        y += self.bias
        return y
""",
    ),
    "transform": (
        "return linear_layer(x).view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)",
        "return linear_layer(x).unflatten(-1, (self.heads, self.size)).permute(0, 2, 1, 3).contiguous()",
        "return torch.stack(linear_layer(x).split(self.size, dim=-1), dim=1)",
        "x = F.linear(x, linear_layer.weight, linear_layer.bias)\n"
        "        return x.reshape(*x.shape[:2], -1, self.size).transpose(2, 1)",
        "return torch.einsum('bsi,hki->bhsk', x, linear_layer.weight.view(self.heads, self.size, -1)) "
        "+ linear_layer.bias.view(self.heads, 1, self.size)",
    ),
    "scores": (
        "scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.size(-1))",
        "scores = (query / math.sqrt(self.size)) @ key.transpose(2, 3)",
        "scores = query @ (key * self.size**-0.5).permute(0, 1, 3, 2)",
        "scores = torch.einsum('bhqd,bhkd->bhqk', query, key).mul(1 / self.size**0.5)",
        "scores = (query[..., :, None, :] * key[..., None, :, :]).sum(-1) / self.size**0.5",
        "scores = (key @ query.transpose(-1, -2)).transpose(-1, -2).contiguous() / self.size**0.5",
        "scores = (self.size**-0.25 * query) @ (self.size**-0.25 * key).mT",
        "scores = torch.baddbmm(query.new_zeros(1), query.flatten(0, 1), key.flatten(0, 1).mT, beta=0, "
        "alpha=self.size**-0.5).unflatten(0, query.shape[:2])",
        "scores = (query.double() @ key.double().mT / math.sqrt(self.size))",
    ),
    "mask": (
        "scores = scores + attention_mask",
        "scores = scores.clone(); scores += attention_mask",
        "scores = scores.masked_fill(attention_mask < 0, float('-inf'))",
        "scores = scores.masked_fill(attention_mask != 0, torch.finfo(scores.dtype).min)",
        "scores = torch.where(attention_mask < -1, torch.tensor(-1e9, dtype=scores.dtype), scores)",
        "scores = scores + attention_mask.expand(-1, self.heads, query.size(2), -1)",
        "scores = attention_mask.squeeze(1).squeeze(1)[:, None, None] + scores",
        "scores = scores + 100 * attention_mask",
    ),
    "softmax": (
        "probs = F.softmax(scores, dim=-1)",
        "probs = scores.softmax(3)",
        "probs = nn.Softmax(dim=-1)(scores)",
        "probs = (scores - scores.logsumexp(-1, keepdim=True)).exp()",
        "probs = torch.exp(scores - scores.max(-1, keepdim=True).values)\n"
        "        probs = probs / probs.sum(-1, keepdim=True)",
        "probs = F.log_softmax(scores, dim=-1).exp()",
        "scores = scores - scores.amax(dim=3, keepdim=True); scores -= 2.0\n"
        "        probs = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)",
        "probs = scores.double().softmax(-1).to(query.dtype)",
        "probs = scores.softmax(-1) * (attention_mask == 0)\n"
        "        probs = probs / probs.sum(-1, keepdim=True)",
    ),
    "dropout": (
        "probs = self.dropout(probs).to(value.dtype)",
        "probs = F.dropout(probs, self.dropout.p, self.training).to(value.dtype)",
        "probs = F.dropout(probs, p=self.rate, training=self.training).to(value.dtype)",
        "probs = (probs * torch.bernoulli(torch.full_like(probs, 1 - self.rate)) / (1 - self.rate) "
        "if self.training else probs).to(value.dtype)",
    ),
    "merge": (
        "return (probs @ value).transpose(1, 2).reshape(query.size(0), query.size(2), -1)",
        "return torch.matmul(probs, value).permute(0, 2, 1, 3).contiguous().flatten(2)",
        "return torch.einsum('bhij,bhjd->bihd', probs, value).flatten(start_dim=2)",
        "return torch.cat([probs[:, h] @ value[:, h] for h in range(self.heads)], dim=-1)",
        "return torch.cat((probs @ value).unbind(1), -1)",
    ),
    "fused": ("", "", "", "", "FUSED", "FUSED TOO"),
    "call": (
        "layers = (self.key, self.query, self.value)\n"
        "        return self.attention(*[self.transform(hidden_states, f) for f in layers], attention_mask)",
        "layers = (self.key, self.value, self.query)\n"
        "        key, value, query = (self.transform(hidden_states, f) for f in layers)\n"
        "        return self.attention(key=key, query=query, value=value, attention_mask=attention_mask)",
    ),
    "add": (
        "return ln_layer(input + dropout(dense_layer(output)))",
        "return ln_layer(dropout(dense_layer(output)) + input)",
        "return ln_layer(input.add(dropout(F.linear(output, dense_layer.weight, dense_layer.bias))))",
        "total = dropout(dense_layer(output)).clone(); total += input\n        return ln_layer(total)",
        "total = dropout(output @ dense_layer.weight.T + dense_layer.bias)\n"
        "        return ln_layer(total + input)",
        "total = input.clone(); total.add_(dropout(dense_layer(output)))\n        return ln_layer(total)",
    ),
    "gelu": (
        "F.gelu",
        "nn.GELU()",
        "lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))",
        "lambda x: x * torch.distributions.Normal(0.0, 1.0).cdf(x)",
        "lambda x: 0.5 * x * torch.erfc(-x * 0.5**0.5)",
        "lambda x: x * torch.special.ndtr(x)",
    ),
    "layer": (
        "x = self.add_norm(hidden_states, self.self_attention(hidden_states, attention_mask), "
        "self.attention_dense, self.attention_dropout, self.attention_layer_norm)\n"
        "        y = self.interm_af(self.interm_dense(x))\n"
        "        return self.add_norm(x, y, self.out_dense, self.out_dropout, self.out_layer_norm)",
        "x = self.self_attention.forward(hidden_states, attention_mask)\n"
        "        x = hidden_states + self.attention_dropout(self.attention_dense(x))\n"
        "        x = self.attention_layer_norm(x)\n"
        "        y = self.out_dense(self.interm_af(self.interm_dense(x)))\n"
        "        return self.out_layer_norm(x + self.out_dropout(y))",
        "x = self.self_attention(hidden_states, attention_mask=attention_mask)\n"
        "        x = self.add_norm(hidden_states, x, self.attention_dense, self.attention_dropout, "
        "self.attention_layer_norm)\n"
        "        rows = x.flatten(0, 1)\n"
        "        y = torch.addmm(self.interm_dense.bias, rows, self.interm_dense.weight.t())\n"
        "        y = self.interm_af(y).view(*x.shape[:2], -1)\n"
        "        return self.add_norm(x, y, self.out_dense, self.out_dropout, self.out_layer_norm)",
    ),
    "padding": ("padding_idx=config.pad_token_id", "padding_idx=None"),
    "embed": (
        "x = self.word_embedding(input_ids) + self.pos_embedding(self.position_ids[:, : input_ids.size(1)]) "
        "+ self.tk_type_embedding(torch.zeros(input_ids.size(), dtype=torch.long))",
        "x = self.tk_type_embedding.weight[0] + self.pos_embedding.weight[: input_ids.shape[1]] "
        "+ F.embedding(input_ids, self.word_embedding.weight)",
        "x = self.pos_embedding(torch.arange(input_ids.shape[1]).expand_as(input_ids))\n"
        "        x = x + self.word_embedding(input_ids)\n"
        "        x += self.tk_type_embedding(torch.zeros_like(input_ids))",
        "words = self.word_embedding.weight\n"
        "        x = F.one_hot(input_ids, self.config.vocab_size).to(words) @ words\n"
        "        x = (self.pos_embedding.weight[None, : x.size(1)] + self.tk_type_embedding.weight[:1]) + x",
        "x = torch.stack(torch.broadcast_tensors(self.word_embedding(input_ids), "
        "self.pos_embedding(self.position_ids[:, : input_ids.size(1)]), "
        "self.tk_type_embedding(input_ids * 0))).sum(0)",
    ),
    "encode": (
        "mask = get_mask(attention_mask)\n"
        "        for layer in self.bert_layers:\n            x = layer(x, mask)",
        "for i in range(self.config.num_hidden_layers):\n"
        "            x = self.bert_layers[i].forward(x, get_mask(attention_mask))",
        "from functools import reduce\n"
        "        x = reduce(lambda h, layer: layer(h, get_mask(attention_mask)), self.bert_layers, x)",
    ),
    "additive": (
        "(1.0 - mask[:, None, None, :].to(torch.float32)) * -10000.0",
        "torch.zeros(len(mask), 1, 1, mask.shape[1]).masked_fill(mask[:, None, None] == 0, -10000.0)",
        "(mask.unsqueeze(1).unsqueeze(2).float() - 1) * 1e4",
    ),
    "dtype": ("pass", "pass", "pass", "self.double()"),
    "pool": (
        "pooled = self.pooler_af(self.pooler_dense(x[:, 0]))",
        "pooled = torch.tanh(self.pooler_dense(x[:, 0, :]))",
        "pooled = self.pooler_af(self.pooler_dense(x))[:, 0]",
        "pooled = self.pooler_af(F.linear(x.select(1, 0), self.pooler_dense.weight, self.pooler_dense.bias))",
    ),
    "result": (
        "return {'last_hidden_state': x, 'pooler_output': pooled}",
        "return dict(pooler_output=pooled, last_hidden_state=x, extra=None)",
    ),
}

VARIANT = """
import math

import torch
import torch.nn.functional as F
from torch import nn


def get_mask(mask):
    return <additive>


<norm>

class BertSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob
        size = config.hidden_size
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.dropout = nn.Dropout(self.rate)
        <dtype>

    def transform(self, x, linear_layer):
        <transform>

    def attention(self, key, query, value, attention_mask):
        kind = "<fused>"
        if kind:
            rate = self.rate if self.training else 0.0
            mask = attention_mask if kind == "FUSED" else attention_mask == 0
            mask = mask.to(query.dtype) if kind == "FUSED" else mask
            context = F.scaled_dot_product_attention(query, key, value, mask, rate)
            return context.transpose(1, 2).flatten(2)
        <scores>
        <mask>
        <softmax>
        <dropout>
        <merge>

    def forward(self, hidden_states, attention_mask):
        <call>


class BertLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attention = BertSelfAttention(config)
        self.attention_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.attention_layer_norm = Norm(config)
        self.attention_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.interm_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.interm_af = <gelu>
        self.out_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.out_layer_norm = Norm(config)
        self.out_dropout = nn.Dropout(config.hidden_dropout_prob)
        <dtype>

    def add_norm(self, input, output, dense_layer, dropout, ln_layer):
        <add>

    def forward(self, hidden_states, attention_mask):
        <layer>


class BertModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.word_embedding = nn.Embedding(config.vocab_size, config.hidden_size, <padding>)
        self.pos_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.tk_type_embedding = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.embed_layer_norm = Norm(config)
        self.embed_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.register_buffer("position_ids", torch.arange(config.max_position_embeddings)[None])
        self.bert_layers = nn.ModuleList([BertLayer(config) for _ in range(config.num_hidden_layers)])
        self.pooler_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.pooler_af = nn.Tanh()
        <dtype>

    def embed(self, input_ids):
        <embed>
        return self.embed_dropout(self.embed_layer_norm(x))

    def encode(self, x, attention_mask):
        <encode>
        return x

    def forward(self, input_ids, attention_mask):
        x = self.encode(self.embed(input_ids), attention_mask)
        <pool>
        <result>
"""
