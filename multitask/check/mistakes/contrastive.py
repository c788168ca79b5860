"""Mistakes in losses with in-batch negatives: SimCSE and MNRL. N rows of vectors of size D."""

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
    softmax,
)


class InBatch(Formula):
    """Anchors against candidates: cosines, scaled, cross-entropy with the own positive as the class."""

    axis = -1

    def losses(self, anchors, positives):
        return self.of_scores(self.scaled(self.similarity(anchors, positives)), anchors)

    def of_scores(self, scores, anchors):
        return self.log(self.denominators(scores, anchors)) - self.log(np.exp(self.own(scores)))

    def similarity(self, anchors, candidates):
        return self.unit(anchors) @ self.unit_of_candidates(candidates).T

    def unit(self, vectors):
        return vectors / np.sqrt((vectors**2).sum(axis=self.axis, keepdims=True))

    def unit_of_candidates(self, candidates):
        return self.unit(candidates)

    def scaled(self, similarity):
        raise NotImplementedError

    def denominators(self, scores, anchors):
        return np.exp(scores).sum(axis=1)

    def own(self, scores):
        return np.diagonal(scores)


class SimCSE(InBatch):
    usual = 0.05

    def scaled(self, similarity):
        return similarity / self.number


class MNRL(InBatch):
    usual = 20.0

    def scaled(self, similarity):
        return similarity * self.number


class DotProducts(Slip):
    title = "dot product instead of cosine"
    cause = "The vectors' lengths are not divided out."
    remedy = "Normalize both sides first: F.normalize(vectors, dim=-1)."

    def unit(self, vectors):
        return vectors


class OneSideNormalized(Slip):
    title = "only the anchors of unit length"
    cause = "The candidates are not normalized, so that long ones win."
    remedy = "Normalize both sides: F.normalize(vectors, dim=-1)."

    def unit_of_candidates(self, candidates):
        return candidates


class NormalizedOverRows(Slip):
    title = "normalized along the wrong axis"
    cause = "The lengths are those of the batch's columns (dim=0)."
    remedy = "Normalize each vector: F.normalize(vectors, dim=-1)."
    axis = 0


class CandidatesNormalizedOverRows(Slip):
    title = "candidates normalized along the wrong axis"
    cause = "They were transposed first, so that F.normalize divides by the lengths of the columns."
    remedy = "Normalize before transposing: F.normalize(candidates, dim=-1).T."

    def unit_of_candidates(self, candidates):
        return candidates / np.sqrt((candidates**2).sum(axis=0, keepdims=True))


class Distances(Slip):
    title = "distance instead of cosine"
    cause = "The scores are negative Euclidean distances."
    remedy = "Take cosines: F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T."

    def similarity(self, anchors, candidates):
        return -np.sqrt(((anchors[:, None] - candidates[None]) ** 2).sum(axis=-1))


class NotScaled(Slip):
    title = "no temperature or scale"
    cause = "The cosines are used as they are, so that the softmax stays nearly flat."
    remedy = "Divide the cosines by the temperature, or multiply them by the scale."

    def scaled(self, similarity):
        return similarity


class TemperatureTimes(Slip):
    title = "multiplied by the temperature"
    cause = "The cosines are multiplied by the temperature, which makes them smaller still."
    remedy = "Divide by it: cos / temperature."

    def scaled(self, similarity):
        return similarity * self.number


class TemperatureTwice(Slip):
    title = "divided by the temperature twice"
    cause = "The temperature is divided out of both vectors, or of both vectors and scores."
    remedy = "Divide once: cos / temperature."

    def scaled(self, similarity):
        return similarity / self.number**2


class DividedByScale(Slip):
    title = "divided by the scale"
    cause = "The cosines are divided by the scale, as if it were a temperature."
    remedy = "Multiply by it: scale * cos; the scale is 1 / temperature."

    def scaled(self, similarity):
        return similarity / self.number


class OwnLeftOut(Slip):
    title = "own positive missing in the denominator"
    cause = "The diagonal is left out of the sum, as if it held negatives only."
    remedy = "Sum over all candidates, the own positive included."

    def denominators(self, scores, anchors):
        return super().denominators(scores, anchors) - np.exp(self.own(scores))


class BothDirections(Slip):
    title = "both directions averaged"
    cause = "The loss of candidates that look for their anchor is averaged in."
    remedy = "Take the direction from anchor to candidate only: the softmax over the rows of the scores."

    def losses(self, anchors, positives):
        scores = self.scaled(self.similarity(anchors, positives))
        return (self.of_scores(scores, anchors) + self.of_scores(scores.T, anchors)) / 2


class OtherDirection(Slip):
    title = "the other direction"
    cause = "The softmax runs over the anchors: each positive looks for its anchor."
    remedy = "Let each anchor choose among the candidates: the softmax over dim=1 of anchors @ candidates.T."

    def losses(self, anchors, positives):
        return self.of_scores(self.scaled(self.similarity(anchors, positives)).T, anchors)


class AnchorsAsCandidates(Slip):
    title = "other anchors among the candidates"
    cause = "The anchors' cosines with one another are in the denominator (as in SimCLR)."
    remedy = "Let the candidates be the other side only."

    def denominators(self, scores, anchors):
        others = np.exp(self.scaled(self.similarity(anchors, anchors)))
        return super().denominators(scores, anchors) + others.sum(axis=1) - np.diagonal(others)


class BothSidesTogether(Slip):
    title = "both sides as one batch"
    cause = "All 2 N vectors are anchors, and all others their candidates (NT-Xent, as in SimCLR)."
    remedy = "Let the N vectors of the first side choose among the N of the second."

    def losses(self, anchors, positives):
        both = np.concatenate([anchors, positives])
        powers = np.exp(self.scaled(self.similarity(both, both)))
        others = powers.sum(axis=1) - np.diagonal(powers)
        own = np.diagonal(np.roll(powers, len(anchors), axis=1))
        return self.log(others / own)


class NoNegatives(Slip):
    title = "no softmax over the candidates"
    cause = "The loss is minus the score of the own positive; nothing pushes others away."
    remedy = "Take the cross-entropy over all candidates: -score_ii + log sum_j e^score_ij."

    def denominators(self, scores, anchors):
        return np.ones(len(scores))


class FirstAsClass(Slip):
    title = "first candidate as everyone's class"
    cause = "The class of every row is 0."
    remedy = "Row i has class i: torch.arange(N)."

    def own(self, scores):
        return scores[:, 0]


class SoftmaxOfScores(Slip):
    title = "softmax before a loss of logits"
    cause = "The scores go through a softmax, and the cross-entropy takes the softmax of that once more."
    remedy = "Give F.cross_entropy the scores as they are."

    def of_scores(self, scores, anchors):
        return super().of_scores(softmax(scores), anchors)


BOTH = (
    DotProducts,
    OneSideNormalized,
    NormalizedOverRows,
    CandidatesNormalizedOverRows,
    Distances,
    NotScaled,
    NumberIgnored,
    OwnLeftOut,
    AnchorsAsCandidates,
    NoNegatives,
    FirstAsClass,
    SoftmaxOfScores,
    SignReversed,
    Summed,
    OverOneLess,
    NotReduced,
    BaseTwo,
)
DIRECTIONS = (BothDirections, OtherDirection, BothSidesTogether)
SIMCSE = (*BOTH, *DIRECTIONS, TemperatureTimes, TemperatureTwice)
MNRL_SLIPS = (*BOTH, *DIRECTIONS, DividedByScale)


class WithNegatives(MNRL):
    def losses(self, anchors, positives, negatives):
        scores = self.scaled(self.similarity(anchors, self.candidates(positives, negatives)))
        return self.of_scores(scores, anchors)

    def candidates(self, positives, negatives):
        return np.concatenate([positives, negatives])

    def denominators(self, scores, anchors):
        return (np.exp(scores) * self.counted(len(scores))).sum(axis=1)

    def counted(self, rows):
        """Which candidates count for an anchor, (N, 2 N) of 0 and 1."""
        return np.ones((rows, 2 * rows))


class OwnNegativesOnly(Slip):
    title = "only the own hard negative"
    cause = "The hard negatives of the batch's other rows are left out."
    remedy = "All N hard negatives are candidates of every anchor."

    def counted(self, rows):
        return np.concatenate([np.ones((rows, rows)), np.eye(rows)], axis=1)


class NegativesIgnored(Slip):
    title = "hard negatives not used"
    cause = "The candidates are the positives only."
    remedy = "Append them: candidates = torch.cat([positives, negatives])."

    def counted(self, rows):
        return np.concatenate([np.ones((rows, rows)), np.zeros((rows, rows))], axis=1)


class OtherPositivesLeftOut(Slip):
    title = "other rows' positives missing"
    cause = "The candidates are the own positive and the hard negatives."
    remedy = "The positives of all rows are candidates: torch.cat([positives, negatives])."

    def counted(self, rows):
        return np.concatenate([np.eye(rows), np.ones((rows, rows))], axis=1)


class Triplets(Slip):
    title = "no in-batch candidates"
    cause = "Each anchor chooses between its own positive and its own hard negative only."
    remedy = "The positives and hard negatives of all rows are candidates of every anchor."

    def counted(self, rows):
        return np.concatenate([np.eye(rows), np.eye(rows)], axis=1)


class NegativesFirst(Slip):
    title = "hard negatives in the place of positives"
    cause = (
        "The hard negatives come first among the candidates, so that row i's class i is its hard negative."
    )
    remedy = "Put the positives first: torch.cat([positives, negatives])."

    def candidates(self, positives, negatives):
        return np.concatenate([negatives, positives])


MNRL_WITH_NEGATIVES = (
    OwnNegativesOnly,
    NegativesIgnored,
    OtherPositivesLeftOut,
    Triplets,
    NegativesFirst,
    *BOTH,
    DividedByScale,
)
