"""Mistakes in the whole model: the layers' order and weights, the mask they are given, the pooler."""

import numpy as np

from minbert.check.bert.stages import UNEXTENDED
from minbert.check.mistakes.bert.attention import rounded_sum
from minbert.check.mistakes.table import wrong
from minbert.check.references.bert import Bert, erf

FEW_DIGITS = 2e-2  # 10000 + x has 3 digits after the point in fp32, and two layers make more of it
EXTENDED = "(1 - mask) * -10000, of shape (B, 1, 1, S)"


# fmt: off
ALL_LAYERS = (
    wrong("the first layer for all layers",
          "Every step runs the first layer, as if the layers shared its weights.",
          "Run layer i at step i: for layer in self.bert_layers.",
          encode=lambda self, hidden, extended: self.run([0] * self.count, hidden, extended)),
    wrong("one layer's weights in all layers",
          "The layers are one object, [BertLayer(config)] * n, and hold what was loaded last.",
          "Make a layer for each: [BertLayer(config) for _ in range(n)].",
          encode=lambda self, hidden, extended: self.run([self.count - 1] * self.count, hidden, extended)),
    wrong("only the first layer runs",
          "The layers' output is that of the first layer, as of a `return` inside the loop.",
          "Return after the loop over self.bert_layers.",
          encode=lambda self, hidden, extended: self.run([0], hidden, extended)),
    wrong("last layer skipped", "The layers' output is that of the last layer but one.",
          "Run all layers of self.bert_layers, and return what the last one gives.",
          encode=lambda self, hidden, extended: self.run(range(self.count - 1), hidden, extended)),
    wrong("first layer skipped", "The loop over the layers starts at the second one.",
          "Run all layers of self.bert_layers.",
          encode=lambda self, hidden, extended: self.run(range(1, self.count), hidden, extended)),
    wrong("each layer fed with the embeddings",
          "The result is the last layer's output for the embeddings, not for what the layer before it gave.",
          "Give each layer the output of the one before: hidden_states = layer(hidden_states, mask).",
          encode=lambda self, hidden, extended: self.run([self.count - 1], hidden, extended)),
    wrong("layers in reverse order", "The last layer runs first.", "Run the layers in their order.",
          encode=lambda self, hidden, extended: self.run(reversed(range(self.count)), hidden, extended)),
    wrong("all layers run twice", "The layers' output goes through the layers again.", "Run each layer once.",
          encode=lambda self, hidden, extended: self.run([*range(self.count)] * 2, hidden, extended)),
    wrong("each layer run twice", "A layer's output goes through the same layer again.",
          "Run each layer once.",
          encode=lambda self, hidden, extended: self.run(np.repeat(range(self.count), 2), hidden, extended)),
    wrong("no layers", "The embeddings are returned as last_hidden_state.", "Return the last layer's output.",
          encode=lambda self, hidden, extended: hidden),
    wrong("residual around a whole layer", "A layer's input is added to its output once more.",
          "Go on with the layer's output alone.",
          step=lambda self, number, hidden, extended: hidden + self.layer(number, hidden, extended)),
    wrong("embeddings' layer norm on the last hidden state",
          "embed_layer_norm is applied to the layers' output.",
          "Return the last layer's output.",
          encode=lambda self, hidden, extended:
              Bert.embedding_norm(self, Bert.encode(self, hidden, extended))),
    wrong("mean of the layers' outputs", "The layers' outputs are averaged.",
          "Return the last layer's output.",
          encode=lambda self, hidden, extended:
              np.mean([self.run(range(n + 1), hidden, extended) for n in range(self.count)], axis=0)),
    wrong("mask of 1 and 0 added to the scores",
          "The attention mask reaches the layers as it is, so that real tokens get 1 more than padding.",
          f"Make it additive first, by get_extended_attention_mask: {EXTENDED}.",
          extended=lambda self, mask: mask[:, None, None, :].astype(np.float64)),
    wrong("mask of 0 and 1 added to the scores",
          "1 - mask is added to the scores, so that padding gets 1 more than real tokens.",
          f"Multiply it by -10000: {EXTENDED}.", extended=lambda self, mask: 1.0 - mask[:, None, None, :]),
    wrong("additive mask the wrong way round",
          "Real tokens get 10000 less than padding, so that padding alone is seen.",
          f"Hide padding: {EXTENDED}.", tolerance=FEW_DIGITS,
          extended=lambda self, mask: mask[:, None, None, :] * -10000.0),
    wrong("mask extended twice",
          "The mask is extended, and then (1 - mask) * -10000 once more: -10000 at real tokens.",
          f"Extend it once: {EXTENDED}.", tolerance=FEW_DIGITS, reads=(UNEXTENDED,),
          extended=lambda self, mask: (1 - Bert.extended(self, mask)) * -10000, masked=rounded_sum),
    wrong("the model's mask not handed to the layers",
          "The layers run without a mask, so that tokens look at padding.",
          f"Give every layer the extended mask: {EXTENDED}.",
          extended=lambda self, mask: np.zeros((len(mask), 1, 1, mask.shape[1]))),
    wrong("mask for the first layer alone", "Only the first layer is given the mask.",
          f"Give every layer the extended mask: {EXTENDED}.",
          step=lambda self, number, hidden, extended:
              self.layer(number, hidden, extended if number == 0 else 0 * extended)),
)
PADDING = (
    wrong("mask kept from an earlier call",
          "The extended mask of a batch is used for the next one of the same shape.",
          f"Make it anew in every call: {EXTENDED}.",
          attention_mask=lambda self, ids, mask:
              self.__dict__.setdefault("kept", {}).setdefault(mask.shape, mask)),
    wrong("mask made from the token ids",
          "The model takes every token but [PAD] for real, whatever attention_mask says.",
          "Use the attention_mask that the model is given.",
          attention_mask=lambda self, ids, mask: (~self.is_padding(ids)).astype(np.int64)),
)
# fmt: on

FORMULA = "tanh(W h + b), h the last hidden state of column 0"

# fmt: off
POOLER = (
    wrong("pooler without tanh", "The dense layer's output is returned as it is.", f"Apply tanh: {FORMULA}.",
          pooler_activation=lambda self, x: x),
    wrong("sigmoid in place of tanh in the pooler", "The pooler's activation is a sigmoid.",
          f"Apply tanh: {FORMULA}.", pooler_activation=lambda self, x: 1 / (1 + np.exp(-x))),
    wrong("ReLU in place of tanh in the pooler", "The pooler's activation is max(x, 0).",
          f"Apply tanh: {FORMULA}.", pooler_activation=lambda self, x: np.maximum(x, 0)),
    wrong("GELU in place of tanh in the pooler", "The pooler's activation is the feed-forward layers'.",
          f"Apply tanh: {FORMULA}.", pooler_activation=lambda self, x: x * (1 + erf(x / np.sqrt(2))) / 2),
    wrong("softmax in place of tanh in the pooler", "The pooler's activation is a softmax.",
          f"Apply tanh: {FORMULA}.", pooler_activation=lambda self, x: self.softmax(x)),
    wrong("first token added to the pooler's output", "The pooler computes h + tanh(W h + b).",
          f"Return {FORMULA}.",
          pool=lambda self, hidden, embeddings, ids, mask:
              hidden[:, 0] + Bert.pool(self, hidden, embeddings, ids, mask)),
    wrong("tanh applied twice in the pooler", "tanh is applied to its own output.",
          f"Apply it once: {FORMULA}.", pooler_activation=lambda self, x: np.tanh(np.tanh(x))),
    wrong("tanh before the pooler's dense layer", "The pooler computes W tanh(h) + b.",
          f"tanh comes last: {FORMULA}.",
          first_token=lambda self, hidden, embeddings, mask: np.tanh(hidden[:, 0]),
          pooler_activation=lambda self, x: x),
    wrong("pooler without its dense layer", "The pooler computes tanh(h).", f"Apply pooler_dense: {FORMULA}.",
          pool=lambda self, hidden, embeddings, ids, mask: self.pooler_activation(hidden[:, 0])),
    wrong("no pooler", "The first token's hidden state is returned as it is.",
          f"Apply pooler_dense and pooler_af: {FORMULA}.",
          pool=lambda self, hidden, embeddings, ids, mask: hidden[:, 0]),
    wrong("pooler without its bias", "The pooler computes tanh(W h).", f"Add the bias: {FORMULA}.",
          lacks=lambda self, name: name == "pooler_dense.bias",
          pool=lambda self, hidden, embeddings, ids, mask:
              self.pooler_activation(hidden[:, 0] @ self.weights["pooler.dense.weight"].T)),
    wrong("pooler of the last column", "The pooler reads hidden[:, -1], which may be padding.",
          f"Read column 0: {FORMULA}.", first_token=lambda self, hidden, embeddings, mask: hidden[:, -1]),
    wrong("pooler of the last token", "The pooler reads each sentence's last real token, [SEP].",
          f"Read column 0: {FORMULA}.",
          first_token=lambda self, hidden, embeddings, mask:
              hidden[np.arange(len(hidden)), mask.sum(axis=1) - 1]),
    wrong("pooler of the second token", "The pooler reads hidden[:, 1].", f"Read column 0: {FORMULA}.",
          first_token=lambda self, hidden, embeddings, mask: hidden[:, 1]),
    wrong("pooler of the first sentence", "The pooler reads hidden[0], the tokens of the first sentence.",
          f"Read hidden[:, 0], the first token of each sentence: {FORMULA}.",
          first_token=lambda self, hidden, embeddings, mask: hidden[0]),
    wrong("pooler of every token", "The pooler is applied to all tokens: (B, S, D).",
          f"Read column 0 alone: {FORMULA}.", first_token=lambda self, hidden, embeddings, mask: hidden),
    wrong("pooler of the mean over all columns",
          "The pooler reads the mean of the hidden states, padding included.", f"Read column 0: {FORMULA}.",
          first_token=lambda self, hidden, embeddings, mask: hidden.mean(axis=1)),
    wrong("pooler of the mean over real tokens", "The pooler reads the mean of the hidden states.",
          f"Read column 0: {FORMULA}.",
          first_token=lambda self, hidden, embeddings, mask:
              (hidden * (mask[..., None] / mask.sum(axis=1)[:, None, None])).sum(axis=1)),
    wrong("pooler of the maximum over all columns",
          "The pooler reads the largest value of each feature, padding included.",
          f"Read column 0: {FORMULA}.",
          first_token=lambda self, hidden, embeddings, mask: hidden.max(axis=1)),
    wrong("pooler of the embeddings", "The pooler reads the embeddings' first row, not the last layer's.",
          f"Read the last layer's output: {FORMULA}.",
          first_token=lambda self, hidden, embeddings, mask: embeddings[:, 0]),
)
# fmt: on
