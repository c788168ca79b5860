"""Mistakes in a layer: the feed-forward half, its activation, and the order of the parts."""

import math

import numpy as np

from minbert.check.mistakes.bert.mistaken import Mistaken

FEED_FORWARD = ("feed-forward",)
ONE_LAYER = ("one layer",)
FORMULA = "norm(x + dense2(gelu(dense1(x)))), x the output of attention's add_norm"


class NoActivation(Mistaken):
    stages = FEED_FORWARD
    name = "no activation"
    cause = "Nothing stands between the two feed-forward layers, so that they are one linear map."
    remedy = f"Apply GELU between them: {FORMULA}."

    def activation(self, x):
        return x


class Relu(Mistaken):
    stages = FEED_FORWARD
    name = "ReLU in place of GELU"
    cause = "The activation is max(x, 0), as in the Transformer's paper."
    remedy = "Use GELU, x Phi(x): torch.nn.functional.gelu(x)."

    def activation(self, x):
        return np.maximum(x, 0)


class TanhGelu(Mistaken):
    stages = FEED_FORWARD
    name = "tanh GELU"
    cause = 'GELU is approximated by tanh (approximate="tanh", gelu_new).'
    remedy = "Use the error function: x (1 + erf(x / sqrt(2))) / 2."

    def normal_distribution(self, x):
        return (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


class SigmoidGelu(Mistaken):
    stages = FEED_FORWARD
    name = "sigmoid GELU"
    cause = "GELU is approximated by x sigmoid(1.702 x)."
    remedy = "Use the error function: x (1 + erf(x / sqrt(2))) / 2."

    def normal_distribution(self, x):
        return 1 / (1 + np.exp(-1.702 * x))


class Silu(Mistaken):
    stages = FEED_FORWARD
    name = "SiLU in place of GELU"
    cause = "The activation is x sigmoid(x)."
    remedy = "Use GELU, x Phi(x): torch.nn.functional.gelu(x)."

    def normal_distribution(self, x):
        return 1 / (1 + np.exp(-x))


class GeluWithoutRoot(Mistaken):
    stages = FEED_FORWARD
    name = "GELU without the root of 2"
    cause = "The activation is x (1 + erf(x)) / 2."
    remedy = "Divide inside the error function: x (1 + erf(x / sqrt(2))) / 2."

    def normal_distribution(self, x):
        return super().normal_distribution(x * math.sqrt(2))


class GeluNotHalved(Mistaken):
    stages = FEED_FORWARD
    name = "GELU without the half"
    cause = "The activation is x (1 + erf(x / sqrt(2)))."
    remedy = "Halve it: x (1 + erf(x / sqrt(2))) / 2."

    def activation(self, x):
        return 2 * super().activation(x)


class NormalDistribution(Mistaken):
    stages = FEED_FORWARD
    name = "GELU without its factor x"
    cause = "The activation is Phi(x) = (1 + erf(x / sqrt(2))) / 2."
    remedy = "Multiply by x: x Phi(x)."

    def activation(self, x):
        return self.normal_distribution(x)


class Tanh(Mistaken):
    stages = FEED_FORWARD
    name = "tanh in place of GELU"
    cause = "The activation between the feed-forward layers is tanh, the pooler's."
    remedy = "Use GELU, x Phi(x): torch.nn.functional.gelu(x)."

    def activation(self, x):
        return np.tanh(x)


class ActivationTwice(Mistaken):
    stages = FEED_FORWARD
    name = "activation applied twice"
    cause = "GELU is applied to its own output."
    remedy = f"Apply it once: {FORMULA}."

    def activation(self, x):
        return super().activation(super().activation(x))


class ActivationBefore(Mistaken):
    stages = FEED_FORWARD
    name = "activation before the first feed-forward layer"
    cause = "The feed-forward layers compute dense2(dense1(gelu(x)))."
    remedy = f"GELU stands between them: {FORMULA}."

    def intermediate(self, hidden, number):
        return self.linear(self.activation(hidden), f"encoder.layer.{number}.intermediate.dense")


class ActivationAfter(Mistaken):
    stages = FEED_FORWARD
    name = "activation after the second feed-forward layer"
    cause = "The feed-forward layers compute gelu(dense2(dense1(x)))."
    remedy = f"GELU stands between them: {FORMULA}."

    def layer(self, number, hidden, mask):
        middle = self.after_attention(hidden, self.self_attention(hidden, mask, number), number)
        name = f"encoder.layer.{number}"
        wide = self.linear(middle, f"{name}.intermediate.dense")
        out = self.activation(self.linear(wide, f"{name}.output.dense"))
        return self.layer_norm(middle + out, f"{name}.output.LayerNorm")


class FromTheLayersInput(Mistaken):
    stages = FEED_FORWARD
    name = "second residual from the layer's input"
    cause = "The layer's input is added to the feed-forward output, not attention's add_norm."
    remedy = f"Add what enters the feed-forward layers: {FORMULA}."

    def layer(self, number, hidden, mask):
        middle = self.after_attention(hidden, self.self_attention(hidden, mask, number), number)
        return self.after_feed_forward(hidden, self.intermediate(middle, number), number)


class FeedForwardOfTheInput(Mistaken):
    stages = FEED_FORWARD
    name = "feed-forward layers fed with the layer's input"
    cause = "The feed-forward layers read the layer's input, and their output is added to attention's."
    remedy = f"Feed them with attention's output: {FORMULA}."

    def layer(self, number, hidden, mask):
        middle = self.after_attention(hidden, self.self_attention(hidden, mask, number), number)
        return self.after_feed_forward(middle, self.intermediate(hidden, number), number)


class FeedForwardOfAttention(Mistaken):
    stages = FEED_FORWARD
    name = "feed-forward layers fed with attention's output before add_norm"
    cause = "The feed-forward layers read the merged heads; only the residual is that of add_norm."
    remedy = f"Feed them with add_norm's output: {FORMULA}."

    def layer(self, number, hidden, mask):
        attended = self.self_attention(hidden, mask, number)
        middle = self.after_attention(hidden, attended, number)
        return self.after_feed_forward(middle, self.intermediate(attended, number), number)


class NoSecondResidual(Mistaken):
    stages = FEED_FORWARD
    name = "no residual around the feed-forward layers"
    cause = "The second half of the layer is norm(dense2(gelu(dense1(x))))."
    remedy = f"Add x: {FORMULA}."

    def after_feed_forward(self, x, widened, number):
        return super().after_feed_forward(0.0, widened, number)


class NoSecondNorm(Mistaken):
    stages = FEED_FORWARD
    name = "no norm at the end of the layer"
    cause = "The second residual sum is returned without its layer norm."
    remedy = f"Normalize it: {FORMULA}."

    def after_feed_forward(self, x, widened, number):
        return x + self.linear(widened, f"encoder.layer.{number}.output.dense")


class NoFirstNorm(Mistaken):
    stages = FEED_FORWARD
    name = "no norm after attention"
    cause = "The first residual sum enters the feed-forward layers without its layer norm."
    remedy = "Use add_norm after attention too: norm(x + dropout(dense(attention)))."

    def after_attention(self, x, attended, number):
        return x + self.linear(attended, f"encoder.layer.{number}.attention.output.dense")


class NoFirstResidual(Mistaken):
    stages = FEED_FORWARD
    name = "no residual around attention"
    cause = "The layer's input is not added to attention's output."
    remedy = "Use add_norm after attention: norm(x + dropout(dense(attention)))."

    def after_attention(self, x, attended, number):
        return super().after_attention(0.0, attended, number)


class FirstNormTwice(Mistaken):
    stages = FEED_FORWARD
    name = "attention's layer norm used for both sums"
    cause = "attention_layer_norm also normalizes the second residual sum."
    remedy = "Use out_layer_norm at the end of the layer."

    def after_feed_forward(self, x, widened, number):
        name = f"encoder.layer.{number}"
        return self.sum_and_norm(
            x, widened, f"{name}.output.dense", f"{name}.attention.output.LayerNorm", False
        )


class SecondNormTwice(Mistaken):
    stages = FEED_FORWARD
    name = "the output's layer norm used for both sums"
    cause = "out_layer_norm also normalizes the first residual sum."
    remedy = "Use attention_layer_norm after attention."

    def after_attention(self, x, attended, number):
        name = f"encoder.layer.{number}"
        return self.sum_and_norm(
            x, attended, f"{name}.attention.output.dense", f"{name}.output.LayerNorm", False
        )


class NormsSwapped(FirstNormTwice):
    stages = FEED_FORWARD
    name = "the two layer norms swapped"
    cause = "out_layer_norm stands after attention and attention_layer_norm at the end."
    remedy = "Use attention_layer_norm after attention and out_layer_norm at the end."

    def after_attention(self, x, attended, number):
        name = f"encoder.layer.{number}"
        return self.sum_and_norm(
            x, attended, f"{name}.attention.output.dense", f"{name}.output.LayerNorm", False
        )


class NoFeedForward(Mistaken):
    stages = FEED_FORWARD
    name = "no feed-forward layers"
    cause = "The layer ends after attention's add_norm."
    remedy = f"Go on with {FORMULA}."

    def layer(self, number, hidden, mask):
        return self.after_attention(hidden, self.self_attention(hidden, mask, number), number)


class FeedForwardFirst(Mistaken):
    stages = FEED_FORWARD
    name = "feed-forward layers before attention"
    cause = "The two halves of the layer stand in the wrong order."
    remedy = f"Attention and its add_norm come first, then {FORMULA}."

    def layer(self, number, hidden, mask):
        middle = self.after_feed_forward(hidden, self.intermediate(hidden, number), number)
        return self.after_attention(middle, self.self_attention(middle, mask, number), number)


class PreNormLayer(Mistaken):
    stages = FEED_FORWARD
    name = "pre-norm layer"
    cause = "The norms stand before attention and before the feed-forward layers, as in GPT-2."
    remedy = f"BERT is post-norm: norm(x + attention(x)), then {FORMULA}."

    def layer(self, number, hidden, mask):
        name = f"encoder.layer.{number}"
        normal = self.layer_norm(hidden, f"{name}.attention.output.LayerNorm")
        attended = self.self_attention(normal, mask, number)
        hidden = hidden + self.linear(attended, f"{name}.attention.output.dense")
        normal = self.layer_norm(hidden, f"{name}.output.LayerNorm")
        return hidden + self.linear(self.intermediate(normal, number), f"{name}.output.dense")


class FeedForwardAlone(Mistaken):
    stages = FEED_FORWARD
    name = "feed-forward output not added to anything"
    cause = "The layer returns the second dense layer's output without residual and norm."
    remedy = f"Use add_norm at the end: {FORMULA}."

    def after_feed_forward(self, x, widened, number):
        return self.linear(widened, f"encoder.layer.{number}.output.dense")


class NoAttention(Mistaken):
    stages = ONE_LAYER
    name = "no attention in the layer"
    cause = "The layer's first half is norm(x)."
    remedy = "Start with self_attention: norm(x + dropout(dense(attention)))."

    def after_attention(self, x, attended, number):
        return self.layer_norm(x, f"encoder.layer.{number}.attention.output.LayerNorm")


class DenseTwice(Mistaken):
    stages = ONE_LAYER
    name = "attention_dense applied twice"
    cause = "The layer applies attention_dense to attention's output, and add_norm does it again."
    remedy = "Leave it to add_norm: norm(x + dropout(dense(attention)))."

    def after_attention(self, x, attended, number):
        projected = self.linear(attended, f"encoder.layer.{number}.attention.output.dense")
        return super().after_attention(x, projected, number)


class DenseOfTheLayersInput(Mistaken):
    stages = ONE_LAYER
    name = "the layer's input in place of attention's output"
    cause = "add_norm is given the layer's input twice."
    remedy = "Give it attention's output: add_norm(x, attention, ...)."

    def after_attention(self, x, attended, number):
        return super().after_attention(x, x, number)


class AttentionNotProjected(Mistaken):
    stages = FEED_FORWARD
    name = "attention's output added without attention_dense"
    cause = "The layer adds the merged heads to its input as they are."
    remedy = "Use add_norm with attention_dense: norm(x + dropout(dense(attention)))."

    def after_attention(self, x, attended, number):
        return self.layer_norm(x + attended, f"encoder.layer.{number}.attention.output.LayerNorm")


class LayerWithoutMask(Mistaken):
    stages = ONE_LAYER
    name = "layer without its mask"
    cause = "The layer does not hand its mask to self_attention."
    remedy = "Call self_attention(hidden_states, attention_mask)."

    def layer(self, number, hidden, mask):
        return super().layer(number, hidden, np.zeros_like(mask))
