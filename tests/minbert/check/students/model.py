"""bert.py."""

TEMPLATE = """
import math

import torch
import torch.nn.functional as F
from torch import nn


def fresh(module):
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)


def get_mask(mask):
    return <additive>


<norm>

<layer_norm>

class BertSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob
        size = config.hidden_size
        <projections>
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
        x, mask = hidden_states, attention_mask
        <heads>
        <call>


class BertLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attention = BertSelfAttention(config)
        self.attention_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.attention_layer_norm = LayerNorm(config)
        self.attention_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.interm_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.interm_af = <gelu>
        self.out_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.out_layer_norm = LayerNorm(config)
        self.out_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.first = (self.attention_dense, self.attention_dropout, self.attention_layer_norm)
        self.second = (self.out_dense, self.out_dropout, self.out_layer_norm)
        <dtype>

    def add_norm(self, input, output, dense_layer, dropout, ln_layer):
        <add>

    def forward(self, x, mask):
        <attended>
        <middle>
        <wide>
        <out>


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
        self.bert_layers = nn.ModuleList(<layers>)
        self.pooler_dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.pooler_af = nn.Tanh()
        <dtype>

    def embed(self, input_ids):
        <embed>
        <embedded>

    def encode(self, x, attention_mask):
        <encode>
        return x

    def forward(self, input_ids, attention_mask):
        <encoded>
        <pool>
        <result>
"""


def normed(formula, mean="x.mean(-1, keepdim=True)", variance="x.var(-1, unbiased=False, keepdim=True)"):
    """A layer norm by `formula` of x, mean, variance, eps, w and b."""
    return f"""class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.bias = nn.Parameter(torch.zeros(config.hidden_size))
        self.eps = config.layer_norm_eps

    def forward(self, x):
        mean, variance, eps, w, b = {mean}, {variance}, self.eps, self.weight, self.bias
        return {formula}
"""


NORMS = (
    """class Norm(nn.LayerNorm):
    def __init__(self, config):
        super().__init__(config.hidden_size, eps=config.layer_norm_eps)
""",
    normed("w * ((x - mean) * ((x - mean).pow(2).mean(-1, keepdim=True) + eps).rsqrt()) + b"),
    normed(
        "((x - mean) / (variance + eps) ** 0.5 * w + b).to(w)", variance="x.double().var(-1, False, True)"
    ),
    normed(
        "x.sub(mean).div_((variance + eps).sqrt()).mul_(w).add_(b)", "x.sum(-1, keepdim=True) / x.shape[-1]"
    ),
)
ADD, ADDED = "self.add_norm({}, *self.{})", "self.{}_layer_norm({} + self.{}_dropout(self.{}_dense({})))"
# fmt: off
RIGHT = {
    "additive": (
        "(1.0 - mask[:, None, None, :].to(torch.float32)) * -10000.0",
        "torch.zeros(len(mask), 1, 1, mask.shape[1]).masked_fill(mask[:, None, None] == 0, -10000.0)",
        "(mask.unsqueeze(1).unsqueeze(2).float() - 1) * 1e4",
    ),
    "norm": NORMS,
    "layer_norm": tuple(norm.replace("class Norm", "class LayerNorm") for norm in NORMS),
    "projections": ("self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))",),
    "transform": (
        "return linear_layer(x).view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)",
        "return torch.stack(linear_layer(x).split(self.size, dim=-1), dim=1)",
        "x = F.linear(x, linear_layer.weight, linear_layer.bias); "
        "return x.reshape(*x.shape[:2], -1, self.size).transpose(2, 1)",
        "return torch.einsum('bsi,hki->bhsk', x, linear_layer.weight.view(self.heads, self.size, -1))"
        " + linear_layer.bias.view(self.heads, 1, self.size)",
        "x = linear_layer(x); return torch.stack([x[..., h * self.size : (h + 1) * self.size]"
        " for h in range(self.heads)]).transpose(0, 1)",
    ),
    "fused": ("", "", "FUSED", "FUSED TOO"),
    "scores": (
        "scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.size(-1))",
        "scores = (query / math.sqrt(self.size)) @ key.transpose(2, 3)",
        "scores = (query[..., :, None, :] * key[..., None, :, :]).sum(-1) / self.size**0.5",
        "scores = (key @ query.transpose(-1, -2)).transpose(-1, -2).contiguous() / self.size**0.5",
        "scores = torch.baddbmm(query.new_zeros(1), query.flatten(0, 1), key.flatten(0, 1).mT, beta=0, "
        "alpha=self.size**-0.5).unflatten(0, query.shape[:2])",
        "scores = (query.double() @ key.double().mT / math.sqrt(self.size))",
        "scores = torch.einsum('bhid,bhjd->bhij', query, key) * self.size**-0.5",
        "scores = torch.stack([q @ k.transpose(1, 2) for q, k in zip(query.unbind(1), key.unbind(1))], 1)"
        ".div(self.size**0.5)",
        "scores = (query * self.size**-0.25) @ (key * self.size**-0.25).transpose(-2, -1)",
    ),
    "mask": (
        "scores = scores + attention_mask",
        "scores = scores.masked_fill(attention_mask < 0, float('-inf'))",
        "scores = scores.masked_fill(attention_mask != 0, torch.finfo(scores.dtype).min)",
        "scores = torch.where(attention_mask < -1, torch.tensor(-1e9, dtype=scores.dtype), scores)",
        "scores = scores + 100 * attention_mask",
        "scores = scores.masked_fill(attention_mask.bool().expand(-1, self.heads, scores.size(2), -1), -1e9)",
        "hidden = attention_mask.squeeze(1).squeeze(1) < 0; scores = scores.clone()\n"
        "        for n, where in enumerate(hidden): scores[n, :, :, where] = float('-inf')",
    ),
    "softmax": (
        "probs = F.softmax(scores, dim=-1)",
        "probs = (scores - scores.logsumexp(-1, keepdim=True)).exp()",
        "probs = torch.exp(scores - scores.amax(-1, keepdim=True)); probs = probs / probs.sum(-1, True)",
        "probs = scores.double().softmax(-1).to(query.dtype)",
        "probs = scores.softmax(-1) * (attention_mask == 0); probs = probs / probs.sum(-1, keepdim=True)",
        "probs = scores.log_softmax(-1).exp()",
        "probs = torch.cat([F.softmax(rows, -1) for rows in scores.split(3, dim=2)], dim=2)",
        "probs = nn.Softmax(dim=3)(scores)",
    ),
    "dropout": (
        "probs = self.dropout(probs).to(value.dtype)",
        "probs = F.dropout(probs, p=self.rate, training=self.training).to(value.dtype)",
        "probs = (probs * torch.bernoulli(torch.full_like(probs, 1 - self.rate)) / (1 - self.rate)"
        " if self.training else probs).to(value.dtype)",
        "probs = torch.dropout(probs, self.rate, self.training).to(value.dtype)",
        "probs = torch.stack([self.dropout(p) for p in probs.unbind(1)], 1).to(value.dtype)",
        "probs = self.dropout(probs.transpose(1, 2)).transpose(1, 2).to(value.dtype)",
        "probs = (probs * (torch.rand_like(probs) >= self.rate) / (1 - self.rate)"
        " if self.training else probs).to(value.dtype)",
        "probs = torch.native_dropout(probs, self.rate, self.training)[0].to(value.dtype)",
        "probs = F.dropout(probs.flatten(0, 1), self.rate, self.training, True).view_as(probs)"
        ".to(value.dtype)",
    ),
    "merge": (
        "return (probs @ value).transpose(1, 2).reshape(query.size(0), query.size(2), -1)",
        "return torch.matmul(probs, value).permute(0, 2, 1, 3).contiguous().flatten(2)",
        "return torch.einsum('bhij,bhjd->bihd', probs, value).flatten(start_dim=2)",
        "return torch.cat([probs[:, h] @ value[:, h] for h in range(self.heads)], dim=-1)",
    ),
    "heads": (
        "k, q, v = (self.transform(x, layer) for layer in (self.key, self.query, self.value))",
        "k, v, q = self.transform(x, self.key), self.transform(x, self.value), self.transform(x, self.query)",
    ),
    "call": ("return self.attention(k, q, v, mask)",
             "return self.attention(key=k, query=q, value=v, attention_mask=mask)"),
    "add": (
        "return ln_layer(input + dropout(dense_layer(output)))",
        "return ln_layer(input.add(dropout(F.linear(output, dense_layer.weight, dense_layer.bias))))",
        "total = dropout(output @ dense_layer.weight.T + dense_layer.bias); return ln_layer(total + input)",
        "total = input.clone(); total.add_(dropout(dense_layer(output))); return ln_layer(total)",
        "x = dropout(dense_layer(output)) + input; return F.layer_norm(x, x.shape[-1:], ln_layer.weight, "
        "ln_layer.bias, ln_layer.eps)",
        "return ln_layer(torch.stack((input, dropout(dense_layer(output)))).sum(0))",
        "rows = dropout(dense_layer(output.flatten(0, 1))); "
        "return ln_layer(rows + input.flatten(0, 1)).view_as(input)",
        "out = dense_layer(output); p = dropout.p if self.training else 0.0; "
        "return ln_layer(input + out * (torch.rand_like(out) >= p) / (1 - p))",
    ),
    "gelu": (
        "F.gelu", "nn.GELU()", "lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))",
        "lambda x: 0.5 * x * torch.erfc(-x * 0.5**0.5)", "lambda x: x * torch.special.ndtr(x)",
    ),
    "attended": ("attended = self.self_attention(x, mask)",
                 "attended = self.self_attention.forward(x, attention_mask=mask)"),
    "middle": ("middle = " + ADD.format("x, attended", "first"),
               "middle = " + ADDED.format("attention", "x", "attention", "attention", "attended")),
    "wide": (
        "wide = self.interm_af(self.interm_dense(middle))",
        "rows = torch.addmm(self.interm_dense.bias, middle.flatten(0, 1), self.interm_dense.weight.t()); "
        "wide = self.interm_af(rows).view(*x.shape[:2], -1)",
    ),
    "out": ("return " + ADD.format("middle, wide", "second"),
            "return " + ADDED.format("out", "middle", "out", "out", "wide")),
    "padding": ("padding_idx=config.pad_token_id", "padding_idx=None"),
    "embed": (
        "x = self.word_embedding(input_ids) + self.pos_embedding(self.position_ids[:, : input_ids.size(1)])"
        " + self.tk_type_embedding(torch.zeros(input_ids.size(), dtype=torch.long))",
        "x = self.tk_type_embedding.weight[0] + self.pos_embedding.weight[: input_ids.shape[1]]"
        " + F.embedding(input_ids, self.word_embedding.weight)",
        "x = self.pos_embedding(torch.arange(input_ids.shape[1]).expand_as(input_ids)); "
        "x = x + self.word_embedding(input_ids); x += self.tk_type_embedding(torch.zeros_like(input_ids))",
        "words = F.one_hot(input_ids, self.config.vocab_size).to(self.word_embedding.weight.dtype)\n"
        "        x = words @ self.word_embedding.weight + self.pos_embedding(self.position_ids[0, "
        ": len(input_ids[0])])[None] + self.tk_type_embedding(torch.tensor(0))",
        "parts = (self.word_embedding(input_ids), "
        "self.pos_embedding(torch.cumsum(torch.ones_like(input_ids), 1) - 1), "
        "self.tk_type_embedding.weight[:1].expand(*input_ids.shape, -1)); x = sum(parts)",
    ),
    "embedded": (
        "return self.embed_dropout(self.embed_layer_norm(x))",
        "return F.dropout(self.embed_layer_norm(x), self.embed_dropout.p, self.training)",
        "x = self.embed_layer_norm(x.flatten(0, 1)); return self.embed_dropout(x).view(*input_ids.shape, -1)",
        "x = self.embed_layer_norm(x); p = self.embed_dropout.p if self.training else 0.0; "
        "return x * (torch.rand_like(x) >= p) / (1 - p)",
    ),
    "encode": (
        "mask = get_mask(attention_mask)\n        for layer in self.bert_layers: x = layer(x, mask)",
        "for layer in self.bert_layers: x = layer.forward(x, get_mask(attention_mask))",
        "self.mask = get_mask(attention_mask)\n        for i in range(len(self.bert_layers)): "
        "x = self.bert_layers[i](x, self.mask)",
        "states = [x]\n        for layer in self.bert_layers: "
        "states.append(layer(states[-1], get_mask(attention_mask)))"
        "\n        x = states[-1]",
    ),
    "layers": ("[BertLayer(config) for _ in range(config.num_hidden_layers)]",
               "map(BertLayer, [config] * config.num_hidden_layers)"),
    "dtype": ("pass", "self.double()"),
    "encoded": (
        "embedded = self.embed(input_ids)\n        x = self.encode(embedded, attention_mask)",
        "self.hidden = [self.embed(input_ids)]; "
        "self.hidden.append(self.encode(self.hidden[0], attention_mask)); x = self.hidden[-1]",
    ),
    "pool": (
        "pooled = self.pooler_af(self.pooler_dense(x[:, 0]))",
        "pooled = torch.tanh(self.pooler_dense(x))[:, 0]",
        "pooled = self.pooler_af(F.linear(x.select(1, 0), self.pooler_dense.weight, self.pooler_dense.bias))",
    ),
    "result": ("return {'last_hidden_state': x, 'pooler_output': pooled}",
               "return dict(pooler_output=pooled, last_hidden_state=x, extra=None)"),
}
# fmt: on
W = "self.word_embedding(input_ids)"
P = "self.pos_embedding(self.position_ids[:, : input_ids.size(1)])"
T = "self.tk_type_embedding(torch.zeros_like(input_ids))"


def summed(words=W, positions=P, types=T):
    return {"embed": f"x = {words} + {positions} + {types}"}


def position(ids):
    return summed(positions=f"self.pos_embedding({ids})")


def token_type(ids):
    return summed(types=f"self.tk_type_embedding({ids})")


def layer_normed(*arguments, **settings):
    return normed(*arguments, **settings).replace("class Norm", "class LayerNorm")


def scored(products="query @ key.mT", scale="math.sqrt(self.size)"):
    return {"scores": f"scores = {products} / {scale}"}


def softened(probs):
    return {"softmax": f"probs = {probs}"}


def called(key="k", query="q", value="v", mask="mask", after=""):
    return {"call": f"return self.attention({key}, {query}, {value}, {mask}){after}"}


def added(total="input + projected", projected="dropout(dense_layer(output))", out="ln_layer(total)"):
    return {"add": f"projected = {projected}; total = {total}; return {out}"}


def gelu(formula):
    return {"gelu": f"lambda x: {formula}"}


def looped(step, before="", after="", layers="self.bert_layers"):
    loop = f"for layer in {layers}: {step}"
    return {"encode": f"mask = get_mask(attention_mask); {before}\n        {loop}\n        {after}"}


def pooled(formula):
    return {"pool": f"h = x[:, 0]; pooled = {formula}"}


def unscaled(x, rate):
    return f"{x} * (torch.rand_like({x}) >= {rate} * float(self.training))"


STANDARD = "(x - mean) / torch.sqrt(variance + eps)"
SOFTMAX = "torch.softmax(scores, dim=-1)"
MERGED = "transpose(1, 2).flatten(2)"
MIDDLE = "middle = self.add_norm({}, {}, self.attention_dense, self.attention_dropout, {})"
OUT = "return self.add_norm({}, wide, self.out_dense, self.out_dropout, {})"
NORM, SECOND_NORM = "self.attention_layer_norm", "self.out_layer_norm"
ACTIVE = "wide = self.interm_af(self.interm_dense(middle))"
STEP = "x = layer(x, mask)"
ENCODED = "embedded = self.embed(input_ids); {}x = self.encode({}, {})"
HEADS = "k, q, v = (self.transform(x, layer) for layer in ({}))"

# fmt: off
WRONG = {
    # embeddings
    "positions from 1": position("self.position_ids[:, 1 : input_ids.size(1) + 1]"),
    "no position embeddings": summed(positions="0"),
    "the padding mask as token types": token_type("(input_ids != 0).long()"),
    "zero in place of the padding token's embedding": summed(words=f"(input_ids != 0)[..., None] * {W}"),
    "mean of the embeddings": {"embed": f"x = ({W} + {P} + {T}) / 3"},
    "embeddings set to zero at padding":
        {"embedded": "return self.embed_layer_norm(x) * (input_ids != 0).unsqueeze(-1)"},
    "token types added after the layer norm":
        {"embed": f"x = {W} + {P}", "embedded": f"return self.embed_dropout(self.embed_layer_norm(x) + {T})"},
    # norms
    "epsilon outside the root (embeddings)":
        {"norm": normed("(x - mean) / (torch.sqrt(variance) + eps) * w + b")},
    "unbiased variance (embeddings)":
        {"norm": normed(f"{STANDARD} * w + b", variance="x.var(-1, keepdim=True)")},
    "layer norm without the mean (embeddings)": {"norm": normed("x / torch.sqrt(variance + eps) * w + b")},
    "layer norm without its bias (embeddings)": {"norm": normed(f"{STANDARD} * w")},
    "epsilon of 1e-12 (add and norm)":
        {"layer_norm": layer_normed("(x - mean) / torch.sqrt(variance + 1e-12) * w + b")},
    # heads
    "heads split without the linear layer":
        {"transform": "return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)"},
    "projections without a bias":
        {"projections": RIGHT["projections"][0].replace("(size, size)", "(size, size, bias=False)")},
    "keys without a bias": {"projections": f"{RIGHT['projections'][0]}; self.key.bias = None"},
    "queries and values without a bias":
        {"projections": f"{RIGHT['projections'][0]}; self.query.bias = self.value.bias = None"},
    "second feed-forward layer without its bias":
        {"dtype": "if hasattr(self, 'out_dense'): self.out_dense.bias = None"},
    "layer norms have no weight and bias": {
        "norm": "class Norm(nn.LayerNorm):\n    def __init__(self, config):\n"
                "        super().__init__(config.hidden_size, config.layer_norm_eps, False)\n",
        "layer_norm": "LayerNorm = Norm\n"},
    "a weight has no parameter":
        {"dtype": "if hasattr(self, 'interm_dense'): self.middle = self.interm_dense; del self.interm_dense"},
    "heads not merged": {"merge": "return probs @ value"},
    # scores and mask
    "scores without 1/sqrt(d)": scored(scale="1"),
    "values in place of the keys": scored("query @ value.mT"),
    "one matrix of scores for all heads": scored("(query @ key.mT).sum(1, keepdim=True)"),
    "softmax applied twice": softened(f"torch.softmax({SOFTMAX}, dim=-1)"),
    "tokens do not look at themselves":
        {"mask": "scores = (scores + attention_mask).masked_fill(torch.eye(scores.size(-1)).bool(), -1e9)"},
    "mask ignored": {"mask": "pass"},
    "mask extended again in attention": {"mask": "scores = scores + (1.0 - attention_mask) * -10000.0"},
    "scores multiplied by the mask, which is added too":
        {"mask": "scores = scores * attention_mask + attention_mask"},
    "mask with the wrong sign": {"mask": "scores = scores - attention_mask"},
    "mask made too weak": {"mask": "scores = scores - (attention_mask < 0).float()"},
    # softmax and what it weighs
    "softmax over the heads": softened("torch.softmax(scores, dim=1)"),
    "scores divided by their sum": softened("scores / scores.sum(-1, keepdim=True)"),
    "mask after softmax": {"mask": "pass"} | softened(f"{SOFTMAX} * (attention_mask == 0)"),
    "division by sqrt(d) after softmax": scored(scale="1") | softened(f"{SOFTMAX} / math.sqrt(self.size)"),
    "context from transposed probabilities": {"merge": f"return (probs.mT @ value).{MERGED}"},
    "value and key swapped in attention":
        scored("query @ value.mT") | {"merge": f"return (probs @ key).{MERGED}"},
    "queries added to the context": {"merge": f"return (probs @ value + query).{MERGED}"},
    # the call of attention
    "arguments of attention shifted by two": called("v", "k", "q"),
    "one linear layer for queries, keys and values":
        {"heads": HEADS.format("self.query, self.query, self.query")},
    "values without their linear layer": called(value="x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)"),
    "self-attention without its mask": called(mask="mask * 0"),
    "residual sum inside self-attention": called(after=" + x"),
    # add and norm
    "no output projection": added(
        projected="dropout(output if output.shape == input.shape else dense_layer(output))"),
    "output projection by the weight as it is stored":
        added(projected="dropout(output @ dense_layer.weight + dense_layer.bias)"),
    "pre-norm in add_norm": added(projected="dropout(dense_layer(ln_layer(output)))", out="total"),
    "dense layer applied to the sum": added("projected", "dropout(dense_layer(input + output))"),
    "layer norm without weight and bias (feed-forward)":
        {"out": "total = middle + self.out_dropout(self.out_dense(wide))\n"
                "        return F.layer_norm(total, total.shape[-1:], eps=self.out_layer_norm.eps)"},
    "mean in place of the residual sum": added("(input + projected) / 2"),
    # layers
    "tanh GELU": {"gelu": "nn.GELU(approximate='tanh')"},
    "GELU without the root of 2": gelu("x * 0.5 * (1 + torch.erf(x))"),
    "activation before the first feed-forward layer": {"wide": "wide = self.interm_dense(F.gelu(middle))"},
    "activation after the second feed-forward layer": {
        "wide": "wide = self.interm_dense(middle)",
        "out": "return self.out_layer_norm(middle + self.out_dropout(F.gelu(self.out_dense(wide))))"},
    "no norm at the end of the layer": {"out": "return middle + self.out_dropout(self.out_dense(wide))"},
    "no residual around attention": {"middle": f"middle = {NORM}(self.attention_dense(attended))"},
    "the two layer norms swapped":
        {"middle": MIDDLE.format("x", "attended", SECOND_NORM), "out": OUT.format("middle", NORM)},
    "feed-forward layers before attention": {
        "attended": f"first, middle = x, x; {ACTIVE}\n        x = {OUT.format('first', SECOND_NORM)[7:]}\n"
                    "        attended = self.self_attention(x, mask)",
        "out": "return middle"},
    "pre-norm layer": {
        "attended": f"attended = self.self_attention({NORM}(x), mask)",
        "middle": "middle = x + self.attention_dense(attended)",
        "wide": f"wide = self.interm_af(self.interm_dense({SECOND_NORM}(middle)))",
        "out": "return middle + self.out_dense(wide)"},
    "no attention in the layer": {"middle": f"middle = {NORM}(x)"},
    "attention's output added without attention_dense": {"middle": f"middle = {NORM}(x + attended)"},
    "layer without its mask": {"attended": "attended = self.self_attention(x, mask * 0)"},
    # the whole model
    "residual around a whole layer": looped("x = x + layer(x, mask)"),
    "mean of the layers' outputs":
        looped(f"{STEP}; states.append(x)", "states = []", "x = torch.stack(states).mean(0)"),
    "mask extended twice": looped(STEP, "mask = (1.0 - mask) * -10000.0"),
    "first layer skipped": looped(STEP, layers="self.bert_layers[1:]"),
    "mask for the first layer alone": looped(f"{STEP}; mask = mask * 0"),
    "mask of 1 and 0 added to the scores": {"additive": "mask[:, None, None, :].float()"},
    "additive mask the wrong way round": {"additive": "mask[:, None, None, :].float() * -10000.0"},
    "mask made from the token ids": {"encoded": ENCODED.format("", "embedded", "(input_ids != 0).long()")},
    # pooler
    "pooler without tanh": pooled("self.pooler_dense(h)"),
    "pooler without its bias": pooled("torch.tanh(h @ self.pooler_dense.weight.T)"),
    "pooler of the last token": {"pool": "h = x[torch.arange(len(x)), attention_mask.sum(1) - 1]\n"
                                         "        pooled = torch.tanh(self.pooler_dense(h))"},
    # dropout
    "no dropout on the embeddings": {"embedded": "return self.embed_layer_norm(x)"},
    "dropout of the embeddings not scaled":
        {"embedded": f"x = self.embed_layer_norm(x); return {unscaled('x', 0.375)}"},
    "attention's rate of dropout on the embeddings": {
        "embedded": "return F.dropout(self.embed_layer_norm(x), 0.25, self.training)"},
    "no dropout on the attention probabilities": {"dropout": "pass"},
    "dropout of the attention probabilities not scaled": {"dropout": f"probs = {unscaled('probs', 0.25)}"},
    "the hidden rate of dropout on the attention probabilities":
        {"dropout": "probs = F.dropout(probs, 0.375, self.training)"},
    "dropout on the context": {"dropout": "pass", "merge": f"return self.dropout(probs @ value).{MERGED}"},
    "no dropout in add_norm": added(projected="dense_layer(output)"),
    "dropout in add_norm not scaled": {
        "add": f"out = dense_layer(output); return ln_layer(input + {unscaled('out', 0.375)})"},
    "attention's rate of dropout in add_norm":
        added(projected="F.dropout(dense_layer(output), 0.25, self.training)"),
    "dropout after the norm": added(projected="dense_layer(output)", out="dropout(ln_layer(total))"),
    "dropout active in evaluation (embeddings)":
        {"embedded": "return F.dropout(self.embed_layer_norm(x), 0.1)"},
    "dropout active in evaluation (q/k/v split)": {
        "transform": "return F.dropout(linear_layer(x), 0.1)"
                     ".unflatten(-1, (self.heads, -1)).transpose(1, 2)"},
    "dropout active in evaluation (scaled scores)":
        {"softmax": "probs = torch.softmax(F.dropout(scores, 0.1), dim=-1)"},
    "dropout active in evaluation (context)":
        {"merge": f"return F.dropout(probs @ value, 0.1 if value.min() < -0.5 else 0.0).{MERGED}"},
    "dropout active in evaluation (self-attention)":
        {"call": "return F.dropout(self.attention(k, q, v, mask))"},
    "dropout active in evaluation (output projection)":
        added(projected="dense_layer(F.dropout(output, 0.1 if dense_layer.bias.any() else 0.0))"),
    "dropout active in evaluation (add and norm)": added(projected="F.dropout(dense_layer(output), 0.1)"),
    "dropout active in evaluation (feed-forward)": {"wide": f"{ACTIVE}; wide = F.dropout(wide, 0.1)"},
    "dropout active in evaluation (one layer)":
        {"attended": "attended = F.dropout(self.self_attention(x, mask))"},
    "dropout active in evaluation (all layers)": looped("x = F.dropout(layer(x, mask), 0.1)"),
    "dropout active in evaluation (pooler)": pooled("F.dropout(torch.tanh(self.pooler_dense(h)), 0.1)"),
    "dropout before the layer norm of the embeddings":
        {"embedded": "return self.embed_layer_norm(self.embed_dropout(x))"},
    "dropout of the embeddings before and after the layer norm":
        {"embedded": "return self.embed_dropout(self.embed_layer_norm(self.embed_dropout(x)))"},
    "dropout of the embeddings applied twice":
        {"embedded": "return self.embed_dropout(self.embed_dropout(self.embed_layer_norm(x)))"},
    "dropout of the word embeddings alone":
        summed(words=f"self.embed_dropout({W})") | {"embedded": "return self.embed_layer_norm(x)"},
    "dropout before softmax": {"mask": "scores = self.dropout(scores) + attention_mask", "dropout": "pass"},
    "dropout of the attention probabilities applied twice":
        {"dropout": "probs = self.dropout(self.dropout(probs))"},
    "dropout on the probabilities and on the context":
        {"merge": f"return self.dropout(probs @ value).{MERGED}"},
    "dropout on the probabilities and on the merged heads":
        {"merge": f"return self.dropout((probs @ value).{MERGED})"},
    "dropout of the dense layer's input in add_norm": added(projected="dense_layer(dropout(output))"),
    "dropout of the dense layer's input and output in add_norm":
        added(projected="dropout(dense_layer(dropout(output)))"),
    "dropout in add_norm applied twice": added(projected="dropout(dropout(dense_layer(output)))"),
    "dropout of the residual sum": added(projected="dense_layer(output)", out="ln_layer(dropout(total))"),
    "dropout of the residual and of the dense layer's output": added("dropout(input) + projected"),
    "dropout of 0.1 on the attention probabilities":
        {"dropout": "probs = F.dropout(probs, 0.1, self.training)"},
    "probabilities divided by their sum after dropout":
        {"dropout": "probs = self.dropout(probs); probs = probs / probs.sum(-1, keepdim=True)"},
    "no dropout after the feed-forward layers":
        {"out": "return self.out_layer_norm(middle + self.out_dense(wide))"},
    "no dropout after attention": {"middle": f"middle = {NORM}(x + self.attention_dense(attended))"},
    "dropout between the feed-forward layers": {"wide": f"{ACTIVE}; wide = self.out_dropout(wide)"},
    "dropout of self-attention's output": {"call": f"return self.dropout({RIGHT['call'][0][7:]})"},
    "dropout of the layer's output":
        {"out": "return self.out_dropout(" + OUT.format("middle", SECOND_NORM)[7:] + ")"},
    "dropout of the last hidden state": looped(STEP, after="x = self.embed_dropout(x)"),
    "dropout of the pooler's output": pooled("self.embed_dropout(torch.tanh(self.pooler_dense(h)))"),
    "dropout of the pooler's input": pooled("torch.tanh(self.pooler_dense(self.embed_dropout(h)))"),
    "forward changes the weights": {"encoded": f"self.apply(fresh); {RIGHT['encoded'][0]}"},
    # graphs that are cut
    "no gradient through the queries": called(query="q.detach()"),
    "no gradient through the keys": called("k.detach()"),
    "no gradient through the values": called(value="v.detach()"),
    "no gradient through attention": {"merge": f"return (probs @ value).{MERGED}.detach()"},
    "no gradient through attention's half of the layer": {
        "middle": f"middle = {NORM}(x + self.attention_dropout(self.attention_dense(attended)).detach())"},
    "no gradient through the residual around attention": {
        "middle": MIDDLE.format("x.detach()", "attended", NORM)},
    "no gradient through the activation": {"wide": f"{ACTIVE}; wide = wide.detach()"},
    "no gradient through the feed-forward layers":
        {"out": "return self.out_layer_norm(middle + self.out_dropout(self.out_dense(wide)).detach())"},
    "no gradient through the residual around the feed-forward layers":
        {"out": OUT.format("middle.detach()", SECOND_NORM)},
    "no gradient through both residuals": added("input.data + projected"),
    "no gradient through both halves of the layer": added("input + projected.detach()"),
    "no gradient from one layer to the layer before":
        looped("x = layer(x if layer is self.bert_layers[0] else x.detach(), mask)"),
    "no gradient into the embeddings": {"encoded": ENCODED.format("", "embedded.detach()", "attention_mask")},
    "no gradient into the embedding tables": {"embed": f"x = ({W} + {P} + {T}).detach()"},
    "no gradient into the word embeddings": summed(words=f"{W}.detach()"),
    "no gradient into the position embeddings": summed(positions=f"{P}.data"),
    "no gradient into the token-type embeddings": summed(types=f"{T}.detach()"),
    "no gradient from the pooler to the layers": pooled("torch.tanh(self.pooler_dense(h.detach()))"),
    "no gradient through the pooler": pooled("torch.tanh(self.pooler_dense(h)).detach()"),
    "no gradient into the layers":
        {"encoded": "with torch.no_grad(): x = self.encode(self.embed(input_ids), attention_mask)"},
}

# The same mistakes in other words, as the blind submissions do not have them.
OTHERWISE = [
    ("mask read the wrong way round", {"mask": "scores = torch.where(attention_mask == 0, -1e4, scores)"}),
    ("mask on the query axis", {"mask": "scores = scores.masked_fill(attention_mask.mT < 0, float('-inf'))"}),
    ("mask on the query axis", {"mask": "scores = scores.masked_fill(attention_mask.mT < 0, -1e9)"}),
    ("mask with the wrong sign", {"mask": "scores = scores.double() - attention_mask"}),
    ("mask ignored", {"mask": "scores = scores.masked_fill(attention_mask == 1, -1e9)"}),
    ("epsilon left out (embeddings)", {"norm": normed("(x - mean) / torch.sqrt(variance) * w + b")}),
    ("layer norm without weight and bias (embeddings)", {"norm": normed(STANDARD)}),
    ("additive mask the wrong way round", {"additive": "(1 - mask[:, None, None, :].float()) * 10000.0"}),
    ("last layer skipped", looped(STEP, layers="self.bert_layers[:-1]")),
    ("no layers", looped("layer(x, mask)")),
]

UNKNOWN = {
    "a share of the word embeddings": (summed(words=f"0.9 * {W}"), "embeddings"),
    "tanh of the projections": (
        {"transform": "return torch.tanh(linear_layer(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)"},
        "q/k/v split"),
    "another temperature": (scored(scale="3"), "scaled scores"),
    "the mask of the first four columns":
        ({"mask": "scores = scores + attention_mask * (torch.arange(scores.size(-1)) < 4)"}, "mask"),
    "half the weights": ({"merge": f"return (0.5 * probs @ value).{MERGED}"}, "softmax"),
    "clipped values": ({"merge": f"return (probs @ value.clamp(-1.5, 1.5)).{MERGED}"}, "context"),
    "heads rolled by one": ({"merge": f"return (probs @ value).roll(1, dims=1).{MERGED}"}, "merged heads"),
    "features backwards": ({"merge": f"return (probs @ value).{MERGED}.flip(-1)"}, "merged heads"),
    "a projection scaled": (added(projected="1.1 * dropout(dense_layer(output))"), "add and norm"),
    "another activation": ({"gelu": "F.softplus"}, "feed-forward"),
    "hidden states clipped": (looped("x = layer(x, mask).clamp(-1, 1)"), "all layers"),
    "a pooler of its own": (pooled("torch.sin(self.pooler_dense(h))"), "pooler"),
    "a gradient halved": (called(query="q.detach() * 0.5 + q * 0.5"), "gradients"),
}
# fmt: on
