"""Mistakes in squared errors, of predictions and of cosines. N examples, vectors of size D."""

import numpy as np

from multitask.check.mistakes.formula import (
    Formula,
    NotReduced,
    OverOneLess,
    Slip,
    Summed,
    sigmoid,
)


class MeanSquaredError(Formula):
    def losses(self, predictions, labels):
        return self.power(self.difference(self.predictions(predictions), labels))

    def predictions(self, predictions):
        return predictions

    def difference(self, predictions, labels):
        return predictions - labels

    def power(self, difference):
        return difference**2


class ColumnMinusRow(Slip):
    title = "(N, 1) and (N,) broadcast"
    cause = "One of predictions and labels is a column, so that every prediction meets all labels."
    remedy = "Give both the shape (N,), by squeeze(-1), before they are subtracted."

    def difference(self, predictions, labels):
        return predictions[:, None] - labels


class Halved(Slip):
    title = "half the squared error"
    cause = "The squares are multiplied by 1/2."
    remedy = "Take the mean of (prediction - label)^2 as it is."

    def power(self, difference):
        return difference**2 / 2


class Root(Slip):
    title = "root of the mean squared error"
    cause = "The root of the mean is returned."
    remedy = "Return the mean of the squares without the root."

    def reduce(self, losses):
        return np.sqrt(losses.mean())


class Absolute(Slip):
    title = "absolute instead of squared error"
    cause = "The differences are not squared (F.l1_loss)."
    remedy = "Square them: mean of (prediction - label)^2."

    def power(self, difference):
        return np.abs(difference)


class MeanThenSquare(Slip):
    title = "square of the mean difference"
    cause = "The differences are averaged before they are squared, so that errors of both signs cancel."
    remedy = "Square each difference, then take the mean."

    def difference(self, predictions, labels):
        return (predictions - labels).mean()


class SigmoidOfPredictions(Slip):
    title = "predictions through a sigmoid"
    cause = "The predictions go through a sigmoid, so that none can be above 1."
    remedy = "Compare the predictions as they are."

    def predictions(self, predictions):
        return sigmoid(predictions)


MEAN_SQUARED_ERROR = (
    ColumnMinusRow,
    Halved,
    Root,
    Absolute,
    MeanThenSquare,
    SigmoidOfPredictions,
    Summed,
    OverOneLess,
    NotReduced,
)


class CosineSimilarity(Formula):
    axis = -1

    def losses(self, u, v, labels):
        cosine = self.product(self.unit(u), self.unit_of_second(v))
        return self.power(self.scaled(cosine) - self.labels(labels))

    def unit(self, vectors):
        return vectors / np.sqrt((vectors**2).sum(axis=self.axis, keepdims=True))

    def unit_of_second(self, vectors):
        return self.unit(vectors)

    def product(self, u, v):
        return (u * v).sum(axis=self.axis)

    def scaled(self, cosine):
        return cosine

    def labels(self, labels):
        return labels

    def power(self, difference):
        return difference**2


class DotProduct(Slip):
    title = "dot product instead of cosine"
    cause = "The vectors' lengths are not divided out."
    remedy = "Divide by both lengths: cos(u, v) = u v / (|u| |v|)."

    def unit(self, vectors):
        return vectors


class OneLengthLeft(Slip):
    title = "only one vector of unit length"
    cause = "The product is divided by the length of the first vector, not of the second."
    remedy = "Divide by both lengths: cos(u, v) = u v / (|u| |v|)."

    def unit_of_second(self, vectors):
        return vectors


class OverExamples(Slip):
    title = "cosine of the wrong axis"
    cause = "The sums run over the examples (dim=0), which gives a cosine for each component."
    remedy = "Sum over the components: F.cosine_similarity(u, v, dim=-1)."
    axis = 0


class LabelsFromMinusOne(Slip):
    title = "labels stretched to -1..1"
    cause = "The labels are compared as 2 label - 1."
    remedy = "Compare with the labels as they are: (cos - label)^2."

    def labels(self, labels):
        return 2 * labels - 1


class LabelsOverFive(Slip):
    title = "labels divided by 5"
    cause = "The labels are divided by 5, as if they were still between 0 and 5."
    remedy = "Compare with the labels as they are: (cos - label)^2."

    def labels(self, labels):
        return labels / 5


class DistanceForCosine(Slip):
    title = "1 - cosine compared with the labels"
    cause = "The labels are compared with the cosine distance, so that equal vectors go with label 0."
    remedy = "Compare them with the cosine: (cos - label)^2."

    def scaled(self, cosine):
        return 1 - cosine


class MeanDistance(Slip):
    title = "mean of 1 - cosine"
    cause = "The cosine distance is the loss; labels and square are missing."
    remedy = "Take the mean of (cos - label)^2."

    def losses(self, u, v, labels):
        return 1 - self.product(self.unit(u), self.unit(v))


class CosineToUnit(Slip):
    title = "cosine moved to 0..1"
    cause = "The labels are compared with (cos + 1) / 2."
    remedy = "Compare them with the cosine as it is: (cos - label)^2."

    def scaled(self, cosine):
        return (cosine + 1) / 2


class CosineClamped(Slip):
    title = "negative cosines cut off"
    cause = "Cosines below 0 are raised to 0, where no gradient flows."
    remedy = "Compare the cosine as it is: (cos - label)^2."

    def scaled(self, cosine):
        return np.maximum(cosine, 0)


class AllPairs(Slip):
    title = "cosines of all pairs"
    cause = "Every u is compared with the v of all examples, and the matrix is broadcast against the labels."
    remedy = "Take the N cosines of u_i and v_i only."

    def product(self, u, v):
        return u @ v.T


class LabelsIgnored(Slip):
    title = "labels not used"
    cause = "Every pair is pulled together, as if its label were 1."
    remedy = "Compare with the labels: (cos - label)^2."

    def labels(self, labels):
        return np.ones_like(labels)


COSINE_SIMILARITY = (
    DotProduct,
    OneLengthLeft,
    OverExamples,
    LabelsFromMinusOne,
    LabelsOverFive,
    DistanceForCosine,
    MeanDistance,
    CosineToUnit,
    CosineClamped,
    AllPairs,
    LabelsIgnored,
    Absolute,
    Halved,
    Root,
    Summed,
    OverOneLess,
    NotReduced,
)
