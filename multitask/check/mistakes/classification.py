"""Mistakes in cross-entropy, binary cross-entropy and the focal loss. N examples, C classes."""

import numpy as np

from multitask.check.mistakes.formula import (
    BaseTwo,
    Formula,
    NotReduced,
    NumberIgnored,
    OverOneLess,
    SignReversed,
    Slip,
    Summed,
    sigmoid,
    softmax,
)


class CrossEntropy(Formula):
    axis = -1

    def losses(self, logits, labels):
        return -self.of_labels(self.log_probabilities(logits), labels)

    def log_probabilities(self, logits):
        return self.log(self.probabilities(self.logits(logits)))

    def probabilities(self, logits):
        return softmax(logits, self.axis)

    def logits(self, logits):
        return logits

    def of_labels(self, values, labels):
        return values[np.arange(len(labels)), labels]


class SoftmaxFirst(Slip):
    title = "softmax before a loss of logits"
    cause = "The logits go through a softmax, and the loss takes the softmax of that once more."
    remedy = "Give F.cross_entropy the logits as they are; it takes log softmax(logits) itself."

    def logits(self, logits):
        return softmax(logits)


class SigmoidBeforeSoftmax(Slip):
    title = "sigmoid before a loss of logits"
    cause = "The logits go through a sigmoid before the loss takes their softmax."
    remedy = "Give F.cross_entropy the logits as they are; it takes log softmax(logits) itself."

    def logits(self, logits):
        return sigmoid(logits)


class SigmoidForSoftmax(Slip):
    title = "sigmoid instead of softmax"
    cause = "The label's probability is the sigmoid of its own logit; the other classes' logits are not used."
    remedy = "Take the softmax over the classes: p = e^logit / sum of all e^logit."

    def probabilities(self, logits):
        return sigmoid(logits)


class NoSoftmax(Slip):
    title = "logits taken for log-probabilities"
    cause = "The label's logit is used as if it were log p; F.nll_loss does so when it is given logits."
    remedy = "Take log softmax(logits) first, or use F.cross_entropy."

    def log_probabilities(self, logits):
        return logits


class NoLogarithm(Slip):
    title = "probability instead of its logarithm"
    cause = "The loss is -p of the label; F.nll_loss gives this when it is given softmax(logits)."
    remedy = "Take the logarithm: loss = -log p."

    def log(self, x):
        return x


class SoftmaxOverExamples(Slip):
    title = "softmax over the examples"
    cause = "The softmax runs along the batch (dim=0), so that each class sums to one over the examples."
    remedy = "Take it over the classes: softmax(logits, dim=-1)."
    axis = 0


class LabelsFromOne(Slip):
    title = "labels counted from 1"
    cause = "One is subtracted from the labels, so that each example has the class before its own."
    remedy = "Use the labels as they are: classes are counted from 0."

    def of_labels(self, values, labels):
        return super().of_labels(values, labels - 1)


class MeanOverClasses(Slip):
    title = "mean over classes too"
    cause = "The mean is taken over all N times C entries of one-hot labels times log p."
    remedy = "Sum over the classes, and take the mean over the N examples only."

    def of_labels(self, values, labels):
        return values * np.eye(values.shape[1])[labels]


class LabelsSmoothed(Slip):
    title = "label smoothing left on"
    cause = "A tenth of the target is spread over all classes (label_smoothing=0.1)."
    remedy = "Leave label_smoothing at 0: loss = -log p of the label."

    def of_labels(self, values, labels):
        return 0.9 * super().of_labels(values, labels) + 0.1 * values.mean(axis=1)


CROSS_ENTROPY = (
    SoftmaxFirst,
    SigmoidBeforeSoftmax,
    SigmoidForSoftmax,
    NoSoftmax,
    NoLogarithm,
    SoftmaxOverExamples,
    LabelsFromOne,
    MeanOverClasses,
    LabelsSmoothed,
    SignReversed,
    Summed,
    OverOneLess,
    NotReduced,
    BaseTwo,
)


class BinaryCrossEntropy(Formula):
    def losses(self, logits, labels):
        p, labels = sigmoid(self.logits(logits)), self.labels(labels)
        return -(self.of_ones(p, labels) + self.of_zeros(p, labels))

    def logits(self, logits):
        return logits

    def labels(self, labels):
        return labels

    def of_ones(self, p, labels):
        return labels * self.log(p)

    def of_zeros(self, p, labels):
        return (1 - labels) * self.log(1 - p)


class SigmoidFirst(Slip):
    title = "sigmoid before a loss of logits"
    cause = "The logits go through a sigmoid, and the loss takes the sigmoid of that once more."
    remedy = "Give F.binary_cross_entropy_with_logits the logits as they are."

    def logits(self, logits):
        return sigmoid(logits)


class OnlyOnes(Slip):
    title = "term of label 0 missing"
    cause = "Only examples of label 1 add to the loss."
    remedy = "Add the other term: -(y log p + (1 - y) log(1 - p))."

    def of_zeros(self, p, labels):
        return np.zeros_like(p)


class LabelsReversed(Slip):
    title = "labels the wrong way round"
    cause = "Examples of label 1 are pulled to 0, and those of label 0 to 1."
    remedy = "Take -log p for label 1 and -log(1 - p) for label 0."

    def labels(self, labels):
        return 1 - labels


class LabelsAsColumn(Slip):
    title = "(N,) and (N, 1) broadcast"
    cause = "One of logits and labels is a column, so that every logit meets the labels of all examples."
    remedy = "Give both the shape (N,), by squeeze(-1), before they meet."

    def labels(self, labels):
        return labels[:, None]


BINARY_CROSS_ENTROPY = (
    SigmoidFirst,
    OnlyOnes,
    LabelsReversed,
    LabelsAsColumn,
    NoLogarithm,
    SignReversed,
    Summed,
    OverOneLess,
    NotReduced,
    BaseTwo,
)


class Focal(CrossEntropy):
    usual = 2.0

    def losses(self, logits, labels):
        p = self.of_labels(self.probabilities(self.logits(logits)), labels)
        return -self.factor(p) * self.log(p)

    def factor(self, p):
        return (1 - p) ** self.number


class NoFactor(Slip):
    title = "factor (1 - p)^gamma missing"
    cause = "The loss is the plain cross-entropy."
    remedy = "Weigh each example: -(1 - p)^gamma log p (Lin et al. 2017, equation 4)."

    def factor(self, p):
        return np.ones_like(p)


class FactorOfP(Slip):
    title = "p^gamma instead of (1 - p)^gamma"
    cause = "Easy examples, those of large p, are given the most weight."
    remedy = "Weigh by (1 - p)^gamma, with p the probability of the label."

    def factor(self, p):
        return p**self.number


class GammaNegative(Slip):
    title = "gamma with the wrong sign"
    cause = "The factor is (1 - p)^-gamma, which grows for easy examples."
    remedy = "Use the positive power: (1 - p)^gamma."

    def factor(self, p):
        return (1 - p) ** -self.number


class GammaTimes(Slip):
    title = "gamma as a factor"
    cause = "1 - p is multiplied by gamma."
    remedy = "Raise it to the power: (1 - p)^gamma."

    def factor(self, p):
        return (1 - p) * self.number


class FactorOfBatch(Slip):
    title = "one factor for the whole batch"
    cause = "p is exp(-loss) of the batch's mean loss, so that all examples get the same weight."
    remedy = "Take the losses with reduction='none', weigh each by its own (1 - p)^gamma, then take the mean."

    def factor(self, p):
        return (1 - np.exp(np.log(p).mean())) ** self.number


class AlphaLeftIn(Slip):
    title = "alpha = 0.25 left in"
    cause = "The loss is multiplied by alpha = 0.25, the class weight of the paper's equation 5."
    remedy = "Leave alpha out: -(1 - p)^gamma log p (equation 4)."

    def factor(self, p):
        return 0.25 * super().factor(p)


FOCAL = (
    NoFactor,
    FactorOfP,
    GammaNegative,
    GammaTimes,
    FactorOfBatch,
    AlphaLeftIn,
    NumberIgnored,
    SoftmaxFirst,
    SigmoidForSoftmax,
    SoftmaxOverExamples,
    NoLogarithm,
    LabelsFromOne,
    SignReversed,
    Summed,
    OverOneLess,
    NotReduced,
    BaseTwo,
)
