"""Mistakes in R-Drop's symmetric Kullback-Leibler divergence. N examples, C classes."""

import numpy as np

from multitask.check.mistakes.classification import SoftmaxOverExamples
from multitask.check.mistakes.formula import BaseTwo, Formula, NotReduced, OverOneLess, Slip, Summed, softmax


class SymmetricKL(Formula):
    axis = -1

    def losses(self, p_logits, q_logits):
        return self.both(self.divergence(p_logits, q_logits), self.divergence(q_logits, p_logits))

    def both(self, forward, backward):
        return (forward + backward) / 2

    def divergence(self, from_logits, to_logits):
        """KL(a, b) of the distributions of two sets of logits."""
        a = softmax(from_logits, self.axis)
        return self.over_classes(a * (self.log_target(a) - self.log_input(to_logits)))

    def log_target(self, a):
        return self.log(a)

    def log_input(self, logits):
        return self.log(softmax(logits, self.axis))

    def over_classes(self, terms):
        return terms.sum(axis=-1)


class OnlyForward(Slip):
    title = "KL(p, q) only"
    cause = "The divergence is taken in one direction only."
    remedy = "Take both: (KL(p, q) + KL(q, p)) / 2."

    def both(self, forward, backward):
        return forward


class OnlyBackward(Slip):
    title = "KL(q, p) only"
    cause = "One direction only is taken; F.kl_div(log p, q) is KL(q, p), not KL(p, q)."
    remedy = "Take both: (KL(p, q) + KL(q, p)) / 2."

    def both(self, forward, backward):
        return backward


class NoHalf(Slip):
    title = "half missing"
    cause = "Both divergences are added and not halved, as SMART does."
    remedy = "Take (KL(p, q) + KL(q, p)) / 2, as R-Drop does."

    def both(self, forward, backward):
        return forward + backward


class MeanOfElements(Slip):
    title = "mean over classes too"
    cause = "The terms are averaged over examples and classes (F.kl_div with reduction='mean')."
    remedy = "Sum over the classes, and take the mean over the examples: reduction='batchmean'."

    def over_classes(self, terms):
        return terms.mean(axis=-1)


class EntropyMissing(Slip):
    title = "cross-entropy instead of divergence"
    cause = "The entropy of the first distribution is not subtracted, so equal ones do not give 0."
    remedy = "KL(p, q) = sum p (log p - log q)."

    def log_target(self, a):
        return np.zeros_like(a)


class LogitsAsInput(Slip):
    title = "logits taken for log-probabilities"
    cause = "F.kl_div was given logits as its first argument."
    remedy = "Its first argument is log_softmax(logits, dim=-1)."

    def log_input(self, logits):
        return logits


class ProbabilitiesAsInput(Slip):
    title = "probabilities taken for log-probabilities"
    cause = "F.kl_div was given softmax(logits) as its first argument."
    remedy = "Its first argument is log_softmax(logits, dim=-1)."

    def log_input(self, logits):
        return softmax(logits)


class JensenShannon(Slip):
    title = "divergence from the mean distribution"
    cause = "Both are compared with (p + q) / 2, which is the Jensen-Shannon divergence."
    remedy = "Compare them with one another: (KL(p, q) + KL(q, p)) / 2."

    def divergence(self, from_logits, to_logits):
        middle = (softmax(from_logits) + softmax(to_logits)) / 2
        return super().divergence(from_logits, np.log(middle))


SYMMETRIC_KL = (
    OnlyForward,
    OnlyBackward,
    NoHalf,
    MeanOfElements,
    EntropyMissing,
    LogitsAsInput,
    ProbabilitiesAsInput,
    JensenShannon,
    SoftmaxOverExamples,
    Summed,
    OverOneLess,
    NotReduced,
    BaseTwo,
)
