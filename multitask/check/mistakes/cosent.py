"""Mistakes in CoSENT. N examples."""

import numpy as np

from multitask.check.mistakes.formula import BaseTwo, Formula, NumberIgnored, Slip


class CoSENT(Formula):
    usual = 20.0

    def losses(self, cosines, labels):
        excess = (cosines[None, :] - cosines[:, None])[self.pairs(labels[:, None], labels[None, :])]
        return self.gathered(np.exp(self.scaled(excess)))

    def pairs(self, of_i, of_j):
        return of_i > of_j

    def scaled(self, excess):
        return self.number * excess

    def gathered(self, powers):
        return self.log(1 + powers.sum())


class PairsReversed(Slip):
    title = "pairs the wrong way round"
    cause = "Pairs with label_i < label_j are taken, so that the loss wants the order reversed."
    remedy = "Sum e^(scale (cos_j - cos_i)) over the pairs with label_i > label_j."

    def pairs(self, of_i, of_j):
        return of_i < of_j


class TiesIncluded(Slip):
    title = "pairs of equal labels included"
    cause = "Pairs with label_i = label_j, each example with itself too, are in the sum."
    remedy = "Take only pairs with label_i > label_j."

    def pairs(self, of_i, of_j):
        return of_i >= of_j


class AllPairsIncluded(Slip):
    title = "all pairs in the sum"
    cause = "The labels' order is not used; every pair (i, j) is in the sum."
    remedy = "Take only pairs with label_i > label_j."

    def pairs(self, of_i, of_j):
        return np.ones(np.broadcast(of_i, of_j).shape, dtype=bool)


class NoScale(Slip):
    title = "scale missing"
    cause = "The differences of cosines are not multiplied by the scale."
    remedy = "Multiply: e^(scale (cos_j - cos_i))."

    def scaled(self, excess):
        return excess


class ScaleDivides(Slip):
    title = "divided by the scale"
    cause = "The differences of cosines are divided by the scale, as if it were a temperature."
    remedy = "Multiply: e^(scale (cos_j - cos_i)); the scale is 1 / temperature."

    def scaled(self, excess):
        return excess / self.number


class NoOne(Slip):
    title = "1 in the logarithm missing"
    cause = "The logarithm is taken of the sum alone, which falls below 0 without end."
    remedy = "Add 1: log(1 + sum), by a zero among the arguments of logsumexp."

    def gathered(self, powers):
        return self.log(powers.sum())


class MeanOfPairs(Slip):
    title = "mean over pairs in the logarithm"
    cause = "The powers are averaged over the pairs."
    remedy = "Add them up: log(1 + sum)."

    def gathered(self, powers):
        return self.log(1 + powers.mean())


class OverExamplesToo(Slip):
    title = "divided by the number of examples"
    cause = "The logarithm is divided by N."
    remedy = "Return log(1 + sum) as it is: it is a loss of the whole batch."

    def losses(self, cosines, labels):
        return super().losses(cosines, labels) / len(labels)


class OverPairs(Slip):
    title = "divided by the number of pairs"
    cause = "The logarithm is divided by the number of pairs."
    remedy = "Return log(1 + sum) as it is: it is a loss of the whole batch."

    def losses(self, cosines, labels):
        return super().losses(cosines, labels) / (labels[:, None] > labels).sum()


class LogOfEachPair(Slip):
    title = "logarithm of each pair"
    cause = "log(1 + e^x) of each pair is added up (as RankNet does)."
    remedy = "Sum the powers first and take one logarithm: log(1 + sum)."

    def gathered(self, powers):
        return self.log(1 + powers).sum()


class MeanLogOfPairs(Slip):
    title = "mean logarithm of the pairs"
    cause = "log(1 + e^x) of each pair is averaged (F.softplus, then mean)."
    remedy = "Sum the powers first and take one logarithm: log(1 + sum)."

    def gathered(self, powers):
        return self.log(1 + powers).mean()


COSENT = (
    PairsReversed,
    TiesIncluded,
    AllPairsIncluded,
    NoScale,
    ScaleDivides,
    NumberIgnored,
    NoOne,
    MeanOfPairs,
    OverExamplesToo,
    OverPairs,
    LogOfEachPair,
    MeanLogOfPairs,
    BaseTwo,
)
