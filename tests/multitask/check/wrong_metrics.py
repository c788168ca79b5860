"""Mistakes in metrics, written with numpy, scipy, scikit-learn and plain Python."""

import numpy as np
import scipy.stats
import sklearn.metrics


def r_of(x, y):
    return np.corrcoef(x, y)[0, 1]


def ranked(method, *lists):
    return r_of(*(scipy.stats.rankdata(values, method) for values in lists))


def tau(x, y):
    return scipy.stats.kendalltau(x, y).statistic


def precision_and_recall(predictions, labels, average="binary"):
    return sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, average=average, zero_division=0
    )[:2]


def f1(predictions, labels, /, average="binary", **options):
    return sklearn.metrics.f1_score(labels, predictions, average=average, **options)


def of_classes(score):
    """Returns the mean over the classes of a score of precision and recall."""
    return lambda a, b: np.mean([score(p, r) for p, r in zip(*precision_and_recall(a, b, None), strict=True)])


def spans(tags, begins=lambda tag, before: tag[0] == "B" or before[2:] != tag[2:]):
    """(type, first word, last word)"""
    found = []
    for i, (before, tag) in enumerate(zip(["O", *tags], tags, strict=False)):
        if tag != "O" and (before == "O" or begins(tag, before)):
            found.append([tag[2:], i, i])
        elif tag != "O":
            found[-1][2] = i
    return [tuple(span) for span in found]


def f1_of(a, b):
    """F1 of two bags."""
    a, b = list(a), list(b)
    return 2 * sum(min(a.count(x), b.count(x)) for x in {*a}) / (len(a) + len(b))


def entity_f1(spans_of=spans, kept=lambda sentence, type, first, last: (sentence, type, first, last)):
    def bag(sentences):
        return [kept(i, *span) for i, tags in enumerate(sentences) for span in spans_of(tags)]

    return lambda a, b: f1_of(bag(a), bag(b))


def of_types(a, b):
    types = sorted({type for tags in b for type, _, _ in spans(tags)})
    return np.mean(
        [entity_f1(lambda tags, one=one: [s for s in spans(tags) if s[0] == one])(a, b) for one in types]
    )


def found_by(total):
    """Returns the share of entities that are right, of the predicted ones (0) or the true ones (1)."""

    def share(*sides):
        a, b = ({(i, *span) for i, tags in enumerate(side) for span in spans(tags)} for side in sides)
        return len(a & b) / len((a, b)[total])

    return share


def words(tags, outside=True, typed=False):
    return [(t[2:] if typed else t, i, i) for i, t in enumerate(tags) if outside or t != "O"]


# fmt: off
WRONG = {
    "accuracy": {
        "number instead of share": lambda a, b: sklearn.metrics.accuracy_score(b, a, normalize=False),
        "share of wrong predictions": lambda a, b: sklearn.metrics.zero_one_loss(b, a),
        "in percent": lambda a, b: 100 * sklearn.metrics.accuracy_score(b, a),
        "lists compared as a whole": lambda a, b: np.mean(a == b),
    },
    "pearson": {
        "p-value returned too": scipy.stats.pearsonr,
        "means not subtracted": lambda x, y: np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y),
        "covariance over N - 1, deviations over N": lambda x, y: np.cov(x, y)[0, 1] / np.std(x) / np.std(y),
        "square of r": lambda x, y: scipy.stats.linregress(x, y).rvalue ** 2,
        "1 - r": lambda x, y: 1 - r_of(x, y),
        "sign of r dropped": lambda x, y: abs(r_of(x, y)),
        "root of the sums of squares missing": lambda x, y:
            np.cov(x, y)[0, 1] / np.var(x) / np.var(y) * (len(x) - 1) / len(x) ** 2,
        "divided by the variances": lambda x, y: np.cov(x, y, ddof=0)[0, 1] / np.var(x) / np.var(y),
        "covariance instead of correlation": lambda x, y: np.cov(x, y, ddof=0)[0, 1],
        "covariance over N - 1 instead of correlation": lambda x, y: np.cov(x, y)[0, 1],
        "ranks instead of values": lambda x, y: scipy.stats.spearmanr(x, y).statistic,
        "Kendall's tau": tau,
    },
    "spearman": {
        "p-value returned too": scipy.stats.spearmanr,
        "ties at their lowest rank": lambda x, y: ranked("min", x, y),
        "ties at their highest rank": lambda x, y: ranked("max", x, y),
        "ties without gaps": lambda x, y: ranked("dense", x, y),
        "argsort taken for ranks": lambda x, y: r_of(
            *(np.argsort(values, kind="stable") for values in (x, y))),
        "values instead of ranks": r_of,
        "formula for ranks without ties": lambda x, y:
            1 - 6 * ((scipy.stats.rankdata(x) - scipy.stats.rankdata(y)) ** 2).sum() / (len(x) ** 3 - len(x)),
        "one list ranked from the top": lambda x, y: ranked("average", x, -np.array(y)),
        "Kendall's tau": tau,
    },
    "f1": {
        "accuracy instead of F1": lambda a, b: f1(a, b, "micro"),
        "F1 of class 0": lambda a, b: f1(a, b, pos_label=0),
        "mean over both classes": lambda a, b: f1(a, b, "macro"),
        "mean weighted by the classes' sizes": lambda a, b: f1(a, b, "weighted"),
        "precision instead of F1": lambda a, b: sklearn.metrics.precision_score(b, a),
        "recall instead of F1": lambda a, b: sklearn.metrics.recall_score(b, a),
        "geometric mean of precision and recall": lambda a, b: np.sqrt(np.prod(precision_and_recall(a, b))),
        "factor 2 missing": lambda a, b: f1(a, b) / 2,
        "intersection over union": lambda a, b: sklearn.metrics.jaccard_score(b, a),
    },
    "macro_f1": {
        "accuracy instead of F1": lambda a, b: f1(a, b, "micro"),
        "F1 of class 1 alone": lambda a, b: f1(a, b, None)[1],
        "classes that are never predicted left out": lambda a, b: f1(a, b, "macro", labels=np.unique(a)),
        "F1 of mean precision and mean recall": lambda a, b: scipy.stats.hmean(
            precision_and_recall(a, b, "macro")),
        "precision instead of F1": lambda a, b: precision_and_recall(a, b, "macro")[0],
        "recall instead of F1": lambda a, b: sklearn.metrics.balanced_accuracy_score(b, a),
        "arithmetic mean of precision and recall": of_classes(lambda p, r: (p + r) / 2),
        "geometric mean of precision and recall": of_classes(lambda p, r: np.sqrt(p * r)),
        "factor 2 missing": lambda a, b: f1(a, b, "macro") / 2,
        "intersection over union": lambda a, b: sklearn.metrics.jaccard_score(b, a, average="macro"),
    },
    "entity_f1": {
        "words instead of entities": entity_f1(lambda tags: words(tags, outside=False)),
        "types of words instead of entities": entity_f1(lambda tags: words(tags, outside=False, typed=True)),
        "O counted": entity_f1(words),
        "runs of O counted as entities": entity_f1(lambda tags: spans([t.replace("O", "I-") for t in tags])),
        "entity types not compared": entity_f1(
            kept=lambda sentence, type, first, last: (sentence, first, last)),
        "spans not compared": entity_f1(kept=lambda sentence, type, first, last: (sentence, type)),
        "last words not compared": entity_f1(
            kept=lambda sentence, type, first, last: (sentence, type, first)),
        "B- not heeded": entity_f1(lambda tags: spans(tags, lambda tag, before: before[2:] != tag[2:])),
        "mean over sentences": lambda a, b: np.mean(
            [f1_of(spans(x), spans(y)) for x, y in zip(a, b, strict=True)]),
        "mean over types": of_types,
        "precision instead of F1": found_by(0),
        "recall instead of F1": found_by(1),
        "share of sentences without a mistake": lambda a, b: np.mean(
            [x == y for x, y in zip(a, b, strict=True)]),
        "I- without B- dropped": entity_f1(
            lambda tags: [
                (type, i, j)
                for type, i, j in spans(tags)
                if tags[i][0] == "B" or (i and tags[i - 1][2:] == type)
            ]
        ),
        "I- of another type continues the entity": entity_f1(
            lambda tags: spans(tags, lambda tag, before: tag[0] == "B")),
    },
    "overall_2024": {
        "correlation as it is": lambda sst, paraphrase, sts: (sst + paraphrase + sts) / 3,
        "1 not added to the correlation": lambda sst, paraphrase, sts: (sst + paraphrase + sts / 2) / 3,
        "correlation plus 1 not halved": lambda sst, paraphrase, sts: (sst + paraphrase + sts + 1) / 3,
        "sum of the tasks": lambda sst, paraphrase, sts: sst + paraphrase + (sts + 1) / 2,
        "whole mean moved": lambda sst, paraphrase, sts: ((sst + paraphrase + sts) / 3 + 1) / 2,
        "correlation taken for the first argument": lambda sst, paraphrase, sts:
            ((sst + 1) / 2 + paraphrase + sts) / 3,
    },
    "mean_raw": {
        "correlation moved to 0..1": lambda sst, paraphrase, sts: (sst + paraphrase + (sts + 1) / 2) / 3,
        "sum of the tasks": lambda *scores: sum(scores),
    },
}
UNKNOWN = {
    "accuracy": lambda a, b: 0.9 * sklearn.metrics.accuracy_score(b, a),
    "pearson": lambda x, y: abs(r_of(x, y)) ** 0.5,
    "spearman": lambda x, y: scipy.stats.weightedtau(x, y).statistic,
    "f1": lambda a, b: sklearn.metrics.fbeta_score(b, a, beta=2),
    "macro_f1": lambda a, b: np.median(f1(a, b, None)),
    "entity_f1": lambda a, b: 0.75 * entity_f1()(a, b),
    "overall_2024": lambda sst, paraphrase, sts: (sst + paraphrase + (sts + 1) / 2) / 4,
    "mean_raw": lambda *scores: sum(scores) / 2,
}
# fmt: on
