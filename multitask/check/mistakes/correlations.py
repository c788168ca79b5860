"""Mistakes in Pearson's and Spearman's correlation of N pairs of scores."""

import numpy as np

from minbert.check import TOLERANCE, Mistake, Outputs, distance
from multitask.check.mistakes.formula import Slip


class Pearson:
    def score(self, x, y):
        x, y = self.centered(self.values(x)), self.centered(self.values(y))
        return self.result((x @ y) / np.sqrt((x @ x) * (y @ y)), len(x))

    def values(self, x):
        return x

    def centered(self, x):
        return x - x.mean()

    def result(self, r, count):
        return r


class NotCentered(Slip):
    title = "means not subtracted"
    cause = "The cosine of the two lists is returned: their means were not subtracted."
    remedy = "Subtract each list's mean first: r = sum (x - mean x) (y - mean y) / (...)."

    def centered(self, x):
        return x


class SampleByPopulation(Slip):
    title = "covariance over N - 1, deviations over N"
    cause = "The covariance divides by N - 1 (np.cov), the deviations by N (np.std): N / (N - 1) times r."
    remedy = "Use N in both or N - 1 in both, or np.corrcoef."

    def result(self, r, count):
        return r * count / (count - 1)


class PopulationBySample(Slip):
    title = "covariance over N, deviations over N - 1"
    cause = "The covariance divides by N, the deviations by N - 1 (torch.std): (N - 1) / N times r."
    remedy = "Use N in both or N - 1 in both, or np.corrcoef."

    def result(self, r, count):
        return r * (count - 1) / count


class Squared(Slip):
    title = "square of r"
    cause = "r^2, the share of variance explained, is returned."
    remedy = "Return r."

    def result(self, r, count):
        return r**2


class OneMinus(Slip):
    title = "1 - r"
    cause = "The correlation distance is returned."
    remedy = "Return r."

    def result(self, r, count):
        return 1 - r


class AbsoluteValue(Slip):
    title = "sign of r dropped"
    cause = "The absolute value is returned."
    remedy = "Return r with its sign: it lies between -1 and 1."

    def result(self, r, count):
        return abs(r)


class RootMissing(Slip):
    title = "root of the sums of squares missing"
    cause = "The products' sum is divided by both sums of squares, not by their root."
    remedy = "Divide by sqrt(sum (x - mean x)^2 * sum (y - mean y)^2)."

    def score(self, x, y):
        x, y = self.centered(self.values(x)), self.centered(self.values(y))
        return (x @ y) / ((x @ x) * (y @ y))


class ByVariances(Slip):
    title = "divided by the variances"
    cause = "The covariance is divided by both variances, not by both standard deviations."
    remedy = "Divide by the standard deviations, the roots of the variances."

    def score(self, x, y):
        x, y = self.centered(self.values(x)), self.centered(self.values(y))
        return (x @ y) * len(x) / ((x @ x) * (y @ y))


class Covariance(Slip):
    title = "covariance instead of correlation"
    cause = "The covariance is not divided by the deviations."
    remedy = "Divide by the product of both standard deviations."

    def score(self, x, y):
        return (self.centered(x) @ self.centered(y)) / len(x)


class SampleCovariance(Slip):
    title = "covariance over N - 1 instead of correlation"
    cause = "The covariance (np.cov) is not divided by the deviations."
    remedy = "Divide by the product of both standard deviations."

    def score(self, x, y):
        return (self.centered(x) @ self.centered(y)) / (len(x) - 1)


class RanksInstead(Slip):
    title = "ranks instead of values"
    cause = "The values are ranked first, which is Spearman's correlation."
    remedy = "Correlate the values."

    def values(self, x):
        return mean_ranks(x)


class Kendall(Slip):
    title = "Kendall's tau"
    cause = "Pairs in the same and in the other order are counted, which is Kendall's tau (b)."
    remedy = "Spearman's is Pearson's correlation of the ranks, Pearson's that of the values."

    def score(self, x, y):
        of_x, of_y = (np.sign(values[:, None] - values[None]) for values in (x, y))
        return (of_x * of_y).sum() / np.sqrt((of_x**2).sum() * (of_y**2).sum())


PEARSON = (
    NotCentered,
    SampleByPopulation,
    PopulationBySample,
    Squared,
    OneMinus,
    AbsoluteValue,
    RootMissing,
    ByVariances,
    Covariance,
    SampleCovariance,
    RanksInstead,
    Kendall,
)


class Spearman(Pearson):
    def values(self, x):
        return mean_ranks(x)


def mean_ranks(x: np.ndarray) -> np.ndarray:
    """From 1; equal values have the mean of their ranks."""
    return (lowest_ranks(x) + highest_ranks(x)) / 2


def lowest_ranks(x: np.ndarray) -> np.ndarray:
    return 1.0 + (x[None] < x[:, None]).sum(axis=1)


def highest_ranks(x: np.ndarray) -> np.ndarray:
    return 0.0 + (x[None] <= x[:, None]).sum(axis=1)


class InOrderOfAppearance(Slip):
    title = "ties in the order of appearance"
    cause = "Equal values get different ranks, as argsort of argsort gives them."
    remedy = "Give equal values the mean of their ranks (scipy.stats.rankdata)."

    def values(self, x):
        return np.argsort(np.argsort(x, kind="stable"), kind="stable").astype(float)


class LowestRank(Slip):
    title = "ties at their lowest rank"
    cause = "Equal values get the first of their ranks (method='min')."
    remedy = "Give equal values the mean of their ranks (scipy.stats.rankdata)."

    def values(self, x):
        return lowest_ranks(x)


class HighestRank(Slip):
    title = "ties at their highest rank"
    cause = "Equal values get the last of their ranks (method='max')."
    remedy = "Give equal values the mean of their ranks (scipy.stats.rankdata)."

    def values(self, x):
        return highest_ranks(x)


class DenseRank(Slip):
    title = "ties without gaps"
    cause = (
        "Equal values share a rank and the next value gets the next (method='dense', np.unique's inverse)."
    )
    remedy = "Give equal values the mean of their ranks (scipy.stats.rankdata)."

    def values(self, x):
        return np.unique(x, return_inverse=True)[1].astype(float)


class SortedOnce(Slip):
    title = "argsort taken for ranks"
    cause = "argsort gives the places of the sorted values, not the rank of each value."
    remedy = "Rank the values (scipy.stats.rankdata)."

    def values(self, x):
        return np.argsort(x, kind="stable").astype(float)


class NoRanks(Slip):
    title = "values instead of ranks"
    cause = "The values are not ranked, which is Pearson's correlation."
    remedy = "Rank the values first, then take Pearson's correlation of the ranks."

    def values(self, x):
        return x


class SquaredDifferences(Slip):
    title = "formula for ranks without ties"
    cause = "1 - 6 sum d^2 / (N (N^2 - 1)) was used, which holds only where no values are equal."
    remedy = "Take Pearson's correlation of the ranks."

    def score(self, x, y):
        difference, count = self.values(x) - self.values(y), len(x)
        return 1 - 6 * (difference @ difference) / (count * (count**2 - 1))


class SecondReversed(Slip):
    title = "one list ranked from the top"
    cause = "One list is ranked in falling order, so that the sign is reversed."
    remedy = "Rank both lists in rising order."

    def result(self, r, count):
        return -r


SPEARMAN = (
    InOrderOfAppearance,
    LowestRank,
    HighestRank,
    DenseRank,
    SortedOnce,
    NoRanks,
    SquaredDifferences,
    SecondReversed,
    Squared,
    OneMinus,
    AbsoluteValue,
    Kendall,
    PopulationBySample,
    SampleByPopulation,
)


def with_p_value(function: str) -> Mistake:
    """The pair that scipy returns, r and its p-value."""
    return Mistake(
        name=f"p-value returned too ({function})",
        cause="scipy's result, r together with its p-value, is returned whole.",
        remedy=f"Return its first entry, r: scipy.stats.{function}r(x, y)[0].",
        recognise=_first_are_right,
    )


def _first_are_right(given: Outputs, expected: Outputs) -> bool:
    return all(
        given[name].shape == (2,) and distance(given[name][0], np.asarray(right)) <= TOLERANCE
        for name, right in expected.items()
    )
