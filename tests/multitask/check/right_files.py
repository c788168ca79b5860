"""Right ways to write losses and metrics at random: fused or not, fp32 or fp64, loops or matrices.

A rule has several texts; `<rule:a,b>` in a text stands for one of that rule's with a for $0 and b for $1.
"""

import re
from collections.abc import Mapping
from random import Random

Rules = Mapping[str, tuple[str, ...]]
PLACE = re.compile(r"<([a-z_0-9]+)(?::([^<>]*))?>")


def random_file(rules: Rules, random: Random) -> str:
    text = "<file>"
    while place := PLACE.search(text):
        chosen = random.choice(rules[place[1]])
        for number, argument in enumerate((place[2] or "").split(",")):
            chosen = chosen.replace(f"${number}", argument)
        indent = re.search(r"[ ]*$", text[: place.start()])[0]  # of a place on a line of its own
        text = text[: place.start()] + chosen.replace("\n", f"\n{indent}") + text[place.end() :]
    return text


LOSSES: Rules = {
    "file": (
        """\
import math
import torch
import torch.nn.functional as F
from torch import nn

def cross_entropy(logits, labels):
    <one:logits,table>
    <of_scores:logits,labels,log_softmax>

def binary_cross_entropy(logits, labels):
    <two:logits,labels,list>
    <binary>

def focal(logits, labels, gamma):
    <one:logits,table>
    <log_p_of_labels>
    losses = <focal>
    return <mean:losses>

def mean_squared_error(predictions, labels):
    <two:predictions,labels,list>
    <squares:predictions>

def cosine_similarity_loss(u, v, labels):
    <two:u,v,table>
    cosine = <pair_cosines>
    labels = labels.to(cosine.dtype)
    <squares:cosine>

def simcse(first, second, temperature):
    <two:first,second,table>
    scores = <scores:first,second,(1 / temperature)>
    <in_batch>

def mnrl(anchors, positives, scale):
    <two:anchors,positives,table>
    scores = <scores:anchors,positives,scale>
    <in_batch>

def mnrl_with_negatives(anchors, positives, negatives, scale):
    <three:anchors,positives,negatives,table>
    <scores_with_negatives>
    <in_batch>

def cosent(cosines, labels, scale):
    <one:cosines,list>
    <cosent>

def symmetric_kl(p_logits, q_logits):
    <two:p_logits,q_logits,table>
    <symmetric_kl>
""",
    ),
    "one": ("<$1:$0>", "$0 = $0.double()"),
    "two": ("<$2:$0>\n<$2:$1>", "$0, $1 = $0.double(), $1.to(torch.float64).contiguous()"),
    "three": ("<$3:$0>\n<$3:$1>\n<$3:$2>", "$0, $1, $2 = $0.double(), $1.double(), $2.double()"),
    "list": ("pass", "$0 = $0.clone()", "$0 = torch.stack([$0, $0], dim=-1)[..., 0]", "$0 *= 1.0"),
    "table": ("<list:$0>", "<list:$0>", "$0 = $0.T.contiguous().T"),
    "log_softmax": (
        "F.log_softmax($0, dim=-1)",
        "($0 - $0.logsumexp(-1, keepdim=True))",
        "torch.stack([row - torch.logsumexp(row, 0) for row in $0])",
    ),
    "moderate_log_softmax": (  # right where logits are not large
        "<log_softmax:$0>",
        "torch.softmax($0, dim=-1).log()",
        "($0 - $0.exp().sum(-1, keepdim=True).log())",
        "(torch.exp($0) / torch.einsum('nc->n', torch.exp($0))[:, None]).log()",
    ),
    "picked": (
        "$0[torch.arange(len($1)), $1]",
        "$0.gather(1, $1[:, None]).squeeze(1)",
        "torch.einsum('nc,nc->n', $0, F.one_hot($1, $0.shape[1]).to($0.dtype))",
    ),
    "mean": ("$0.mean()", "$0.sum() / len($0)", "torch.stack(tuple($0)).mean()"),
    "of_scores": (
        "return F.cross_entropy($0, $1)",
        "return F.nll_loss(<$2:$0>, $1)",
        "log_p = <$2:$0>\nlosses = -<picked:log_p,$1>\nreturn <mean:losses>",
    ),
    "binary": (
        "return F.binary_cross_entropy_with_logits(logits, labels)",
        "return F.cross_entropy(torch.stack([torch.zeros_like(logits), logits], 1), labels.long())",
        "losses = <binary_losses>\nreturn <mean:losses>",
    ),
    "binary_losses": (
        "-(labels * F.logsigmoid(logits) + (1 - labels) * F.logsigmoid(-logits))",
        "logits.clamp(min=0) - logits * labels + torch.log1p(torch.exp(-logits.abs()))",
        "torch.where(labels > 0.5, F.softplus(-logits), F.softplus(logits))",
    ),
    "log_p_of_labels": (
        "log_p = <moderate_log_softmax:logits>\nlog_p = <picked:log_p,labels>",
        "log_p = -F.cross_entropy(logits, labels, reduction='none')",
    ),
    "focal": (
        "-((1 - log_p.exp()) ** gamma) * log_p",
        "-torch.exp(gamma * torch.log1p(-log_p.exp())) * log_p",
    ),
    "squares": (
        "return F.mse_loss($0, labels)",
        "return torch.dot($0 - labels, $0 - labels) / len(labels)",
        "losses = ($0 - labels) ** 2\nreturn <mean:losses>",
    ),
    "unit": (
        "F.normalize($0, dim=-1)",
        "($0 / ($0 ** 2).sum(-1, keepdim=True).sqrt())",
        "torch.stack([row / torch.sqrt(row @ row) for row in $0])",
    ),
    "pair_cosines": (
        "F.cosine_similarity(u, v)",
        "(<unit:u> * <unit:v>).sum(-1)",
        "torch.stack([a @ b / a.norm() / b.norm() for a, b in zip(u, v)])",
        "(<unit:u> @ <unit:v>.T).diagonal()",
    ),
    "scores": (  # cosines of all pairs of $0 and $1, times $2
        "<unit:$0> @ <unit:$1>.T * $2",
        "(math.sqrt($2) * <unit:$0>) @ (math.sqrt($2) * <unit:$1>).transpose(0, 1)",
        "torch.einsum('nd,md->nm', <unit:$0>, <unit:$1>) * $2",
        "$2 * ($0 @ $1.T) / $0.norm(dim=1)[:, None] / $1.norm(dim=1)",
    ),
    "scores_with_negatives": (
        "others = torch.cat([positives, negatives])\nscores = <scores:anchors,others,scale>",
        "scores = torch.cat(\n"
        "    [<scores:anchors,positives,scale>, <scores:anchors,negatives,scale>], dim=1\n)",
    ),
    "in_batch": (
        "target = torch.arange(len(scores))\n<of_scores:scores,target,moderate_log_softmax>",
        "target = torch.tensor(range(len(scores)))\n<of_scores:scores,target,moderate_log_softmax>",
    ),
    "cosent": (
        "e = scale * (cosines.unsqueeze(0) - cosines.unsqueeze(1))\n"
        "e = e - (labels[:, None] <= labels[None]).to(e.dtype) * 1e12\n"
        "return torch.logsumexp(torch.cat([e.new_zeros(1), e.view(-1)]), dim=0)",
        "terms = [torch.zeros_like(cosines[0])]\n"
        "for i in range(len(labels)):\n"
        "    for j in range(len(labels)):\n"
        "        if labels[i] > labels[j]:\n"
        "            terms.append((cosines[j] - cosines[i]) * scale)\n"
        "return torch.stack(terms).logsumexp(0)",
        "p = torch.exp(scale * cosines)\n"
        "higher = (labels[:, None] > labels[None]).to(p.dtype)\n"
        "return torch.log1p(torch.einsum('i,ij,j->', 1 / p, higher, p))",
    ),
    "symmetric_kl": (
        "a, b = <moderate_log_softmax:p_logits>, <moderate_log_softmax:q_logits>\n<divergence>",
        "p, q = (torch.distributions.Categorical(logits=x) for x in (p_logits, q_logits))\n"
        "kl = torch.distributions.kl_divergence\n"
        "return torch.stack([kl(p, q), kl(q, p)]).mean()",
    ),
    "divergence": (
        "kl = nn.KLDivLoss(reduction='batchmean')\nreturn (kl(a, b.exp()) + kl(b, a.exp())) / 2",
        "return 0.5 * F.kl_div(a, b, log_target=True, reduction='none').sum(-1).mean()"
        " + 0.5 * F.kl_div(b, a, log_target=True, reduction='sum') / len(b)",
        "losses = ((a.exp() - b.exp()) * (a - b)).sum(-1) / 2\nreturn <mean:losses>",
    ),
}

METRICS: Rules = {
    "file": (
        """\
import math
import statistics
from collections import Counter
import numpy as np
import scipy.stats
import sklearn.metrics
import torch

def accuracy(a, b):
    <accuracy>

def pearson(a, b):
    <pearson>

def spearman(a, b):
    <spearman>

def f1(a, b):
    <f1>

def macro_f1(a, b):
    <macro_f1>

def spans(tags):
    <spans>

def entity_f1(a, b):
    <entity_f1>
    <of_counts>
    return f1

def overall_2024(a, b, c):
    <overall_2024>

def mean_raw(a, b, c):
    <mean_raw>
""",
    ),
    "accuracy": (
        "return float(np.mean(np.asarray(a) == np.asarray(b)))",
        "return sum(x == y for x, y in zip(a, b)) / len(b)",
        "return (torch.tensor(a) == torch.tensor(b)).double().mean().item()",
    ),
    "pearson": (
        "return np.corrcoef(a, b)[0, 1]",
        "return statistics.correlation(list(map(float, a)), list(map(float, b)))",
        "return torch.corrcoef(torch.tensor(np.array([a, b])))[0, 1].item()",
        "a, b = np.asarray(a, dtype=np.float32), np.asarray(b, dtype=np.float32)\n"
        "a, b = a - a.mean(), b - b.mean()\n"
        "return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())",
        "n, p, q = len(a), sum(a) / len(a), sum(b) / len(b)\n"
        "top = sum((x - p) * (y - q) for x, y in zip(a, b))\n"
        "return top / math.sqrt(sum((x - p) ** 2 for x in a) * sum((y - q) ** 2 for y in b))",
    ),
    "spearman": ("return scipy.stats.spearmanr(a, b)[0]", "<ranks>\n<pearson>"),
    "ranks": (
        "a, b = scipy.stats.rankdata(a), scipy.stats.rankdata(b)",
        "a, b = ([sum(y < x for y in s) + (sum(y == x for y in s) - 1) / 2 for x in s] for s in (a, b))",
        "a, b = (np.sign(np.subtract.outer(s, s)).sum(axis=1) for s in (a, b))",
    ),
    "counts": (
        "tp = sum(x == $0 and y == $0 for x, y in zip(a, b))\n"
        "fp = sum(x == $0 and y != $0 for x, y in zip(a, b))\n"
        "fn = sum(x != $0 and y == $0 for x, y in zip(a, b))",
        "p, t = np.asarray(a) == $0, np.asarray(b) == $0\n"
        "tp, fp, fn = (p & t).sum(), (p & ~t).sum(), (t & ~p).sum()",
        "p, t = torch.tensor(a).eq($0), torch.tensor(b).eq($0)\n"
        "tp, fp, fn = (int((x & y).sum()) for x, y in ((p, t), (p, ~t), (~p, t)))",
    ),
    "of_counts": (
        "f1 = 2 * tp / (2 * tp + fp + fn)",
        "f1 = 0.0 if tp == 0 else 2 / ((tp + fp) / tp + (tp + fn) / tp)",
        "pre, rec = tp / max(tp + fp, 1), tp / max(tp + fn, 1)\n"
        "f1 = 2 * pre * rec / (pre + rec) if tp else 0",
    ),
    "f1": ("return sklearn.metrics.f1_score(b, a)", "<counts:1>\n<of_counts>\nreturn f1"),
    "macro_f1": ("return sklearn.metrics.f1_score(b, a, average='macro')", "<each_class>\nreturn <mean>"),
    "each_class": (
        "scores = []\nfor c in <classes>:\n    <counts:c>\n    <of_counts>\n    scores.append(f1)",
    ),
    "classes": ("sorted(set(b))", "np.union1d(a, b).tolist()", "range(max(b) + 1)", "np.unique(b)"),
    "mean": ("np.mean(scores)", "sum(scores) / len(scores)", "float(np.average(scores))"),
    "spans": (  # of one sentence, as a set
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
    ),
    "entity_f1": (
        "a = {(i, e) for i, tags in enumerate(a) for e in spans(tags)}\n"
        "b = {(i, e) for i, tags in enumerate(b) for e in spans(tags)}\n"
        "tp, fp, fn = len(a & b), len(a - b), len(b - a)",
        "a, b = [spans(tags) for tags in a], [spans(tags) for tags in b]\n"
        "tp = sum(len(x & y) for x, y in zip(a, b))\n"
        "fp, fn = sum(map(len, a)) - tp, sum(map(len, b)) - tp",
    ),
    "overall_2024": (
        "return (a + b + (c + 1) / 2) / 3",
        "return float(torch.tensor([a, b, (c + 1) / 2]).mean())",
    ),
    "mean_raw": ("return (a + b + c) / 3", "return torch.tensor([a, b, c]).mean().item()"),
}
