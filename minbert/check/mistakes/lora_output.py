"""Mistakes in what a layer with adapters computes: its output, gradients and merged weight."""

import numpy as np

from minbert.check.mistakes.lora import DIFFERENTIABLE, MERGED, OUTPUT, SCALE, Adapted

# Seen in the output


class NoScale(Adapted):
    name = "no alpha / rank"
    cause = "The adapters' part was not scaled."
    remedy = SCALE

    def scale(self):
        return 1.0


class RootOfRank(Adapted):
    name = "scale alpha / sqrt(rank)"
    cause = "The adapters' part was scaled by alpha / sqrt(rank), which is rsLoRA."
    remedy = SCALE

    def scale(self):
        return self.alpha / np.sqrt(self.rank)


class InvertedScale(Adapted):
    name = "scale rank / alpha"
    cause = "The adapters' part was scaled by rank / alpha."
    remedy = SCALE

    def scale(self):
        return self.rank / self.alpha


class AlphaAlone(Adapted):
    name = "scale alpha"
    cause = "The adapters' part was scaled by alpha, not divided by the rank."
    remedy = SCALE

    def scale(self):
        return self.alpha


class RankAlone(Adapted):
    name = "scale 1 / rank"
    cause = "The adapters' part was divided by the rank, not multiplied by alpha."
    remedy = SCALE

    def scale(self):
        return 1 / self.rank


class WholeNumberScale(Adapted):
    name = "scale alpha // rank"
    cause = "The scale was rounded down to a whole number."
    remedy = SCALE

    def scale(self):
        return self.alpha // self.rank


class ScaleTwice(Adapted):
    name = "scaled twice"
    cause = "The adapters' part was scaled by (alpha / rank)^2."
    remedy = SCALE

    def scale(self):
        return (self.alpha / self.rank) ** 2


class ScaleByInput(Adapted):
    name = "scale alpha / in"
    cause = "The adapters' part was scaled by alpha / in, the size of the input instead of the rank."
    remedy = SCALE

    def scale(self):
        return self.alpha / self.A.shape[1]


class WholeScaled(Adapted):
    name = "the wrapped layer's output scaled too"
    cause = "The sum of both parts was multiplied by alpha / rank."
    remedy = SCALE

    def base(self):
        return self.scale() * super().base()


class Subtracted(Adapted):
    name = "adapters subtracted"
    cause = "The adapters' part was subtracted."
    remedy = OUTPUT

    def scale(self):
        return -super().scale()


class TransposedProduct(Adapted):
    name = "product of lora_A and lora_B transposed"
    cause = "x was multiplied by lora_B before lora_A: x @ lora_B @ lora_A, which fits where in = out."
    remedy = OUTPUT

    def update(self):
        return self.scale() * (self.x @ self.B @ self.A)


class NoBase(Adapted):
    name = "wrapped layer's output missing"
    cause = "The output is the adapters' part alone."
    remedy = OUTPUT

    def base(self):
        return np.zeros_like(super().base())


class NoBias(Adapted):
    name = "wrapped layer's bias missing"
    cause = "The output was computed with the wrapped layer's weight, without its bias."
    remedy = OUTPUT

    def base(self):
        return super().base() - self.bias


class BiasTwice(Adapted):
    name = "bias added twice"
    cause = "The wrapped layer's bias was added to its output once more."
    remedy = OUTPUT

    def base(self):
        return super().base() + self.bias


class NoAdapters(Adapted):
    name = "adapters left out"
    cause = "The output is the wrapped layer's alone."
    remedy = OUTPUT

    def scale(self):
        return 0.0


class AfterBase(Adapted):
    name = "adapters on the wrapped layer's output"
    cause = "The adapters were given linear(x) instead of x, which fits where in = out."
    remedy = OUTPUT

    def update(self):
        return self.scale() * (self.base() @ self.A.T @ self.B.T)


FORWARD = (
    NoScale,
    RootOfRank,
    InvertedScale,
    AlphaAlone,
    RankAlone,
    WholeNumberScale,
    ScaleTwice,
    ScaleByInput,
    WholeScaled,
    Subtracted,
    TransposedProduct,
    NoBase,
    NoBias,
    BiasTwice,
    NoAdapters,
    AfterBase,
)


# Seen in the gradients


class CutA(Adapted):
    name = "gradient of lora_A cut"
    cause = "The output does not depend on lora_A for autograd: it was detached, or .data was used."
    remedy = DIFFERENTIABLE

    def gradient_of_A(self):
        return np.zeros_like(super().gradient_of_A())


class CutB(Adapted):
    name = "gradient of lora_B cut"
    cause = "The output does not depend on lora_B for autograd: it was detached, or .data was used."
    remedy = DIFFERENTIABLE

    def gradient_of_B(self):
        return np.zeros_like(super().gradient_of_B())


class CutBoth(CutA, CutB):
    name = "gradients of lora_A and lora_B cut"
    cause = "The product of lora_A and lora_B was computed without gradients."
    remedy = DIFFERENTIABLE


class CutAdapters(CutA, CutB):
    name = "gradient through the adapters cut"
    cause = "The adapters' part was computed without gradients, or detached."
    remedy = DIFFERENTIABLE

    def gradient_through_adapters(self):
        return np.zeros_like(super().gradient_through_adapters())


class CutAll(CutAdapters):
    name = "output without gradients"
    cause = "The whole output was computed under torch.no_grad(), or detached."
    remedy = DIFFERENTIABLE

    def gradient_through_base(self):
        return np.zeros_like(super().gradient_through_base())


class CutBase(Adapted):
    name = "gradient through the wrapped layer cut"
    cause = "The wrapped layer ran under torch.no_grad(), so the layers below learn from the adapters only."
    remedy = "Freeze the wrapped layer by requires_grad_(False), and call it with gradients on."

    def gradient_through_base(self):
        return np.zeros_like(super().gradient_through_base())


class CutInput(Adapted):
    name = "adapters' input detached"
    cause = "The adapters were given x.detach(), so the layers below learn from the wrapped layer only."
    remedy = DIFFERENTIABLE

    def gradient_through_adapters(self):
        return np.zeros_like(super().gradient_through_adapters())


class CutAFromInput(CutA, CutInput):
    name = "gradient through lora_A cut"
    cause = "x lora_A^T was computed without gradients, or detached."
    remedy = DIFFERENTIABLE


GRADIENTS = (CutA, CutB, CutBoth, CutAdapters, CutAll, CutBase, CutInput, CutAFromInput)


# Seen in the merged layer


class MergedWithoutScale(Adapted):
    name = "merged without alpha / rank"
    cause = "The merged weight is weight + lora_B @ lora_A."
    remedy = MERGED

    def merged(self):
        return self.weight + self.B @ self.A, self.bias


class MergedTransposed(Adapted):
    name = "merged transposed"
    cause = "The transposed product was added to the weight, which fits where in = out."
    remedy = MERGED

    def merged(self):
        return self.weight + self.scale() * (self.B @ self.A).T, self.bias


class MergedWithoutBias(Adapted):
    name = "merged layer without the bias"
    cause = "The merged layer has no bias, or one of zeros."
    remedy = MERGED

    def merged(self):
        return super().merged()[0], np.zeros_like(self.bias)


class MergedWithoutAdapters(Adapted):
    name = "adapters not merged"
    cause = "The merged layer is the wrapped layer as it was."
    remedy = MERGED

    def merged(self):
        return self.weight, self.bias


class AdaptersAlone(Adapted):
    name = "merged without the wrapped layer"
    cause = "The merged weight is the adapters' product alone."
    remedy = MERGED

    def merged(self):
        return self.scale() * (self.B @ self.A), self.bias


class MergedTwice(Adapted):
    name = "adapters merged twice"
    cause = "The adapters' product was added to the weight twice."
    remedy = MERGED

    def merged(self):
        return self.weight + 2 * self.scale() * (self.B @ self.A), self.bias


class MergedSubtracted(Adapted):
    name = "adapters subtracted in merging"
    cause = "The adapters' product was subtracted from the weight."
    remedy = MERGED

    def merged(self):
        return self.weight - self.scale() * (self.B @ self.A), self.bias


MERGE = (
    MergedWithoutScale,
    MergedTransposed,
    MergedWithoutBias,
    MergedWithoutAdapters,
    AdaptersAlone,
    MergedTwice,
    MergedSubtracted,
)
