"""Right ways to write the metrics: numpy, plain Python, torch, scipy and scikit-learn, chosen at random."""

from random import Random

HEADER = """\
import math
import statistics
from collections import Counter

import numpy as np
import scipy.stats
import sklearn.metrics
import torch
"""

# Function -> its bodies; the signature is (a, b).
ACCURACY = (
    "return float(np.mean(np.asarray(a) == np.asarray(b)))",
    "return sum(x == y for x, y in zip(a, b)) / len(b)",
    "return sklearn.metrics.accuracy_score(b, a)",
    "return (torch.tensor(a) == torch.tensor(b)).double().mean().item()",
    "return 1 - np.count_nonzero(np.subtract(a, b)) / len(b)",
    "return np.sum(np.array(a) == np.array(b)) / np.size(b)",
    "return statistics.fmean(int(x == y) for x, y in zip(list(a), list(b), strict=True))",
)
PEARSON = (
    "return np.corrcoef(a, b)[0, 1]",
    "return scipy.stats.pearsonr(a, b)[0]",
    "return scipy.stats.pearsonr(a, b).statistic",
    "return statistics.correlation(list(map(float, a)), list(map(float, b)))",
    "return torch.corrcoef(torch.tensor(np.array([a, b])))[0, 1].item()",
    "a, b = np.asarray(a, dtype=np.float32), np.asarray(b, dtype=np.float32)\n"
    "a, b = a - a.mean(), b - b.mean()\n"
    "return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())",
    "a, b = np.array(a), np.array(b)\nreturn np.cov(a, b)[0, 1] / (a.std(ddof=1) * b.std(ddof=1))",
    "a, b = np.array(a), np.array(b)\n"
    "return ((a * b).mean() - a.mean() * b.mean()) / (np.std(a) * np.std(b))",
    "a, b = scipy.stats.zscore(a), scipy.stats.zscore(b)\nreturn np.mean(a * b)",
    "a, b = torch.tensor(a), torch.tensor(b)\n"
    "return torch.cosine_similarity(a - a.mean(), b - b.mean(), dim=0).item()",
    "n, p, q = len(a), sum(a) / len(a), sum(b) / len(b)\n"
    "top = sum((x - p) * (y - q) for x, y in zip(a, b))\n"
    "return top / math.sqrt(sum((x - p) ** 2 for x in a) * sum((y - q) ** 2 for y in b))",
)
RANKS = (
    "a, b = scipy.stats.rankdata(a), scipy.stats.rankdata(b)",
    "a, b = ([sum(y < x for y in s) + (sum(y == x for y in s) - 1) / 2 for x in s] for s in (a, b))",
    "a, b = ([np.mean([i for i, y in enumerate(sorted(s)) if y == x]) for x in s] for s in (a, b))",
    "def ranks(s):\n"
    "    s = np.asarray(s)\n"
    "    return (np.searchsorted(np.sort(s), s, 'left') + np.searchsorted(np.sort(s), s, 'right')) / 2\n"
    "a, b = ranks(a), ranks(b)",
    "a, b = (np.sign(np.subtract.outer(s, s)).sum(axis=1) for s in (a, b))",
)
SPEARMAN = (
    "return scipy.stats.spearmanr(a, b)[0]",
    "return scipy.stats.spearmanr(a, b).statistic",
    "return float(scipy.stats.spearmanr(np.array([a, b]), axis=1)[0])",
)
COUNTS = (
    "tp = sum(x == {c} and y == {c} for x, y in zip(a, b))\n"
    "fp = sum(x == {c} and y != {c} for x, y in zip(a, b))\n"
    "fn = sum(x != {c} and y == {c} for x, y in zip(a, b))",
    "p, t = np.asarray(a) == {c}, np.asarray(b) == {c}\n"
    "tp, fp, fn = (p & t).sum(), (p & ~t).sum(), (t & ~p).sum()",
    "p, t = torch.tensor(a).eq({c}), torch.tensor(b).eq({c})\n"
    "tp, fp, fn = (int((x & y).sum()) for x, y in ((p, t), (p, ~t), (~p, t)))",
    "pairs = Counter((x == {c}, y == {c}) for x, y in zip(a, b))\n"
    "tp, fp, fn = pairs[True, True], pairs[True, False], pairs[False, True]",
)
OF_COUNTS = (
    "{score} = 2 * tp / (2 * tp + fp + fn)",
    "{score} = tp / (tp + 0.5 * (fp + fn))",
    "{score} = 0.0 if tp == 0 else 2 / ((tp + fp) / tp + (tp + fn) / tp)",
    "pre, rec = tp / max(tp + fp, 1), tp / max(tp + fn, 1)\n"
    "{score} = 2 * pre * rec / (pre + rec) if tp else 0",
)
F1 = (
    "return sklearn.metrics.f1_score(b, a)",
    "return sklearn.metrics.f1_score(b, a, pos_label=1, average='binary')",
    "return sklearn.metrics.precision_recall_fscore_support(b, a, average='binary')[2]",
)
MACRO_F1 = (
    "return sklearn.metrics.f1_score(b, a, average='macro')",
    "return np.mean(sklearn.metrics.f1_score(b, a, average=None))",
)
CLASSES = ("sorted(set(b))", "np.union1d(a, b).tolist()", "range(max(b) + 1)", "np.unique(b)")
# Spans of one sentence `tags` as a set.
SPANS = (
    "found, start, kind = set(), None, None\n"
    "for i, tag in enumerate(list(tags) + ['O']):\n"
    "    prefix, _, name = tag.partition('-')\n"
    "    if start is not None and (prefix != 'I' or name != kind):\n"
    "        found.add((kind, start, i))\n"
    "        start = None\n"
    "    if prefix != 'O' and start is None:\n"
    "        start, kind = i, name\n"
    "return found",
    "starts = [\n"
    "    i for i, t in enumerate(tags)\n"
    "    if t != 'O' and (t[0] == 'B' or i == 0 or tags[i - 1][2:] != t[2:])\n"
    "]\n"
    "found = set()\n"
    "for i in starts:\n"
    "    end = i + 1\n"
    "    while end < len(tags) and tags[end] == 'I-' + tags[i][2:]:\n"
    "        end += 1\n"
    "    found.add((i, end - 1, tags[i][2:]))\n"
    "return found",
    "found = []\n"
    "before = ''\n"
    "for i, t in enumerate(tags):\n"
    "    if t[0] == 'B' or (t[0] == 'I' and before != t[2:]):\n"
    "        found.append([t[2:], [i]])\n"
    "    elif t[0] == 'I':\n"
    "        found[-1][1].append(i)\n"
    "    before = t[2:]\n"
    "return {(kind, *words) for kind, words in found}",
)
ENTITY_F1 = (
    "a = {(i, e) for i, tags in enumerate(a) for e in spans(tags)}\n"
    "b = {(i, e) for i, tags in enumerate(b) for e in spans(tags)}\n"
    "tp, fp, fn = len(a & b), len(a - b), len(b - a)",
    "a, b = [spans(tags) for tags in a], [spans(tags) for tags in b]\n"
    "tp = sum(len(x & y) for x, y in zip(a, b))\n"
    "fp, fn = sum(map(len, a)) - tp, sum(map(len, b)) - tp",
    "tp = fp = fn = 0\n"
    "for x, y in zip(map(spans, a), map(spans, b)):\n"
    "    tp += len(x & y)\n"
    "    fp += len(x - y)\n"
    "    fn += len(y - x)",
)
OVERALL_2024 = (
    "return (a + b + (c + 1) / 2) / 3",
    "return np.mean([a, b, 0.5 + c / 2])",
    "return statistics.fmean((a, b, 0.5 * (c + 1.0)))",
    "return a / 3 + b / 3 + (c + 1) / 6",
    "return float(torch.tensor([a, b, (c + 1) / 2]).mean())",
)
MEAN_RAW = (
    "return (a + b + c) / 3",
    "return np.mean((a, b, c))",
    "return statistics.mean([a, b, c])",
    "return sum([a, b, c]) / 3.0",
    "return torch.tensor([a, b, c]).mean().item()",
)


class RandomMetrics:
    """Texts of right files; each function is chosen at random, or put together from right steps."""

    def __init__(self, seed: int):
        self.random = Random(seed)

    def source(self) -> str:
        one = self.random.choice
        by_counts = one(COUNTS).format(c=1) + "\n" + one(OF_COUNTS).format(score="f1") + "\nreturn f1"
        bodies = {
            "accuracy(a, b)": one(ACCURACY),
            "pearson(a, b)": one(PEARSON),
            "spearman(a, b)": one((*SPEARMAN, *[f"{ranks}\n{one(PEARSON)}" for ranks in RANKS])),
            "f1(a, b)": one((*F1, by_counts, by_counts, by_counts)),
            "macro_f1(a, b)": one((*MACRO_F1, *[self.each_class()] * 4)),
            "spans(tags)": one(SPANS),
            "entity_f1(a, b)": f"{one(ENTITY_F1)}\n{one(OF_COUNTS).format(score='f1')}\nreturn f1",
            "overall_2024(a, b, c)": one(OVERALL_2024),
            "mean_raw(a, b, c)": one(MEAN_RAW),
        }
        return "\n\n".join([HEADER, *(f"def {head}:\n{indented(body)}" for head, body in bodies.items())])

    def each_class(self) -> str:
        one = self.random.choice
        steps = f"{one(COUNTS).format(c='c')}\n{one(OF_COUNTS).format(score='f1')}\nscores.append(f1)"
        mean = one(("np.mean(scores)", "sum(scores) / len(scores)", "float(np.average(scores))"))
        return f"scores = []\nfor c in {one(CLASSES)}:\n{indented(steps)}\nreturn {mean}"


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
