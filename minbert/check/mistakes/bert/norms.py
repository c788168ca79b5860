"""Mistakes in layer normalisation and in norm(x + dropout(dense(output))), the end of a layer's halves."""

import copy
from dataclasses import replace

import numpy as np

from minbert.check.mistakes.table import Wrong, wrong
from minbert.check.references.bert import Bert

STANDARD = "(x - mean) / sqrt(variance + epsilon) * weight + bias"


def _normalized_over(axes):
    def standardized(self, x):
        return (x - x.mean(axis=axes, keepdims=True)) / self.deviation(x.var(axis=axes, keepdims=True))

    return standardized


# In the embeddings or, where that norm is right, after attention.
# fmt: off
LAYER_NORM = (
    wrong("epsilon outside the root", "Epsilon is added to the standard deviation, not to the variance.",
          f"Add epsilon inside the root: {STANDARD}.",
          deviation=lambda self, variance: np.sqrt(variance) + self.config["layer_norm_eps"]),
    wrong("epsilon left out", "The norm divides by the root of the variance alone, which may be 0.",
          f"Add epsilon inside the root: {STANDARD}.", deviation=lambda self, variance: np.sqrt(variance)),
    wrong("epsilon of 1e-12", "Epsilon is bert-base's 1e-12 in place of the configuration's.",
          "Read epsilon from config.layer_norm_eps.",
          deviation=lambda self, variance: np.sqrt(variance + 1e-12)),
    wrong("epsilon of 1e-6", "Epsilon is 1e-6 in place of the configuration's.",
          "Read epsilon from config.layer_norm_eps.",
          deviation=lambda self, variance: np.sqrt(variance + 1e-6)),
    wrong("epsilon of 1e-5",
          "Epsilon is 1e-5, the default of torch.nn.LayerNorm, in place of the configuration's.",
          "Give it: nn.LayerNorm(size, eps=config.layer_norm_eps).",
          deviation=lambda self, variance: np.sqrt(variance + 1e-5)),
    wrong("unbiased variance", "The variance is divided by D - 1, the default of torch.var and torch.std.",
          "Divide by D: x.var(-1, unbiased=False).",
          variance=lambda self, x: x.var(axis=-1, keepdims=True, ddof=1)),
    wrong("unbiased deviation plus epsilon",
          "The norm divides by x.std() + epsilon, whose variance is divided by D - 1.",
          f"Divide by D, and add epsilon inside the root: {STANDARD}.",
          variance=lambda self, x: x.var(axis=-1, keepdims=True, ddof=1),
          deviation=lambda self, variance: np.sqrt(variance) + self.config["layer_norm_eps"]),
    wrong("layer norm divided by the variance", "The norm divides by the variance, not by its root.",
          f"Take the root: {STANDARD}.",
          deviation=lambda self, variance: variance + self.config["layer_norm_eps"]),
    wrong("layer norm without the mean", "The mean is not subtracted.", f"Subtract it: {STANDARD}.",
          standardized=lambda self, x: x / self.deviation(self.variance(x))),
    wrong("RMS norm in place of layer norm",
          "The norm divides by the root of the mean square, and subtracts no mean.",
          f"Use layer normalisation: {STANDARD}.",
          standardized=lambda self, x: x / self.deviation((x**2).mean(axis=-1, keepdims=True))),
    wrong("layer norm without its weight", "The standardized values are not multiplied by the norm's weight.",
          f"Multiply by it: {STANDARD}.",
          layer_norm=lambda self, x, name: self.standardized(x) + self.weights[f"{name}.bias"]),
    wrong("layer norm without its bias", "The norm's bias is not added.", f"Add it: {STANDARD}.",
          layer_norm=lambda self, x, name: self.standardized(x) * self.weights[f"{name}.weight"]),
    wrong("layer norm without weight and bias",
          "The standardized values are returned without the norm's weight and bias.",
          f"Use both: {STANDARD}.", layer_norm=lambda self, x, name: self.standardized(x)),
    wrong("layer norm over the tokens", "Mean and variance are taken over the tokens of a sentence (dim=1).",
          "Take them over the features of each token (dim=-1).", standardized=_normalized_over(-2)),
    wrong("layer norm over the whole sentence",
          "Mean and variance are taken over tokens and features together.",
          "Take them over the features of each token (dim=-1).", standardized=_normalized_over((-2, -1))),
    wrong("layer norm over the batch",
          "Mean and variance are taken over sentences and tokens (as in batch normalisation).",
          "Take them over the features of each token (dim=-1).", standardized=_normalized_over((0, 1))),
)
LAYER_NORMS = (
    wrong("layer norms have no weight and bias", "They were made with elementwise_affine=False.",
          "Use nn.LayerNorm(hidden_size, eps=config.layer_norm_eps), which has both.",
          lacks=lambda self, name: "layer_norm" in name),
)
# fmt: on


def _in_last_norm(row: Wrong) -> Wrong:
    def after_feed_forward(self, *given):
        other = copy.copy(self)
        other.__class__ = row.kind(type(self))
        return Bert.after_feed_forward(other, *given)

    return replace(row, steps={"after_feed_forward": after_feed_forward})


# Where the other two are right. Its input is too large to tell one small epsilon from another.
LAST_NORM = tuple(_in_last_norm(row) for row in LAYER_NORM if not row.name.startswith("epsilon "))
FORMULA = "norm(x + dropout(dense(output)))"


# fmt: off
DENSE = (
    wrong("no output projection", "The output is added without going through the dense layer.",
          f"Apply it: {FORMULA}.", projected=lambda self, output, dense, training: self.sublayer_dropout(
              output, training)),
    wrong("output projection without its bias", "The dense layer's bias is not added.",
          f"Call the whole layer: {FORMULA}.",
          lacks=lambda self, name: name.endswith("attention_dense.bias"),
          projected=lambda self, output, dense, training:
              self.sublayer_dropout(output @ self.weights[f"{dense}.weight"].T, training)),
    wrong("output projection by the weight as it is stored",
          "The output is multiplied by W; torch stores the weights of a linear layer as (out, in).",
          f"Call the layer, which computes x W^T + b: {FORMULA}.",
          projected=lambda self, output, dense, training:
              self.sublayer_dropout(
                  output @ self.weights[f"{dense}.weight"] + self.weights[f"{dense}.bias"], training)),
    wrong("output projection applied twice", "The dense layer is applied to its own output.",
          f"Apply it once: {FORMULA}.",
          projected=lambda self, output, dense, training:
              Bert.projected(self, self.linear(output, dense), dense, training)),
)
ADD_NORM = (
    wrong("no residual", "The input is not added: norm(dense(output)).", f"Add it: {FORMULA}.",
          summed=lambda self, x, projected: projected),
    wrong("residual added twice", "The input is added two times.", f"Add it once: {FORMULA}.",
          summed=lambda self, x, projected: 2 * x + projected),
    wrong("the output added to itself",
          "The residual is the sublayer's output, not its input: norm(output + dense(output)).",
          f"Add the input: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              Bert.sum_and_norm(self, output, output, dense, norm, training)),
    wrong("norm before the residual", "The norm is taken before the input is added: x + norm(dense(output)).",
          f"Add first, then normalize: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              x + Bert.sum_and_norm(self, 0.0, output, dense, norm, training)),
    wrong("pre-norm in add_norm",
          "What enters the dense layer is normalized, not the sum: x + dense(norm(output)).",
          f"BERT is post-norm: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              x + self.sublayer_dropout(self.linear(self.layer_norm(output, norm), dense), training)),
    wrong("norm of the input alone", "The input is normalized, not the sum: norm(x) + dense(output).",
          f"Add first, then normalize: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              self.layer_norm(x, norm) + self.projected(output, dense, training)),
    wrong("input added before and after the norm",
          "The input is added once more to the normalized sum: x + norm(x + dense(output)).",
          f"Add it once, before the norm: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              x + Bert.sum_and_norm(self, x, output, dense, norm, training)),
    wrong("no norm after the residual sum", "The sum is returned as it is: x + dense(output).",
          f"Normalize it: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              x + self.projected(output, dense, training)),
    wrong("norm applied twice to the residual sum", "The layer norm is applied to its own output.",
          f"Apply it once: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              self.layer_norm(Bert.sum_and_norm(self, x, output, dense, norm, training), norm)),
    wrong("dense layer applied to the sum",
          "The input goes through the dense layer too: norm(dense(x + output)).",
          f"Add the input after the dense layer: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              Bert.sum_and_norm(self, 0.0, x + output, dense, norm, training)),
    wrong("input and output swapped in add_norm",
          "The input goes through the dense layer and the output is added: norm(output + dense(x)).",
          f"It is the other way round: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              Bert.sum_and_norm(self, output, x, dense, norm, training)),
    wrong("dense layer applied to the input in place of the output",
          "The sublayer's output is not used: norm(x + dense(x)).", f"Apply it to the output: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              Bert.sum_and_norm(self, x, x, dense, norm, training)),
    wrong("dense layer applied to input and output",
          "Both go through the dense layer: dense(x) + dense(output).",
          f"Apply it to the output alone: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              Bert.sum_and_norm(self, self.linear(x, dense), output, dense, norm, training)),
    wrong("dense layer after the norm",
          "The sum is normalized before the dense layer: dense(norm(x + output)).",
          f"The dense layer comes first: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              self.linear(self.layer_norm(x + output, norm), dense)),
    wrong("input and output normalized apart", "Two norms are added: norm(x) + norm(dense(output)).",
          f"Add first, then normalize: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              self.layer_norm(x, norm) + self.layer_norm(self.projected(output, dense, training), norm)),
    wrong("input normalized before the sum", "The input is normalized before it is added, and the sum again.",
          f"Add the input as it is: {FORMULA}.",
          sum_and_norm=lambda self, x, output, dense, norm, training:
              Bert.sum_and_norm(self, self.layer_norm(x, norm), output, dense, norm, training)),
    wrong("product in place of the residual sum", "Input and output are multiplied.", f"Add them: {FORMULA}.",
          summed=lambda self, x, projected: x * projected),
    wrong("residual subtracted", "The sublayer's output is subtracted from the input.", f"Add it: {FORMULA}.",
          summed=lambda self, x, projected: x - projected),
    wrong("mean in place of the residual sum",
          "Input and output are averaged, which the norm hides but for its epsilon.", f"Add them: {FORMULA}.",
          summed=lambda self, x, projected: (x + projected) / 2),
    wrong("activation after the dense layer of add_norm", "GELU is applied to the dense layer's output.",
          f"GELU stands between the feed-forward layers alone; here it is {FORMULA}.",
          projected=lambda self, output, dense, training:
              self.sublayer_dropout(self.activation(self.linear(output, dense)), training)),
)
# fmt: on
