"""A student's metrics.py, right, and each mistake of the catalogue as replacements in its text."""

HEADER = """\
from collections import Counter

import numpy as np
import scipy.stats
"""

CORRECT = {
    "accuracy": """
def accuracy(predictions, labels):
    right = np.asarray(predictions) == np.asarray(labels)
    return right.mean()
""",
    "pearson": """
def pearson(x, y):
    x, y = np.asarray(x), np.asarray(y)
    x, y = x - x.mean(), y - y.mean()
    r = (x @ y) / np.sqrt((x @ x) * (y @ y))
    return r
""",
    "spearman": """
def ranks(x):
    order = np.argsort(x, kind="stable")
    found = np.empty(len(x))
    found[order] = np.arange(1, len(x) + 1)
    return np.array([found[x == value].mean() for value in x])


def spearman(x, y):
    x, y = np.asarray(x), np.asarray(y)
    x, y = ranks(x), ranks(y)
    r = np.corrcoef(x, y)[0, 1]
    return r
""",
    "f1": """
def f1(predictions, labels):
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    tp = np.sum((predictions == 1) & (labels == 1))
    fp = np.sum((predictions == 1) & (labels != 1))
    fn = np.sum((predictions != 1) & (labels == 1))
    return 2 * tp / (2 * tp + fp + fn)
""",
    "macro_f1": """
def macro_f1(predictions, labels):
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    classes = sorted(set(labels))
    scores = []
    for c in classes:
        tp = sum(p == c and t == c for p, t in zip(predictions, labels))
        fp = sum(p == c and t != c for p, t in zip(predictions, labels))
        fn = sum(p != c and t == c for p, t in zip(predictions, labels))
        scores.append(2 * tp / (2 * tp + fp + fn))
    return np.mean(scores)
""",
    "entity_f1": """
def spans(tags):
    found, start = [], None
    for i, tag in enumerate([*tags, "O"]):
        if start is not None and not (tag[0] == "I" and tag[2:] == tags[start][2:]):
            found.append((start, i, tags[start][2:]))
            start = None
        if tag != "O" and start is None:
            start = i
    return found


def entity_f1(predicted, tags):
    tp = fp = fn = 0
    for a, b in zip(predicted, tags):
        a, b = set(spans(a)), set(spans(b))
        tp, fp, fn = tp + len(a & b), fp + len(a - b), fn + len(b - a)
    return 2 * tp / (2 * tp + fp + fn)
""",
    "overall_2024": """
def overall_2024(sst, paraphrase, sts):
    return (sst + paraphrase + (sts + 1) / 2) / 3
""",
    "mean_raw": """
def mean_raw(sst, paraphrase, sts):
    return (sst + paraphrase + sts) / 3
""",
}

OF_COUNTS = {
    "precision instead of F1": "tp / max(1, tp + fp)",
    "recall instead of F1": "tp / (tp + fn)",
    "geometric mean of precision and recall": "tp / np.sqrt(max(1, tp + fp) * (tp + fn))",
    "arithmetic mean of precision and recall": "(tp / max(1, tp + fp) + tp / (tp + fn)) / 2",
    "factor 2 missing": "tp / (2 * tp + fp + fn)",
    "intersection over union": "tp / (tp + fp + fn)",
}
F1 = "2 * tp / (2 * tp + fp + fn)"
CENTER = "    x, y = x - x.mean(), y - y.mean()\n"
R = "(x @ y) / np.sqrt((x @ x) * (y @ y))"
RANKS = "np.array([found[x == value].mean() for value in x])"
KENDALL = """\
    a, b = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    r = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
"""
SPANS = "a, b = set(spans(a)), set(spans(b))"
BAG = "a, b = Counter({0} for {1} in spans(a)), Counter({0} for {1} in spans(b))"
COUNTED = [
    ("len(a & b)", "(a & b).total()"),
    ("len(a - b)", "(a - b).total()"),
    ("len(b - a)", "(b - a).total()"),
]
WORDS = "a, b = {{(i, t) for i, t in enumerate(a){0}}}, {{(i, t) for i, t in enumerate(b){0}}}"
TYPES_OF_WORDS = "a, b = ({(i, t[2:]) for i, t in enumerate(s) if t != 'O'} for s in (a, b))"
GATHERED = """\
    tp = fp = fn = 0
    for a, b in zip(predicted, tags):
        a, b = set(spans(a)), set(spans(b))
        tp, fp, fn = tp + len(a & b), fp + len(a - b), fn + len(b - a)
    return 2 * tp / (2 * tp + fp + fn)
"""

# Function -> title of the mistake -> replacements.
MISTAKES: dict[str, dict[str, list[tuple[str, str]]]] = {
    "accuracy": {
        "number instead of share": [("mean", "sum")],
        "share of wrong predictions": [("==", "!=")],
        "in percent": [("return", "return 100 *")],
        "lists compared as a whole": [
            ("np.asarray(predictions) == np.asarray(labels)", "np.array(predictions == labels)")
        ],
    },
    "pearson": {
        "p-value returned too": [("return r", "return scipy.stats.pearsonr(x, y)")],
        "means not subtracted": [(CENTER, "")],
        "covariance over N - 1, deviations over N": [(R, "np.cov(x, y)[0, 1] / (x.std() * y.std())")],
        "covariance over N, deviations over N - 1": [(R, "(x * y).mean() / (x.std(ddof=1) * y.std(ddof=1))")],
        "square of r": [("return r", "return r**2")],
        "1 - r": [("return r", "return 1 - r")],
        "sign of r dropped": [("return r", "return abs(r)")],
        "root of the sums of squares missing": [("np.sqrt((x @ x) * (y @ y))", "((x @ x) * (y @ y))")],
        "divided by the variances": [(R, "(x * y).mean() / (x.var() * y.var())")],
        "covariance instead of correlation": [(R, "(x * y).mean()")],
        "covariance over N - 1 instead of correlation": [(R, "np.cov(x, y)[0, 1]")],
        "ranks instead of values": [(CENTER, "    x, y = ranks(x), ranks(y)\n" + CENTER)],
        "Kendall's tau": [(f"    r = {R}\n", KENDALL)],
    },
    "spearman": {
        "p-value returned too": [("return r", "return scipy.stats.spearmanr(x, y)")],
        "ties in the order of appearance": [(RANKS, "found")],
        "ties at their lowest rank": [("mean()", "min()")],
        "ties at their highest rank": [("mean()", "max()")],
        "ties without gaps": [(RANKS, "np.searchsorted(np.unique(x), x)")],
        "argsort taken for ranks": [(RANKS, "order")],
        "values instead of ranks": [("    x, y = ranks(x), ranks(y)\n", "")],
        "formula for ranks without ties": [
            ("np.corrcoef(x, y)[0, 1]", "1 - 6 * ((x - y) ** 2).sum() / (len(x) * (len(x) ** 2 - 1))")
        ],
        "one list ranked from the top": [("ranks(x), ranks(y)", "ranks(x), ranks(-y)")],
        "square of r": [("return r", "return r**2")],
        "1 - r": [("return r", "return 1 - r")],
        "sign of r dropped": [("return r", "return abs(r)")],
        "Kendall's tau": [("    r = np.corrcoef(x, y)[0, 1]\n", KENDALL)],
        "covariance over N - 1, deviations over N": [
            ("np.corrcoef(x, y)[0, 1]", "np.cov(x, y)[0, 1] / (x.std() * y.std())")
        ],
        "covariance over N, deviations over N - 1": [
            ("np.corrcoef(x, y)[0, 1]", "np.cov(x, y, ddof=0)[0, 1] / (x.std(ddof=1) * y.std(ddof=1))")
        ],
    },
    "f1": {
        "accuracy instead of F1": [(F1, "np.mean(predictions == labels)")],
        "F1 of class 0": [(" tp = ", " predictions, labels = 1 - predictions, 1 - labels\n    tp = ")],
        "mean over both classes": [
            (
                F1,
                "np.mean([2 * tp / (2 * tp + fp + fn),"
                " 2 * (tn := np.sum(predictions + labels == 0)) / (2 * tn + fp + fn)])",
            )
        ],
        "mean weighted by the classes' sizes": [
            (
                F1,
                "np.average([2 * (tn := np.sum(predictions + labels == 0)) / (2 * tn + fp + fn),"
                " 2 * tp / (2 * tp + fp + fn)], weights=np.bincount(labels))",
            )
        ],
        **{title: [(F1, new)] for title, new in OF_COUNTS.items()},
    },
    "macro_f1": {
        "accuracy instead of F1": [("np.mean(scores)", "np.mean(predictions == labels)")],
        "mean weighted by the classes' sizes": [
            ("np.mean(scores)", "np.average(scores, weights=np.bincount(labels))")
        ],
        "F1 of class 1 alone": [("np.mean(scores)", "scores[1]")],
        "classes that are never predicted left out": [("set(labels)", "set(predictions)")],
        "F1 of mean precision and mean recall": [
            (F1, "(tp / max(1, tp + fp), tp / (tp + fn))"),
            ("np.mean(scores)", "2 / (1 / np.mean(scores, 0)).sum()"),
        ],
        **{title: [(F1, new)] for title, new in OF_COUNTS.items()},
    },
    "entity_f1": {
        "words instead of entities": [(SPANS, WORDS.format(" if t != 'O'"))],
        "types of words instead of entities": [(SPANS, TYPES_OF_WORDS)],
        "entity at a sentence's end lost": [('[*tags, "O"]', "tags")],
        "O counted": [(SPANS, WORDS.format(""))],
        "runs of O counted as entities": [
            ('[*tags, "O"]', '[*(tags := ["I-O" if t == "O" else t for t in tags]), "O"]')
        ],
        "entity types not compared": [(SPANS, BAG.format("(s, e)", "s, e, t")), *COUNTED],
        "spans not compared": [(SPANS, BAG.format("t", "s, e, t")), *COUNTED],
        "last words not compared": [(SPANS, BAG.format("(s, t)", "s, e, t")), *COUNTED],
        "B- not heeded": [('tag[0] == "I" and tag[2:]', 'tag != "O" and tag[2:]')],
        "sentences not told apart": [
            (
                GATHERED,
                "    a, b = ({e for tags in s for e in spans(tags)} for s in (predicted, tags))\n"
                "    return 2 * len(a & b) / (len(a) + len(b))\n",
            )
        ],
        "mean over sentences": [
            (
                GATHERED,
                "    scores = []\n"
                "    for a, b in zip(predicted, tags):\n"
                "        a, b = set(spans(a)), set(spans(b))\n"
                "        scores.append(2 * len(a & b) / (len(a) + len(b)))\n"
                "    return np.mean(scores)\n",
            )
        ],
        "mean over types": [
            (
                GATHERED,
                "    both = predicted, tags\n"
                "    a, b = ({(i, *e) for i, s in enumerate(t) for e in spans(s)} for t in both)\n"
                "    scores = []\n"
                "    for kind in {e[3] for e in a | b}:\n"
                "        tp, p, t = (sum(e[3] == kind for e in s) for s in (a & b, a, b))\n"
                "        scores.append(2 * tp / (p + t))\n"
                "    return np.mean(scores)\n",
            )
        ],
        "precision instead of F1": [(F1, "tp / (tp + fp)")],
        "recall instead of F1": [(F1, "tp / (tp + fn)")],
        "share of sentences without a mistake": [
            (GATHERED, "    return np.mean([a == b for a, b in zip(predicted, tags)])\n")
        ],
        "I- without B- dropped": [('if tag != "O" and start', 'if tag[0] == "B" and start')],
        "I- of another type continues the entity": [
            ('tag[0] == "I" and tag[2:] == tags[start][2:]', 'tag[0] == "I"')
        ],
    },
    "overall_2024": {
        "correlation as it is": [("(sts + 1) / 2", "sts")],
        "1 not added to the correlation": [("(sts + 1) / 2", "sts / 2")],
        "correlation plus 1 not halved": [("(sts + 1) / 2", "sts + 1")],
        "sum of the tasks": [(" / 3", "")],
        "whole mean moved": [
            ("(sst + paraphrase + (sts + 1) / 2) / 3", "((sst + paraphrase + sts) / 3 + 1) / 2")
        ],
        "correlation taken for the first argument": [
            ("sst + paraphrase + (sts + 1) / 2", "(sst + 1) / 2 + paraphrase + sts")
        ],
    },
    "mean_raw": {
        "correlation moved to 0..1": [("paraphrase + sts", "paraphrase + (sts + 1) / 2")],
        "sum of the tasks": [(" / 3", "")],
    },
}


def source(function: str | None = None, replacements: list[tuple[str, str]] | None = None) -> str:
    """The right file, or one with replacements in a function, each of something that stands there once."""
    texts = dict(CORRECT)
    for old, new in replacements or []:
        assert texts[function].count(old) == 1, (function, old)
        texts[function] = texts[function].replace(old, new)
    return "\n".join([HEADER, *texts.values()])
