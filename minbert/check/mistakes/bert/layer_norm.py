"""Mistakes in layer normalisation: in the embeddings or, where that norm is right, after attention."""

import numpy as np

from minbert.check.mistakes.bert.mistaken import Mistaken

NORMS = ("embeddings", "add and norm")
FORMULA = "(x - mean) / sqrt(variance + epsilon) * weight + bias"


class EpsilonOutside(Mistaken):
    stages = NORMS
    name = "epsilon outside the root"
    cause = "Epsilon is added to the standard deviation, not to the variance."
    remedy = f"Add epsilon inside the root: {FORMULA}."

    def deviation(self, variance):
        return np.sqrt(variance) + self.config["layer_norm_eps"]


class NoEpsilon(Mistaken):
    stages = NORMS
    name = "epsilon of 1e-12"
    cause = "Epsilon is left out, or it is bert-base's 1e-12 in place of the configuration's."
    remedy = "Read epsilon from config.layer_norm_eps."

    def deviation(self, variance):
        return np.sqrt(variance + 1e-12)


class TorchsEpsilon(Mistaken):
    stages = NORMS
    name = "epsilon of 1e-5"
    cause = "Epsilon is 1e-5, the default of torch.nn.LayerNorm, in place of the configuration's."
    remedy = "Give it: nn.LayerNorm(size, eps=config.layer_norm_eps)."

    def deviation(self, variance):
        return np.sqrt(variance + 1e-5)


class UnbiasedVariance(Mistaken):
    stages = NORMS
    name = "unbiased variance"
    cause = "The variance is divided by D - 1, the default of torch.var and torch.std."
    remedy = "Divide by D: x.var(-1, unbiased=False)."

    def variance(self, x):
        return x.var(axis=-1, keepdims=True, ddof=1)


class UnbiasedAndOutside(Mistaken):
    stages = NORMS
    name = "unbiased deviation plus epsilon"
    cause = "The norm divides by x.std() + epsilon, whose variance is divided by D - 1."
    remedy = f"Divide by D, and add epsilon inside the root: {FORMULA}."

    def variance(self, x):
        return x.var(axis=-1, keepdims=True, ddof=1)

    def deviation(self, variance):
        return np.sqrt(variance) + self.config["layer_norm_eps"]


class NoRoot(Mistaken):
    stages = NORMS
    name = "layer norm divided by the variance"
    cause = "The norm divides by the variance, not by its root."
    remedy = f"Take the root: {FORMULA}."

    def deviation(self, variance):
        return variance + self.config["layer_norm_eps"]


class NotCentered(Mistaken):
    stages = NORMS
    name = "layer norm without the mean"
    cause = "The mean is not subtracted."
    remedy = f"Subtract it: {FORMULA}."

    def standardized(self, x):
        return x / self.deviation(self.variance(x))


class RootMeanSquare(Mistaken):
    stages = NORMS
    name = "RMS norm in place of layer norm"
    cause = "The norm divides by the root of the mean square, and subtracts no mean."
    remedy = f"Use layer normalisation: {FORMULA}."

    def standardized(self, x):
        return x / self.deviation((x**2).mean(axis=-1, keepdims=True))


class NoNormWeight(Mistaken):
    stages = NORMS
    name = "layer norm without its weight"
    cause = "The standardized values are not multiplied by the norm's weight."
    remedy = f"Multiply by it: {FORMULA}."

    def layer_norm(self, x, name):
        return self.standardized(x) + self.weights[f"{name}.bias"]


class NoNormBias(Mistaken):
    stages = NORMS
    name = "layer norm without its bias"
    cause = "The norm's bias is not added."
    remedy = f"Add it: {FORMULA}."

    def layer_norm(self, x, name):
        return self.standardized(x) * self.weights[f"{name}.weight"]


class NoNormWeightAndBias(Mistaken):
    stages = NORMS
    name = "layer norm without weight and bias"
    cause = "The norm has no weight and bias, or they are not used."
    remedy = f"Use both: {FORMULA}."

    def layer_norm(self, x, name):
        return self.standardized(x)


class NormOverTokens(Mistaken):
    stages = NORMS
    name = "layer norm over the tokens"
    cause = "Mean and variance are taken over the tokens of a sentence (dim=1)."
    remedy = "Take them over the features of each token (dim=-1)."

    def standardized(self, x):
        return (x - x.mean(axis=-2, keepdims=True)) / self.deviation(x.var(axis=-2, keepdims=True))


class NormOverSentence(Mistaken):
    stages = NORMS
    name = "layer norm over the whole sentence"
    cause = "Mean and variance are taken over tokens and features together."
    remedy = "Take them over the features of each token (dim=-1)."

    def standardized(self, x):
        axes = (-2, -1)
        return (x - x.mean(axis=axes, keepdims=True)) / self.deviation(x.var(axis=axes, keepdims=True))


class NormOverBatch(Mistaken):
    stages = NORMS
    name = "layer norm over the batch"
    cause = "Mean and variance are taken over sentences and tokens (as in batch normalisation)."
    remedy = "Take them over the features of each token (dim=-1)."

    def standardized(self, x):
        axes = (0, 1)
        return (x - x.mean(axis=axes, keepdims=True)) / self.deviation(x.var(axis=axes, keepdims=True))
