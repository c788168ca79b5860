"""Every mistake of the catalogue as changes of a right bert.py: embeddings, norms, heads and attention."""

POSITIONS = "self.position_ids[:, : input_ids.shape[1]]"
WORDS = "        words = self.word_embedding(input_ids)\n"
SUM = "summed = words + positions + types"
NORMED = "normed = self.embed_layer_norm(summed)"
TYPES = "torch.zeros_like(input_ids)"

EMBEDDINGS = {
    "positions from 1": [(POSITIONS, "self.position_ids[:, 1 : input_ids.shape[1] + 1]")],
    "position 0 for every token": [(POSITIONS, "torch.zeros_like(input_ids)")],
    "the sentence's number as its tokens' position": [
        (POSITIONS, "torch.arange(input_ids.size(0))[:, None].expand_as(input_ids)")
    ],
    "positions counted from the end": [(POSITIONS, POSITIONS + ".flip(1)")],
    "no position embeddings": [(SUM, "summed = words + types")],
    "sines and cosines as positions": [
        (
            SUM,
            "rates = 10000 ** (-torch.arange(0, 24, 2) / 24)\n"
            "        angles = torch.arange(input_ids.size(1))[:, None] * rates\n"
            "        positions = torch.zeros(input_ids.size(1), 24)\n"
            "        positions[:, 0::2], positions[:, 1::2] = angles.sin(), angles.cos()\n"
            "        summed = words + positions + types",
        )
    ],
    "no token-type embeddings": [(SUM, "summed = words + positions")],
    "token type 1 for every token": [(TYPES, "torch.ones_like(input_ids)")],
    "the padding mask as token types": [(TYPES, "(input_ids != 0).long()")],
    "token types from the position": [
        (TYPES, "self.position_ids[:, : input_ids.shape[1]].clamp(max=1).expand_as(input_ids)")
    ],
    "no word embeddings": [(SUM, "summed = positions + types")],
    "word embeddings times sqrt(D)": [(SUM, "summed = words * math.sqrt(24) + positions + types")],
    "sum of the embeddings times sqrt(D)": [(SUM, "summed = (words + positions + types) * 24**0.5")],
    "mean of the embeddings": [
        (SUM, "summed = torch.stack(torch.broadcast_tensors(words, positions, types)).mean(0)")
    ],
    "zero in place of the padding token's embedding": [
        (WORDS, WORDS + "        words = words * (input_ids != 0)[..., None]\n")
    ],
    "embeddings set to zero at padding": [
        (NORMED, NORMED + "\n        normed = normed * (input_ids != 0).unsqueeze(-1)")
    ],
    "no layer norm after the embeddings": [(NORMED, "normed = summed")],
    "layer norm applied twice to the embeddings": [
        (NORMED, "normed = self.embed_layer_norm(self.embed_layer_norm(summed))")
    ],
    "layer norm of the word embeddings alone": [
        (NORMED, "normed = self.embed_layer_norm(words) + positions + types")
    ],
    "token types added after the layer norm": [
        (NORMED, "normed = self.embed_layer_norm(words + positions) + types")
    ],
}

MEAN = {"embeddings": "mean = x.mean(-1, keepdim=True)", "add and norm": "center = y.mean(-1, keepdim=True)"}
VARIANCE = {
    "embeddings": "variance = x.var(-1, unbiased=False, keepdim=True)",
    "add and norm": "spread = y.var(-1, unbiased=False, keepdim=True)",
}
ROOT = {"embeddings": "torch.sqrt(variance + self.eps)", "add and norm": "torch.sqrt(spread + self.eps)"}
NORM = {
    "embeddings": "(x - mean) / torch.sqrt(variance + self.eps) * self.weight + self.bias",
    "add and norm": "(y - center) / torch.sqrt(spread + self.eps) * self.weight + self.bias",
}


def norm_mistakes(stage: str) -> dict[str, list[tuple[str, str]]]:
    """Of the embeddings' norm, or of the layers'."""
    mean, variance, root, norm = MEAN[stage], VARIANCE[stage], ROOT[stage], NORM[stage]
    name = variance.partition(" ")[0]
    outside = root.replace(" + self.eps)", ") + self.eps")
    mistakes = {
        "epsilon outside the root": [(root, f"({outside})")],
        "epsilon of 1e-12": [(root, root.replace("self.eps", "1e-12"))],
        "epsilon of 1e-5": [(root, root.replace("self.eps", "1e-5"))],
        "unbiased variance": [(variance, variance.replace("False", "True"))],
        "unbiased deviation plus epsilon": [
            (root, f"({outside})"),
            (variance, variance.replace("unbiased=False, ", "")),
        ],
        "layer norm divided by the variance": [(root, f"({name} + self.eps)")],
        "layer norm without the mean": [(norm, norm.replace("(x - mean)", "x").replace("(y - center)", "y"))],
        "RMS norm in place of layer norm": [
            (mean, mean.replace("x.mean(-1, keepdim=True)", "0").replace("y.mean(-1, keepdim=True)", "0")),
            (variance, variance.replace(".var(-1, unbiased=False", ".square().mean(-1")),
        ],
        "layer norm without its weight": [(norm, norm.replace(" * self.weight", ""))],
        "layer norm without its bias": [(norm, norm.replace(" + self.bias", ""))],
        "layer norm without weight and bias": [(norm, norm.replace(" * self.weight + self.bias", ""))],
        "layer norm over the tokens": [
            (mean, mean.replace("-1", "1")),
            (variance, variance.replace("-1", "1")),
        ],
        "layer norm over the whole sentence": [
            (mean, mean.replace("-1", "(1, 2)")),
            (variance, variance.replace("-1", "(1, 2)")),
        ],
        "layer norm over the batch": [
            (mean, mean.replace("-1", "(0, 1)")),
            (variance, variance.replace("-1", "(0, 1)")),
        ],
    }
    return {f"{name} ({stage})": changes for name, changes in mistakes.items()}


PROJECTED = "proj = linear_layer(x)"
SPLIT = "proj = proj.view(x.shape[0], x.shape[1], self.heads, self.size)"
TRANSPOSED = "return proj.transpose(1, 2)"
BACK = "context = context.transpose(1, 2).contiguous()"
MERGED = "return context.view(query.shape[0], query.shape[2], self.heads * self.size)"
HEADS = {
    "heads split without a transpose": [
        (SPLIT, "proj = proj.view(x.shape[0], self.heads, x.shape[1], self.size)"),
        (TRANSPOSED, "return proj"),
    ],
    "features dealt out to the heads in turn": [
        (SPLIT, "proj = proj.view(x.shape[0], x.shape[1], self.size, self.heads)"),
        (TRANSPOSED, "return proj.permute(0, 3, 1, 2)"),
    ],
    "heads and tokens not transposed": [(TRANSPOSED, "return proj")],
    "heads split without the linear layer": [(PROJECTED, "proj = x")],
    "projections without a bias": [(PROJECTED, "proj = x @ linear_layer.weight.t()")],
    "projections by the weight as it is stored": [
        (PROJECTED, "proj = x @ linear_layer.weight + linear_layer.bias")
    ],
    "heads merged without a transpose": [(BACK, "context = context.contiguous()")],
    "heads interleaved": [(BACK, "context = context.permute(0, 2, 3, 1).contiguous()")],
    "heads not merged": [(BACK, ""), (MERGED, "return context")],
    "heads transposed but not merged": [(MERGED, "return context")],
    "mean of the heads": [(MERGED, "return context.mean(2)")],
    "sum of the heads": [(MERGED, "return context.sum(2)")],
    "heads in reverse order": [(BACK, "context = context.flip(1).transpose(1, 2).contiguous()")],
}

PRODUCTS = "scores = query @ key.transpose(-1, -2)"
SCALED = "scores = scores / math.sqrt(self.size)"
MASKED = "scores = scores + attention_mask"
SOFTMAX = "probs = torch.softmax(scores, dim=-1)"
DROPPED = "probs = self.dropout(probs)"
CONTEXT = "context = probs @ value"
SCORES = {
    "scores without 1/sqrt(d)": [(SCALED, "pass")],
    "scores divided by the whole part of sqrt(d)": [(SCALED, "scores = scores / int(math.sqrt(self.size))")],
    "key reshaped instead of transposed": [
        (PRODUCTS, "scores = query @ key.reshape(*key.shape[:2], self.size, -1)")
    ],
    "scores divided by d": [(SCALED, "scores = scores / self.size")],
    "scores divided by the root of the hidden size": [(SCALED, "scores = scores / math.sqrt(24)")],
    "scores multiplied by sqrt(d)": [(SCALED, "scores = scores * math.sqrt(self.size)")],
    "scores divided by the root of the sentence's length": [
        (SCALED, "scores = scores / math.sqrt(query.size(2))")
    ],
    "scores divided by the root of the number of heads": [
        (SCALED, "scores = scores / math.sqrt(self.heads)")
    ],
    "scores with the wrong sign": [(SCALED, "scores = -scores / math.sqrt(self.size)")],
    "key and query swapped in the scores": [(PRODUCTS, "scores = key @ query.transpose(-1, -2)")],
    "queries in place of the keys in the scores": [(PRODUCTS, "scores = query @ query.transpose(-1, -2)")],
    "keys in place of the queries in the scores": [(PRODUCTS, "scores = key @ key.transpose(-1, -2)")],
    "cosines as scores": [
        (PRODUCTS, "scores = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-1, -2)"),
        (SCALED, "pass"),
    ],
    "one matrix of scores for all heads": [
        (SCALED, SCALED + "\n        scores = scores.sum(1, keepdim=True)")
    ],
    "softmax applied twice": [(SOFTMAX, SOFTMAX + "\n        probs = torch.softmax(probs, dim=-1)")],
    "values in place of the keys": [(PRODUCTS, "scores = query @ value.transpose(-1, -2)")],
    "tokens do not look at themselves": [
        (MASKED, "scores = (scores + attention_mask).masked_fill(torch.eye(scores.size(-1)).bool(), -1e9)")
    ],
}
AS_BOOLEAN = "attention_mask == 0"
MASK = {
    "mask ignored": [(MASKED, "pass")],
    "mask with the wrong sign": [(MASKED, "scores = scores - attention_mask")],
    "scores multiplied by the mask": [(MASKED, "scores = scores * attention_mask")],
    "scores multiplied by 1 + mask": [(MASKED, "scores = scores + scores * attention_mask")],
    "mask added after softmax": [(MASKED, "pass"), (SOFTMAX, SOFTMAX + " + attention_mask")],
    "scores of padding set to zero": [(MASKED, "scores = scores.masked_fill(attention_mask < 0, 0.0)")],
    "mask made too weak": [(MASKED, "scores = scores - (attention_mask < 0).float()")],
    "the first sentence's mask for all sentences": [(MASKED, "scores = scores + attention_mask[0]")],
    "the last sentence's mask for all sentences": [(MASKED, "scores = scores + attention_mask[-1]")],
    "causal mask": [
        (
            MASKED,
            MASKED + "\n        scores = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), float('-inf'))",
        )
    ],
    "mask on the query axis": [(MASKED, "scores = scores + attention_mask.transpose(-1, -2)")],
    "mask read the wrong way round": [(MASKED, f"scores = scores.masked_fill({AS_BOOLEAN}, -1e9)")],
}
WEIGHTS = {
    "no softmax": [(SOFTMAX, "probs = scores")],
    "softmax over the queries": [(SOFTMAX, "probs = torch.softmax(scores, dim=-2)")],
    "softmax over the heads": [(SOFTMAX, "probs = torch.softmax(scores, dim=1)")],
    "softmax over the batch": [(SOFTMAX, "probs = torch.softmax(scores, dim=0)")],
    "softmax over queries and keys together": [
        (SOFTMAX, "probs = torch.softmax(scores.flatten(2), dim=-1).view_as(scores)")
    ],
    "sigmoid in place of softmax": [(SOFTMAX, "probs = torch.sigmoid(scores)")],
    "log-softmax in place of softmax": [(SOFTMAX, "probs = F.log_softmax(scores, dim=-1)")],
    "exponentials not divided by their sum": [(SOFTMAX, "probs = scores.exp()")],
    "exponentials less the maximum not divided by their sum": [
        (SOFTMAX, "probs = (scores - scores.amax(-1, keepdim=True)).exp()")
    ],
    "softmax without subtracting the maximum": [
        (SOFTMAX, "probs = scores.exp() / scores.exp().sum(-1, keepdim=True)")
    ],
    "scores divided by their sum": [(SOFTMAX, "probs = scores / scores.sum(-1, keepdim=True)")],
    "mask after softmax": [
        (MASKED, "pass"),
        (SOFTMAX, SOFTMAX + "\n        probs = probs * (attention_mask == 0)"),
    ],
    "division by sqrt(d) after softmax": [
        (SCALED, "pass"),
        (SOFTMAX, SOFTMAX + " / math.sqrt(self.size)"),
    ],
    "division by sqrt(d) before and after softmax": [(SOFTMAX, SOFTMAX + " / math.sqrt(self.size)")],
    "context from transposed probabilities": [(CONTEXT, "context = probs.transpose(-1, -2) @ value")],
    "value and key swapped in attention": [
        (PRODUCTS, "scores = query @ value.transpose(-1, -2)"),
        (CONTEXT, "context = probs @ key"),
    ],
    "keys in place of the values": [(CONTEXT, "context = probs @ key")],
    "queries in place of the values": [(CONTEXT, "context = probs @ query")],
    "queries added to the context": [(CONTEXT, CONTEXT + " + query")],
    "values added to the context": [(CONTEXT, CONTEXT + " + value")],
}

KEYS = "k = self.transform(hidden_states, self.key)"
VALUES = "v = self.transform(hidden_states, self.value)"
QUERIES = "q = self.transform(hidden_states, self.query)"
CALL = "return self.attention(k, q, v, attention_mask)"
SELF_ATTENTION = {
    "key and query swapped in the call of attention": [
        (CALL, "return self.attention(q, k, v, attention_mask)")
    ],
    "value and key swapped in the call of attention": [
        (CALL, "return self.attention(v, q, k, attention_mask)")
    ],
    "value and query swapped in the call of attention": [
        (CALL, "return self.attention(k, v, q, attention_mask)")
    ],
    "arguments of attention shifted by one": [(CALL, "return self.attention(q, v, k, attention_mask)")],
    "arguments of attention shifted by two": [(CALL, "return self.attention(v, k, q, attention_mask)")],
    "keys from the query's linear layer": [(KEYS, KEYS.replace("self.key", "self.query"))],
    "queries from the key's linear layer": [(QUERIES, QUERIES.replace("self.query", "self.key"))],
    "values from the key's linear layer": [(VALUES, VALUES.replace("self.value", "self.key"))],
    "values from the query's linear layer": [(VALUES, VALUES.replace("self.value", "self.query"))],
    "keys from the value's linear layer": [(KEYS, KEYS.replace("self.key", "self.value"))],
    "one linear layer for queries, keys and values": [
        (KEYS, KEYS.replace("self.key", "self.query")),
        (VALUES, VALUES.replace("self.value", "self.query")),
    ],
    "values without their linear layer": [
        (VALUES, "v = hidden_states.view(*hidden_states.shape[:2], self.heads, self.size).transpose(1, 2)")
    ],
    "self-attention without its mask": [(CALL, "return self.attention(k, q, v, attention_mask * 0)")],
    "residual sum inside self-attention": [(CALL, CALL + " + hidden_states")],
}
MISTAKES = EMBEDDINGS | norm_mistakes("embeddings") | norm_mistakes("add and norm") | HEADS
MISTAKES |= SCORES | MASK | WEIGHTS | SELF_ATTENTION
