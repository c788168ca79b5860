"""Mistakes in metrics of N predictions: accuracy, F1, correlations, and the course's means over tasks."""

import numpy as np

from multitask.check.mistakes.formula import Slip


class Accuracy:
    def score(self, predictions, labels):
        return self.counted(predictions == labels)

    def counted(self, right):
        return right.mean()


class Count(Slip):
    title = "number instead of share"
    cause = "The right predictions are counted, and not divided by N."
    remedy = "Divide by the number of examples."

    def counted(self, right):
        return right.sum()


class ErrorRate(Slip):
    title = "share of wrong predictions"
    cause = "The error rate is returned."
    remedy = "Return the share of equal entries: 1 - error rate."

    def counted(self, right):
        return 1 - right.mean()


class Percent(Slip):
    title = "in percent"
    cause = "The share is multiplied by 100."
    remedy = "Return a share between 0 and 1."

    def counted(self, right):
        return 100 * right.mean()


ACCURACY = (Count, ErrorRate, Percent)


class F1:
    """F1 of one class, from hits, misses and false alarms."""

    def score(self, predictions, labels):
        return self.of_class(predictions, labels, 1)

    def of_class(self, predictions, labels, number):
        predicted, true = predictions == number, labels == number
        hits = (predicted & true).sum()
        return self.of_counts(hits, predicted.sum(), true.sum())

    def of_counts(self, hits, predicted, true):
        return 2 * hits / (predicted + true)


class AccuracyAsF1(Slip):
    title = "accuracy instead of F1"
    cause = "The share of equal entries is returned; the micro-averaged F1 of all classes is the same number."
    remedy = "F1 = 2 TP / (2 TP + FP + FN), for each class on its own."

    def score(self, predictions, labels):
        return (predictions == labels).mean()


class OfClassZero(Slip):
    title = "F1 of class 0"
    cause = "Class 0 is taken for the positive one."
    remedy = "Count hits, misses and false alarms of class 1."

    def score(self, predictions, labels):
        return self.of_class(predictions, labels, 0)


class MeanOfBothClasses(Slip):
    title = "mean over both classes"
    cause = "F1 of class 0 is averaged in (average='macro')."
    remedy = "Return the F1 of class 1 alone (average='binary')."

    def score(self, predictions, labels):
        return (self.of_class(predictions, labels, 0) + self.of_class(predictions, labels, 1)) / 2


class WeightedByLabels(Slip):
    title = "mean weighted by the classes' sizes"
    cause = "The classes' F1 are weighted by how often each is true (average='weighted')."
    remedy = "Weigh all classes alike (macro), or take class 1 alone (binary)."

    def score(self, predictions, labels):
        classes, counts = np.unique(labels, return_counts=True)
        scores = [self.of_class(predictions, labels, number) for number in classes]
        return np.average(scores, weights=counts)


class Precision(Slip):
    title = "precision instead of F1"
    cause = "The hits are divided by the predictions of the class only."
    remedy = "F1 = 2 P R / (P + R), with recall R too."

    def of_counts(self, hits, predicted, true):
        return hits / predicted if predicted else 0.0


class Recall(Slip):
    title = "recall instead of F1"
    cause = "The hits are divided by the true cases of the class only."
    remedy = "F1 = 2 P R / (P + R), with precision P too."

    def of_counts(self, hits, predicted, true):
        return hits / true


class ArithmeticMean(Slip):
    title = "arithmetic mean of precision and recall"
    cause = "Precision and recall are averaged as (P + R) / 2."
    remedy = "Take the harmonic mean: 2 P R / (P + R)."

    def of_counts(self, hits, predicted, true):
        return ((hits / predicted if predicted else 0.0) + hits / true) / 2


class GeometricMean(Slip):
    title = "geometric mean of precision and recall"
    cause = "sqrt(P R) is returned."
    remedy = "Take the harmonic mean: 2 P R / (P + R)."

    def of_counts(self, hits, predicted, true):
        return hits / np.sqrt(predicted * true) if predicted else 0.0


class TwoMissing(Slip):
    title = "factor 2 missing"
    cause = "P R / (P + R) is returned, half of F1."
    remedy = "F1 = 2 P R / (P + R)."

    def of_counts(self, hits, predicted, true):
        return hits / (predicted + true)


class Jaccard(Slip):
    title = "intersection over union"
    cause = "TP / (TP + FP + FN) is returned, in which hits count once."
    remedy = "F1 = 2 TP / (2 TP + FP + FN)."

    def of_counts(self, hits, predicted, true):
        return hits / (predicted + true - hits)


OF_COUNTS = (Precision, Recall, ArithmeticMean, GeometricMean, TwoMissing, Jaccard)
F1_SLIPS = (AccuracyAsF1, OfClassZero, MeanOfBothClasses, WeightedByLabels, *OF_COUNTS)


class MacroF1(F1):
    def score(self, predictions, labels):
        return np.mean(
            [self.of_class(predictions, labels, number) for number in self.classes(predictions, labels)]
        )

    def classes(self, predictions, labels):
        return np.union1d(predictions, labels)


class OfClassOne(Slip):
    title = "F1 of class 1 alone"
    cause = "Only class 1 is counted."
    remedy = "Take the mean over all classes."

    def classes(self, predictions, labels):
        return [1]


class UnpredictedLeftOut(Slip):
    title = "classes that are never predicted left out"
    cause = "A class without predictions is dropped, or its 0 / 0 is skipped as NaN."
    remedy = "A class that is true somewhere and never predicted counts with F1 = 0."

    def classes(self, predictions, labels):
        return np.unique(predictions)


class MeansFirst(Slip):
    title = "F1 of mean precision and mean recall"
    cause = "Precision and recall are averaged over the classes before F1 is taken of them."
    remedy = "Take each class's F1 first, then their mean."

    def score(self, predictions, labels):
        classes = self.classes(predictions, labels)
        hits = np.array([((predictions == c) & (labels == c)).sum() for c in classes])
        predicted = np.array([(predictions == c).sum() for c in classes])
        precision = (hits / np.maximum(predicted, 1)).mean()
        recall = (hits / np.array([(labels == c).sum() for c in classes])).mean()
        return 2 * precision * recall / (precision + recall)


MACRO_F1 = (AccuracyAsF1, WeightedByLabels, OfClassOne, UnpredictedLeftOut, MeansFirst, *OF_COUNTS)


class MeanOfTasks:
    """(sst + paraphrase + (sts + 1) / 2) / 3, the course's overall score since 2024."""

    def score(self, sst, paraphrase, sts):
        return self.mean(sst, paraphrase, self.correlation(sts))

    def correlation(self, sts):
        return (sts + 1) / 2

    def mean(self, sst, paraphrase, sts):
        return (sst + paraphrase + sts) / 3


class MeanOfRawScores(MeanOfTasks):
    """(sst + paraphrase + sts) / 3, the score of 2023."""

    def correlation(self, sts):
        return sts


class NotMoved(Slip):
    title = "correlation as it is"
    cause = "The correlation goes into the mean without being moved from [-1, 1] to [0, 1]."
    remedy = "Use (sts + 1) / 2."

    def correlation(self, sts):
        return sts


class Moved(Slip):
    title = "correlation moved to 0..1"
    cause = "The correlation goes into the mean as (sts + 1) / 2, which is the rule since 2024."
    remedy = "Use sts as it is."

    def correlation(self, sts):
        return (sts + 1) / 2


class OnlyHalved(Slip):
    title = "1 not added to the correlation"
    cause = "The correlation goes into the mean as sts / 2."
    remedy = "Use (sts + 1) / 2."

    def correlation(self, sts):
        return sts / 2


class NotHalved(Slip):
    title = "correlation plus 1 not halved"
    cause = "The correlation goes into the mean as sts + 1, between 0 and 2."
    remedy = "Use (sts + 1) / 2."

    def correlation(self, sts):
        return sts + 1


class SumOfTasks(Slip):
    title = "sum of the tasks"
    cause = "The three scores are added up."
    remedy = "Divide by 3."

    def mean(self, sst, paraphrase, sts):
        return sst + paraphrase + sts


class AllMoved(Slip):
    title = "whole mean moved"
    cause = "The mean of the raw scores is moved as (mean + 1) / 2."
    remedy = "Move the correlation alone: (sst + paraphrase + (sts + 1) / 2) / 3."

    def score(self, sst, paraphrase, sts):
        return (self.mean(sst, paraphrase, sts) + 1) / 2


class ArgumentsReversed(Slip):
    title = "correlation taken for the first argument"
    cause = "The first argument, sst, is moved as if it were the correlation."
    remedy = "The order is sst, paraphrase, sts: move the last."

    def score(self, sst, paraphrase, sts):
        return self.mean((sst + 1) / 2, paraphrase, sts)


OVERALL_2024 = (NotMoved, OnlyHalved, NotHalved, SumOfTasks, AllMoved, ArgumentsReversed)
MEAN_RAW = (Moved, SumOfTasks)
