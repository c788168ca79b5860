"""Mistakes in a layer: the feed-forward half, its activation, and the order of the parts."""

import math

import numpy as np

from minbert.check.bert.stages import WHOLE_LAYER
from minbert.check.mistakes.table import wrong
from minbert.check.references.bert import FIRST_HALF, SECOND_HALF, Bert

FORMULA = "norm(x + dense2(gelu(dense1(x)))), x the output of attention's add_norm"
(FIRST_DENSE, FIRST_NORM), (DENSE, NORM) = FIRST_HALF, SECOND_HALF


def _after(dense, norm):
    return lambda self, x, output, number: self.half(x, output, number, dense, norm)


def _without_bias(self, x, name):
    return x @ self.weights[f"{name}.weight"].T


def _feed_forward_first(self, number, hidden, mask):
    middle = self.after_feed_forward(hidden, self.intermediate(hidden, number), number)
    return self.after_attention(middle, self.self_attention(middle, mask, number), number)


def _pre_norm_layer(self, number, hidden, mask):
    attended = self.self_attention(self.apply(hidden, number, FIRST_NORM), mask, number)
    hidden = hidden + self.apply(attended, number, FIRST_DENSE)
    return hidden + self.apply(self.intermediate(self.apply(hidden, number, NORM), number), number, DENSE)


# fmt: off
FEED_FORWARD = (
    wrong("no activation",
          "Nothing stands between the two feed-forward layers, so that they are one linear map.",
          f"Apply GELU between them: {FORMULA}.", activation=lambda self, x: x),
    wrong("ReLU in place of GELU", "The activation is max(x, 0), as in the Transformer's paper.",
          "Use GELU, x Phi(x): torch.nn.functional.gelu(x).", activation=lambda self, x: np.maximum(x, 0)),
    wrong("tanh GELU", 'GELU is approximated by tanh (approximate="tanh", gelu_new).',
          "Use the error function: x (1 + erf(x / sqrt(2))) / 2.",
          normal_distribution=lambda self, x:
              (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2),
    wrong("sigmoid GELU", "GELU is approximated by x sigmoid(1.702 x).",
          "Use the error function: x (1 + erf(x / sqrt(2))) / 2.",
          normal_distribution=lambda self, x: 1 / (1 + np.exp(-1.702 * x))),
    wrong("SiLU in place of GELU", "The activation is x sigmoid(x).",
          "Use GELU, x Phi(x): torch.nn.functional.gelu(x).",
          normal_distribution=lambda self, x: 1 / (1 + np.exp(-x))),
    wrong("GELU without the root of 2", "The activation is x (1 + erf(x)) / 2.",
          "Divide inside the error function: x (1 + erf(x / sqrt(2))) / 2.",
          normal_distribution=lambda self, x: Bert.normal_distribution(self, x * math.sqrt(2))),
    wrong("GELU without the half", "The activation is x (1 + erf(x / sqrt(2))).",
          "Halve it: x (1 + erf(x / sqrt(2))) / 2.", activation=lambda self, x: 2 * Bert.activation(self, x)),
    wrong("GELU without its factor x", "The activation is Phi(x) = (1 + erf(x / sqrt(2))) / 2.",
          "Multiply by x: x Phi(x).", activation=lambda self, x: self.normal_distribution(x)),
    wrong("tanh in place of GELU", "The activation between the feed-forward layers is tanh, the pooler's.",
          "Use GELU, x Phi(x): torch.nn.functional.gelu(x).", activation=lambda self, x: np.tanh(x)),
    wrong("first feed-forward layer without its bias", "interm_dense's bias is not added.",
          f"Call the whole layer: {FORMULA}.", lacks=lambda self, name: name.endswith("interm_dense.bias"),
          intermediate=lambda self, hidden, number: self.activation(_without_bias(
              self, hidden, f"encoder.layer.{number}.intermediate.dense"))),
    wrong("second feed-forward layer without its bias", "out_dense's bias is not added.",
          f"Call the whole layer: {FORMULA}.", lacks=lambda self, name: name.endswith("out_dense.bias"),
          after_feed_forward=lambda self, x, widened, number: self.apply(
              x + _without_bias(self, widened, f"encoder.layer.{number}.{DENSE}"), number, NORM)),
    wrong("sigmoid in place of GELU", "The activation is a sigmoid.",
          "Use GELU, x Phi(x): torch.nn.functional.gelu(x).", activation=lambda self, x: 1 / (1 + np.exp(
              -x))),
    wrong("leaky ReLU in place of GELU", "The activation is the larger of x and 0.01 x.",
          "Use GELU, x Phi(x): torch.nn.functional.gelu(x).",
          activation=lambda self, x: np.maximum(x, 0.01 * x)),
    wrong("ELU in place of GELU", "The activation is x above 0 and e^x - 1 below.",
          "Use GELU, x Phi(x): torch.nn.functional.gelu(x).",
          activation=lambda self, x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)),
    wrong("activation applied twice", "GELU is applied to its own output.", f"Apply it once: {FORMULA}.",
          activation=lambda self, x: Bert.activation(self, Bert.activation(self, x))),
    wrong("activation before the first feed-forward layer",
          "The feed-forward layers compute dense2(dense1(gelu(x))).", f"GELU stands between them: {FORMULA}.",
          intermediate=lambda self, hidden, number:
              self.apply(self.activation(hidden), number, "intermediate.dense")),
    wrong("activation after the second feed-forward layer",
          "The feed-forward layers compute gelu(dense2(dense1(x))).", f"GELU stands between them: {FORMULA}.",
          intermediate=lambda self, hidden, number: self.apply(hidden, number, "intermediate.dense"),
          after_feed_forward=lambda self, x, widened, number:
              self.apply(x + self.activation(self.apply(widened, number, DENSE)), number, NORM)),
    wrong("second residual from the layer's input",
          "The layer's input is added to the feed-forward output, not attention's add_norm.",
          f"Add what enters the feed-forward layers: {FORMULA}.",
          second_half=lambda self, hidden, attended, middle, number:
              self.after_feed_forward(hidden, self.intermediate(middle, number), number)),
    wrong("feed-forward layers fed with the layer's input",
          "The feed-forward layers read the layer's input, and their output is added to attention's.",
          f"Feed them with attention's output: {FORMULA}.",
          second_half=lambda self, hidden, attended, middle, number:
              self.after_feed_forward(middle, self.intermediate(hidden, number), number)),
    wrong("feed-forward layers fed with attention's output before add_norm",
          "The feed-forward layers read the merged heads; only the residual is that of add_norm.",
          f"Feed them with add_norm's output: {FORMULA}.",
          second_half=lambda self, hidden, attended, middle, number:
              self.after_feed_forward(middle, self.intermediate(attended, number), number)),
    wrong("no residual around the feed-forward layers",
          "The second half of the layer is norm(dense2(gelu(dense1(x)))).", f"Add x: {FORMULA}.",
          after_feed_forward=lambda self, x, widened, number:
              Bert.after_feed_forward(self, 0.0, widened, number)),
    wrong("no norm at the end of the layer", "The second residual sum is returned without its layer norm.",
          f"Normalize it: {FORMULA}.",
          after_feed_forward=lambda self, x, widened, number: x + self.apply(widened, number, DENSE)),
    wrong("no norm after attention",
          "The first residual sum enters the feed-forward layers without its layer norm.",
          "Use add_norm after attention too: norm(x + dropout(dense(attention))).",
          after_attention=lambda self, x, attended, number: x + self.apply(attended, number, FIRST_DENSE)),
    wrong("no residual around attention", "The layer's input is not added to attention's output.",
          "Use add_norm after attention: norm(x + dropout(dense(attention))).",
          after_attention=lambda self, x, attended, number:
              Bert.after_attention(self, 0.0, attended, number)),
    wrong("attention's layer norm used for both sums",
          "attention_layer_norm also normalizes the second residual sum.",
          "Use out_layer_norm at the end of the layer.", after_feed_forward=_after(DENSE, FIRST_NORM)),
    wrong("the output's layer norm used for both sums",
          "out_layer_norm also normalizes the first residual sum.",
          "Use attention_layer_norm after attention.", after_attention=_after(FIRST_DENSE, NORM)),
    wrong("the two layer norms swapped",
          "out_layer_norm stands after attention and attention_layer_norm at the end.",
          "Use attention_layer_norm after attention and out_layer_norm at the end.",
          after_attention=_after(FIRST_DENSE, NORM), after_feed_forward=_after(DENSE, FIRST_NORM)),
    wrong("input and attention's output swapped in the call of add_norm",
          "The layer's input goes through attention_dense, and attention's output is the residual.",
          "Call add_norm(hidden_states, attention, ...), the residual first.", reads=(WHOLE_LAYER,),
          after_attention=lambda self, x, attended, number:
              Bert.after_attention(self, attended, x, number)),
    wrong("no add_norm after attention", "The merged heads enter the feed-forward layers as they are.",
          "Use add_norm after attention: norm(x + dropout(dense(attention))).",
          after_attention=lambda self, x, attended, number: attended),
    wrong("attention_dense alone after attention",
          "The merged heads go through attention_dense, without residual and norm.",
          "Use add_norm after attention: norm(x + dropout(dense(attention))).",
          after_attention=lambda self, x, attended, number: self.apply(attended, number, FIRST_DENSE)),
    wrong("attention_layer_norm alone after attention",
          "The merged heads are normalized, without dense layer and residual.",
          "Use add_norm after attention: norm(x + dropout(dense(attention))).", reads=(WHOLE_LAYER,),
          after_attention=lambda self, x, attended, number: self.apply(attended, number, FIRST_NORM)),
    wrong("second residual from attention's output before add_norm",
          "The merged heads are added to the feed-forward output, not attention's add_norm.",
          f"Add what enters the feed-forward layers: {FORMULA}.",
          second_half=lambda self, hidden, attended, middle, number:
              self.after_feed_forward(attended, self.intermediate(middle, number), number)),
    wrong("second residual added again after the norm",
          "What enters the feed-forward layers is added once more to the layer's output.",
          f"Return add_norm's output: {FORMULA}.",
          after_feed_forward=lambda self, x, widened, number:
              x + Bert.after_feed_forward(self, x, widened, number)),
    wrong("layer's input added after the last norm", "The layer returns its input plus add_norm's output.",
          f"Return add_norm's output: {FORMULA}.",
          second_half=lambda self, hidden, attended, middle, number:
              hidden + Bert.second_half(self, hidden, attended, middle, number)),
    wrong("no feed-forward layers", "The layer ends after attention's add_norm.", f"Go on with {FORMULA}.",
          second_half=lambda self, hidden, attended, middle, number: middle),
    wrong("feed-forward layers before attention", "The two halves of the layer stand in the wrong order.",
          f"Attention and its add_norm come first, then {FORMULA}.", layer=_feed_forward_first),
    wrong("pre-norm layer",
          "The norms stand before attention and before the feed-forward layers, as in GPT-2.",
          f"BERT is post-norm: norm(x + attention(x)), then {FORMULA}.", layer=_pre_norm_layer),
    wrong("feed-forward output not added to anything",
          "The layer returns the second dense layer's output without residual and norm.",
          f"Use add_norm at the end: {FORMULA}.",
          after_feed_forward=lambda self, x, widened, number: self.apply(widened, number, DENSE)),
    wrong("attention's output added without attention_dense",
          "The layer adds the merged heads to its input as they are.",
          "Use add_norm with attention_dense: norm(x + dropout(dense(attention))).",
          after_attention=lambda self, x, attended, number: self.apply(x + attended, number, FIRST_NORM)),
)
# fmt: on

# fmt: off
ONE_LAYER = (
    wrong("no attention in the layer", "The layer's first half is norm(x).",
          "Start with self_attention: norm(x + dropout(dense(attention))).",
          after_attention=lambda self, x, attended, number: self.apply(x, number, FIRST_NORM)),
    wrong("attention_dense applied twice",
          "The layer applies attention_dense to attention's output, and add_norm does it again.",
          "Leave it to add_norm: norm(x + dropout(dense(attention))).",
          after_attention=lambda self, x, attended, number:
              Bert.after_attention(self, x, self.apply(attended, number, FIRST_DENSE), number)),
    wrong("the layer's input in place of attention's output", "add_norm is given the layer's input twice.",
          "Give it attention's output: add_norm(x, attention, ...).",
          after_attention=lambda self, x, attended, number: Bert.after_attention(self, x, x, number)),
    wrong("layer without its mask", "The layer does not hand its mask to self_attention.",
          "Call self_attention(hidden_states, attention_mask).",
          layer=lambda self, number, hidden, mask: Bert.layer(self, number, hidden, np.zeros_like(mask))),
)
# fmt: on
