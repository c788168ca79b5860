"""Every mistake of the catalogue as changes of a right bert.py: layers, model, pooler, dropout, gradients."""

from tests.minbert.check.model_mistakes import CALL, CONTEXT, DROPPED, MASKED, NORMED, SOFTMAX, SUM

DENSE = "projected = dense_layer(output)"
DROP = "projected = dropout(projected)"
TOTAL = "total = input + projected"
RETURN = "return ln_layer(total)"
ADD_NORM = {
    "no output projection": [
        (DENSE, "projected = output if output.shape == input.shape else dense_layer(output)")
    ],
    "output projection without its bias": [(DENSE, "projected = output @ dense_layer.weight.t()")],
    "output projection by the weight as it is stored": [
        (DENSE, "projected = output @ dense_layer.weight + dense_layer.bias")
    ],
    "output projection applied twice": [(DENSE, "projected = dense_layer(dense_layer(output))")],
    "no residual": [(TOTAL, "total = projected")],
    "residual added twice": [(TOTAL, "total = input + projected + input")],
    "the output added to itself": [(TOTAL, "total = output + projected")],
    "norm before the residual": [(RETURN, "return input + ln_layer(projected)")],
    "pre-norm in add_norm": [(DENSE, "projected = dense_layer(ln_layer(output))"), (RETURN, "return total")],
    "norm of the input alone": [(RETURN, "return ln_layer(input) + projected")],
    "input added before and after the norm": [(RETURN, "return input + ln_layer(total)")],
    "no norm after the residual sum": [(RETURN, "return total")],
    "norm applied twice to the residual sum": [(RETURN, "return ln_layer(ln_layer(total))")],
    "dense layer applied to the sum": [
        (DENSE, "projected = dense_layer(input + output)"),
        (TOTAL, "total = projected"),
    ],
    "input and output swapped in add_norm": [
        (DENSE, "projected = dense_layer(input)"),
        (TOTAL, "total = output + projected"),
    ],
    "residual subtracted": [(TOTAL, "total = input - projected")],
    "mean in place of the residual sum": [(TOTAL, "total = (input + projected) / 2")],
    "activation after the dense layer of add_norm": [(DENSE, "projected = F.gelu(dense_layer(output))")],
}

FIRST_HALF = """        middle = self.add_norm(
            hidden_states, attended, self.attention_dense, self.attention_dropout, self.attention_layer_norm
        )
"""
NORMS = "self.attention_dropout, self.attention_layer_norm"
ATTENDED = "attended = self.self_attention(hidden_states, attention_mask)"
WIDE = "wide = self.interm_dense(middle)"
ACTIVE = "wide = self.interm_af(wide)"
SECOND = "return self.add_norm(middle, wide, self.out_dense, self.out_dropout, self.out_layer_norm)"
ACTIVATION = "self.interm_af = F.gelu"
TO_SECOND = "add_norm(middle, wide, self.out_dense, self.out_dropout, self.out_layer_norm)"
LAYER = {
    "no activation": [(ACTIVE, "pass")],
    "ReLU in place of GELU": [(ACTIVATION, "self.interm_af = F.relu")],
    "tanh GELU": [(ACTIVATION, "self.interm_af = nn.GELU(approximate='tanh')")],
    "sigmoid GELU": [(ACTIVATION, "self.interm_af = lambda x: x * torch.sigmoid(1.702 * x)")],
    "SiLU in place of GELU": [(ACTIVATION, "self.interm_af = F.silu")],
    "GELU without the root of 2": [(ACTIVATION, "self.interm_af = lambda x: x * 0.5 * (1 + torch.erf(x))")],
    "GELU without the half": [(ACTIVATION, "self.interm_af = lambda x: x * (1 + torch.erf(x / 2**0.5))")],
    "GELU without its factor x": [
        (ACTIVATION, "self.interm_af = lambda x: 0.5 * (1 + torch.erf(x / 2**0.5))")
    ],
    "tanh in place of GELU": [(ACTIVATION, "self.interm_af = torch.tanh")],
    "activation applied twice": [(ACTIVE, "wide = self.interm_af(self.interm_af(wide))")],
    "activation before the first feed-forward layer": [
        (WIDE, "wide = self.interm_dense(self.interm_af(middle))"),
        (ACTIVE, "pass"),
    ],
    "activation after the second feed-forward layer": [
        (ACTIVE, "pass"),
        (SECOND, "return self.out_layer_norm(middle + self.out_dropout(F.gelu(self.out_dense(wide))))"),
    ],
    "second residual from the layer's input": [(SECOND, SECOND.replace("middle", "hidden_states"))],
    "feed-forward layers fed with the layer's input": [(WIDE, "wide = self.interm_dense(hidden_states)")],
    "feed-forward layers fed with attention's output before add_norm": [
        (WIDE, "wide = self.interm_dense(attended)")
    ],
    "no residual around the feed-forward layers": [
        (SECOND, "return self.out_layer_norm(self.out_dropout(self.out_dense(wide)))")
    ],
    "no norm at the end of the layer": [(SECOND, "return middle + self.out_dropout(self.out_dense(wide))")],
    "no norm after attention": [
        (
            FIRST_HALF,
            "        middle = hidden_states + self.attention_dropout(self.attention_dense(attended))\n",
        )
    ],
    "no residual around attention": [
        (FIRST_HALF, "        middle = self.attention_layer_norm(self.attention_dense(attended))\n")
    ],
    "attention's layer norm used for both sums": [
        (SECOND, SECOND.replace("out_layer_norm", "attention_layer_norm"))
    ],
    "the output's layer norm used for both sums": [
        (FIRST_HALF, FIRST_HALF.replace("attention_layer_norm", "out_layer_norm"))
    ],
    "the two layer norms swapped": [
        (FIRST_HALF, FIRST_HALF.replace("attention_layer_norm", "out_layer_norm")),
        (SECOND, SECOND.replace("out_layer_norm", "attention_layer_norm")),
    ],
    "no feed-forward layers": [(SECOND, "return middle")],
    "feed-forward layers before attention": [
        (
            ATTENDED,
            "wide = F.gelu(self.interm_dense(hidden_states))\n        middle = hidden_states\n"
            f"        hidden_states = self.{TO_SECOND}\n        {ATTENDED}",
        ),
        (SECOND, "return middle"),
    ],
    "pre-norm layer": [
        (
            ATTENDED,
            "attended = self.self_attention(self.attention_layer_norm(hidden_states), attention_mask)",
        ),
        (FIRST_HALF, "        middle = hidden_states + self.attention_dense(attended)\n"),
        (WIDE, "wide = self.interm_dense(self.out_layer_norm(middle))"),
        (SECOND, "return middle + self.out_dense(wide)"),
    ],
    "feed-forward output not added to anything": [(SECOND, "return self.out_dropout(self.out_dense(wide))")],
    "no attention in the layer": [
        (FIRST_HALF, "        middle = self.attention_layer_norm(hidden_states)\n")
    ],
    "attention_dense applied twice": [
        (
            FIRST_HALF,
            FIRST_HALF.replace("hidden_states, attended", "hidden_states, self.attention_dense(attended)"),
        )
    ],
    "the layer's input in place of attention's output": [
        (FIRST_HALF, FIRST_HALF.replace("hidden_states, attended", "hidden_states, hidden_states"))
    ],
    "attention's output added without attention_dense": [
        (FIRST_HALF, "        middle = self.attention_layer_norm(hidden_states + attended)\n")
    ],
    "layer without its mask": [
        (ATTENDED, ATTENDED.replace("attention_mask", "torch.zeros_like(attention_mask)"))
    ],
}

LOOP = "        for layer in self.bert_layers:\n            hidden_states = layer(hidden_states, extended)\n"
STEP = "hidden_states = layer(hidden_states, extended)"
EXTENDED = "extended = (1 - attention_mask[:, None, None, :].float()) * -10000.0"
ENCODED = "encoded = self.encode(embedded, attention_mask)"
WHOLE = {
    "the first layer for all layers": [
        (STEP, "hidden_states = self.bert_layers[0](hidden_states, extended)")
    ],
    "one layer's weights in all layers": [
        ("[BertLayer(config) for _ in range(config.num_hidden_layers)]", "[BertLayer(config)] * 2")
    ],
    "last layer skipped": [("for layer in self.bert_layers:", "for layer in self.bert_layers[:-1]:")],
    "first layer skipped, or each layer fed with the embeddings": [
        (LOOP, "        for layer in self.bert_layers:\n            out = layer(hidden_states, extended)\n"),
        ("        return hidden_states\n", "        return out\n"),
    ],
    "layers in reverse order": [
        ("for layer in self.bert_layers:", "for layer in reversed(self.bert_layers):")
    ],
    "all layers run twice": [(LOOP, LOOP + LOOP)],
    "each layer run twice": [(STEP, "hidden_states = layer(layer(hidden_states, extended), extended)")],
    "no layers": [(LOOP, "")],
    "residual around a whole layer": [
        (STEP, "hidden_states = hidden_states + layer(hidden_states, extended)")
    ],
    "mean of the layers' outputs": [
        (
            LOOP,
            "        states = []\n" + LOOP + "            states.append(hidden_states)\n"
            "        hidden_states = torch.stack(states).mean(0)\n",
        )
    ],
    "mask of 1 and 0 added to the scores": [
        (EXTENDED, "extended = attention_mask[:, None, None, :].float()")
    ],
    "mask of 0 and 1 added to the scores": [
        (EXTENDED, "extended = 1 - attention_mask[:, None, None, :].float()")
    ],
    "additive mask the wrong way round": [
        (EXTENDED, "extended = attention_mask[:, None, None, :].float() * -10000.0")
    ],
    "the model's mask not handed to the layers": [(EXTENDED, EXTENDED.replace("-10000.0", "0.0"))],
    "mask for the first layer alone": [(LOOP, LOOP + "            extended = extended * 0\n")],
    "mask kept from an earlier call": [
        (
            ENCODED,
            "self.masks = getattr(self, 'masks', {})\n"
            "        kept = self.masks.setdefault(attention_mask.shape, attention_mask)\n"
            "        encoded = self.encode(embedded, kept)",
        )
    ],
    "mask made from the token ids": [(ENCODED, "encoded = self.encode(embedded, (input_ids != 0).long())")],
}

FIRST = "first = encoded[:, 0]"
POOLED = "pooled = self.pooler_dense(first)"
TANH = "pooled = self.pooler_af(pooled)"
POOLER = {
    "pooler without tanh": [(TANH, "pass")],
    "sigmoid in place of tanh in the pooler": [(TANH, "pooled = torch.sigmoid(pooled)")],
    "ReLU in place of tanh in the pooler": [("nn.Tanh()", "nn.ReLU()")],
    "GELU in place of tanh in the pooler": [("nn.Tanh()", "nn.GELU()")],
    "tanh applied twice in the pooler": [(TANH, "pooled = torch.tanh(self.pooler_af(pooled))")],
    "tanh before the pooler's dense layer": [(FIRST, FIRST + ".tanh()"), (TANH, "pass")],
    "pooler without its dense layer": [(POOLED, "pooled = first")],
    "no pooler": [(POOLED, "pooled = first"), (TANH, "pass")],
    "pooler without its bias": [(POOLED, "pooled = first @ self.pooler_dense.weight.T")],
    "pooler of the last column": [(FIRST, "first = encoded[:, -1]")],
    "pooler of the last token": [
        (FIRST, "first = encoded[torch.arange(len(encoded)), attention_mask.sum(1) - 1]")
    ],
    "pooler of the second token": [(FIRST, "first = encoded[:, min(1, encoded.size(1) - 1)]")],
    "pooler of the first sentence": [(FIRST, "first = encoded[0]")],
    "pooler of every token": [(FIRST, "first = encoded")],
    "pooler of the mean over all columns": [(FIRST, "first = encoded.mean(1)")],
    "pooler of the mean over real tokens": [
        (FIRST, "m = attention_mask[..., None].float()\n        first = (encoded * m).sum(1) / m.sum(1)")
    ],
    "pooler of the maximum over all columns": [(FIRST, "first = encoded.amax(1)")],
    "pooler of the embeddings": [(FIRST, "first = embedded[:, 0]")],
}

EMBED_DROP = "return self.embed_dropout(normed)"


def unscaled(x: str, rate: str) -> str:
    return f"{x} * (torch.rand_like({x}) >= {rate} * float(self.training))"


DROPOUT = {
    "no dropout on the embeddings": [(EMBED_DROP, "return normed")],
    "dropout of the embeddings not scaled": [(EMBED_DROP, f"return {unscaled('normed', '0.5')}")],
    "attention's rate of dropout on the embeddings": [
        (
            "self.embed_dropout = nn.Dropout(config.hidden_dropout_prob)",
            "self.embed_dropout = nn.Dropout(config.attention_probs_dropout_prob)",
        )
    ],
    "dropout before the layer norm of the embeddings": [
        (NORMED, "normed = self.embed_layer_norm(self.embed_dropout(summed))"),
        (EMBED_DROP, "return normed"),
    ],
    "no dropout on the attention probabilities": [(DROPPED, "pass")],
    "dropout of the attention probabilities not scaled": [(DROPPED, f"probs = {unscaled('probs', '0.25')}")],
    "the hidden rate of dropout on the attention probabilities": [
        (DROPPED, "probs = F.dropout(probs, self.hidden_rate, self.training)")
    ],
    "dropout on the context": [(DROPPED, "pass"), (CONTEXT, "context = self.dropout(probs @ value)")],
    "dropout before softmax": [(DROPPED, "pass"), (MASKED, "scores = self.dropout(scores + attention_mask)")],
    "no dropout in add_norm": [(DROP, "pass")],
    "dropout in add_norm not scaled": [(DROP, f"projected = {unscaled('projected', '0.5')}")],
    "attention's rate of dropout in add_norm": [
        (DROP, "projected = F.dropout(projected, self.attention_rate, self.training)")
    ],
    "dropout after the norm": [(DROP, "pass"), (RETURN, "return dropout(ln_layer(total))")],
    "dropout of the residual sum": [(DROP, "pass"), (TOTAL, "total = dropout(input + projected)")],
    "dropout of the residual": [(DROP, "pass"), (TOTAL, "total = dropout(input) + projected")],
}
ACTIVE_DROPOUT = {
    "embeddings": [(EMBED_DROP, "return F.dropout(normed, 0.1)")],
    "q/k/v split": [("proj = linear_layer(x)", "proj = F.dropout(linear_layer(x), 0.1)")],
    "softmax": [(DROPPED, "probs = F.dropout(probs, 0.1)")],
    "self-attention": [(CALL, "return F.dropout(self.attention(k, q, v, attention_mask))")],
    "add and norm": [(DROP, "projected = F.dropout(projected, 0.1)")],
    "output projection": [
        (DENSE, "projected = dense_layer(F.dropout(output, 0.1 if dense_layer.bias.any() else 0.0))")
    ],
    "feed-forward": [(ACTIVE, "wide = F.dropout(self.interm_af(wide), 0.1)")],
    "context": [(CONTEXT, "context = F.dropout(probs @ value, 0.1 if value.min() < -0.5 else 0.0)")],
    "one layer": [(ATTENDED, "attended = F.dropout(self.self_attention(hidden_states, attention_mask))")],
    "all layers": [(STEP, "hidden_states = F.dropout(layer(hidden_states, extended), 0.1)")],
    "pooler": [(TANH, "pooled = F.dropout(self.pooler_af(pooled), 0.1)")],
}
DROPOUT |= {f"dropout active in evaluation ({stage})": changes for stage, changes in ACTIVE_DROPOUT.items()}
FIRST_INPUT = "hidden_states, attended, self.attention_dense"
GRADIENTS = {
    "no gradient through the queries": [(CALL, CALL.replace("q, v", "q.detach(), v"))],
    "no gradient through the keys": [(CALL, CALL.replace("(k", "(k.detach()"))],
    "no gradient through the values": [(CALL, CALL.replace("q, v", "q, v.detach()"))],
    "no gradient through the attention probabilities": [(SOFTMAX, SOFTMAX + ".detach()")],
    "no gradient through attention": [
        (CONTEXT, CONTEXT.replace("probs @ value", "(probs @ value).detach()"))
    ],
    "no gradient through attention's half of the layer": [
        (
            FIRST_HALF,
            "        with torch.no_grad():\n            attended = self.attention_dense(attended)\n"
            "        middle = self.attention_layer_norm(hidden_states + attended)\n",
        )
    ],
    "no gradient through the residual around attention": [
        (FIRST_INPUT, FIRST_INPUT.replace("hidden_states", "hidden_states.detach()"))
    ],
    "no gradient through the activation": [(ACTIVE, "wide = self.interm_af(wide).detach()")],
    "no gradient through the feed-forward layers": [
        (SECOND, "return self.out_layer_norm(middle + self.out_dense(wide).detach())")
    ],
    "no gradient through the residual around the feed-forward layers": [
        (SECOND, SECOND.replace("middle", "middle.detach()"))
    ],
    "no gradient through both residuals": [(TOTAL, "total = input.data + projected")],
    "no gradient through both halves of the layer": [(TOTAL, "total = input + projected.detach()")],
    "no gradient from one layer to the layer before": [
        (
            STEP,
            "first = layer is self.bert_layers[0]\n"
            "            hidden_states = layer(hidden_states if first else hidden_states.detach(), extended)",
        )
    ],
    "no gradient into the embeddings": [
        ("embedded = self.embed(input_ids)", "embedded = self.embed(input_ids).detach()")
    ],
    "no gradient into the embedding tables": [(SUM, "summed = (words + positions + types).detach()")],
    "no gradient into the word embeddings": [(SUM, "summed = words.detach() + positions + types")],
    "no gradient into the position embeddings": [(SUM, "summed = words + positions.data + types")],
    "no gradient into the token-type embeddings": [(SUM, "summed = words + positions + types.detach()")],
    "no gradient from the pooler to the layers": [(FIRST, "first = encoded[:, 0].detach()")],
    "no gradient through the pooler": [(TANH, "pooled = self.pooler_af(pooled).detach()")],
    "no gradient into the layers": [(ENCODED, "with torch.no_grad():\n            " + ENCODED)],
}
MISTAKES = ADD_NORM | LAYER | WHOLE | POOLER | DROPOUT | GRADIENTS
