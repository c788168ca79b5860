"""Mistakes in splitting rows into heads and in merging heads into rows."""

import numpy as np

from minbert.check.mistakes.bert.mistaken import Mistaken

SPLIT = ("q/k/v split",)
MERGED = ("merged heads",)


class SplitByReshape(Mistaken):
    stages = SPLIT
    name = "heads split without a transpose"
    cause = "(B, S, D) is viewed as (B, H, S, K), which mixes tokens and features."
    remedy = "View as (B, S, H, K), then transpose dimensions 1 and 2."

    def split_heads(self, x):
        return x.reshape(len(x), self.heads, x.shape[1], -1)


class SplitInterleaved(Mistaken):
    stages = SPLIT
    name = "features dealt out to the heads in turn"
    cause = "(B, S, D) is viewed as (B, S, K, H), so that a head gets every H-th feature."
    remedy = "View as (B, S, H, K): a head has K neighbouring features."

    def split_heads(self, x):
        return x.reshape(*x.shape[:2], -1, self.heads).transpose(0, 3, 1, 2)


class SplitNotTransposed(Mistaken):
    stages = SPLIT
    name = "heads and tokens not transposed"
    cause = "(B, S, H, K) is returned."
    remedy = "Transpose dimensions 1 and 2: (B, H, S, K)."

    def split_heads(self, x):
        return x.reshape(*x.shape[:2], self.heads, -1)


class NoProjection(Mistaken):
    stages = SPLIT
    name = "heads split without the linear layer"
    cause = "transform splits its input itself and does not apply linear_layer."
    remedy = "Split linear_layer(x)."

    def linear(self, x, name):
        return x


class ProjectionWithoutBias(Mistaken):
    stages = SPLIT
    name = "projections without a bias"
    cause = "The linear layers' biases are not added."
    remedy = "Compute x W^T + b: linear_layer(x)."

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T


class ProjectionNotTransposed(Mistaken):
    stages = SPLIT
    name = "projections by the weight as it is stored"
    cause = "x is multiplied by W; torch stores the weights of a linear layer as (out, in)."
    remedy = "Compute x W^T + b: linear_layer(x)."

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


class NotTransposedBack(Mistaken):
    stages = MERGED
    name = "heads merged without a transpose"
    cause = "(B, H, S, K) is viewed as (B, S, D), which mixes tokens and heads."
    remedy = "Transpose dimensions 1 and 2 first: context.transpose(1, 2).reshape(B, S, D)."

    def merge_heads(self, context):
        return context.reshape(len(context), context.shape[2], -1)


class MergedInterleaved(Mistaken):
    stages = MERGED
    name = "heads interleaved"
    cause = "The heads' features are merged in turn: (B, S, K, H) is flattened."
    remedy = "Put the heads side by side: flatten (B, S, H, K)."

    def merge_heads(self, context):
        return context.transpose(0, 2, 3, 1).reshape(len(context), context.shape[2], -1)


class NotMerged(Mistaken):
    stages = MERGED
    name = "heads not merged"
    cause = "attention returns the heads' contexts (B, H, S, K) as they are."
    remedy = "Return (B, S, D): context.transpose(1, 2).reshape(B, S, D)."

    def merge_heads(self, context):
        return context


class NotFlattened(Mistaken):
    stages = MERGED
    name = "heads transposed but not merged"
    cause = "attention returns (B, S, H, K)."
    remedy = "Flatten the last two dimensions to (B, S, D)."

    def merge_heads(self, context):
        return context.swapaxes(1, 2)


class HeadsAveraged(Mistaken):
    stages = MERGED
    name = "mean of the heads"
    cause = "The heads' contexts are averaged to (B, S, K)."
    remedy = "Put them side by side: context.transpose(1, 2).reshape(B, S, D)."

    def merge_heads(self, context):
        return context.mean(axis=1)


class HeadsSummed(Mistaken):
    stages = MERGED
    name = "sum of the heads"
    cause = "The heads' contexts are added up to (B, S, K)."
    remedy = "Put them side by side: context.transpose(1, 2).reshape(B, S, D)."

    def merge_heads(self, context):
        return context.sum(axis=1)


class HeadsBackwards(Mistaken):
    stages = MERGED
    name = "heads in reverse order"
    cause = "The last head's context comes first."
    remedy = "Put the heads side by side in their order: context.transpose(1, 2).reshape(B, S, D)."

    def merge_heads(self, context):
        return super().merge_heads(np.flip(context, axis=1))
