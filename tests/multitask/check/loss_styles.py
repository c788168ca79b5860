"""The losses as three people would write them: with loops, with einsum, with the modules of torch."""

LOOPS = """
import torch


def cross_entropy(logits, labels):
    total = 0
    for row, label in zip(logits, labels):
        largest = row.max()
        total = total + largest + torch.log(sum(torch.exp(x - largest) for x in row)) - row[label]
    return total / len(labels)


def binary_cross_entropy(logits, labels):
    total = 0
    for x, y in zip(logits, labels):
        x = x if y == 1 else -x
        total = total + (torch.log1p(torch.exp(-x)) if x > 0 else torch.log1p(torch.exp(x)) - x)
    return total / len(labels)


def focal(logits, labels, gamma):
    total = 0
    for row, label in zip(logits, labels):
        p = torch.exp(row[label]) / sum(torch.exp(x) for x in row)
        total = total - (1 - p) ** gamma * torch.log(p)
    return total / len(labels)


def mean_squared_error(predictions, labels):
    return sum((p - y) ** 2 for p, y in zip(predictions, labels)) / len(labels)


def cosine(a, b):
    lengths = torch.sqrt(sum(x * x for x in a)) * torch.sqrt(sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b)) / lengths


def cosine_similarity_loss(u, v, labels):
    return sum((cosine(a, b) - y) ** 2 for a, b, y in zip(u, v, labels)) / len(labels)


def choose(anchors, candidates, scale):
    total = 0
    for i, anchor in enumerate(anchors):
        scores = [scale * cosine(anchor, candidate) for candidate in candidates]
        total = total - scores[i] + torch.log(sum(torch.exp(score) for score in scores))
    return total / len(anchors)


def simcse(first, second, temperature):
    return choose(first, second, 1 / temperature)


def mnrl(anchors, positives, scale):
    return choose(anchors, positives, scale)


def mnrl_with_negatives(anchors, positives, negatives, scale):
    return choose(anchors, [*positives, *negatives], scale)


def cosent(cosines, labels, scale):
    total = 1
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] > labels[j]:
                total = total + torch.exp(scale * (cosines[j] - cosines[i]))
    return torch.log(total)


def symmetric_kl(p_logits, q_logits):
    total = 0
    for p, q in zip(p_logits, q_logits):
        p, q = torch.exp(p) / torch.exp(p).sum(), torch.exp(q) / torch.exp(q).sum()
        for a, b in zip(p, q):
            total = total + a * torch.log(a / b) / 2 + b * torch.log(b / a) / 2
    return total / len(p_logits)
"""

EINSUM = """
import torch
from torch import einsum
from torch.nn.functional import one_hot, softplus


def log_softmax(x):
    x = x - x.amax(-1)[:, None]
    return x - einsum("nc->n", x.exp()).log()[:, None]


def cross_entropy(logits, labels):
    target = one_hot(labels, logits.shape[1]).to(logits.dtype)
    return -einsum("nc,nc->", log_softmax(logits), target) / len(labels)


def binary_cross_entropy(logits, labels):
    return einsum("n->", softplus(logits) - einsum("n,n->n", logits, labels)) / len(labels)


def focal(logits, labels, gamma):
    target = one_hot(labels, logits.shape[1]).to(logits.dtype)
    log_p = einsum("nc,nc->n", log_softmax(logits), target)
    return -einsum("n,n->", (1 - log_p.exp()) ** gamma, log_p) / len(labels)


def mean_squared_error(predictions, labels):
    return einsum("n,n->", predictions - labels, predictions - labels) / len(labels)


def unit(x):
    return einsum("nd,n->nd", x, einsum("nd,nd->n", x, x).rsqrt())


def cosine_similarity_loss(u, v, labels):
    return mean_squared_error(einsum("nd,nd->n", unit(u), unit(v)), labels)


def simcse(first, second, temperature):
    return mnrl(first, second, 1 / temperature)


def mnrl(anchors, positives, scale):
    scores = scale * einsum("nd,md->nm", unit(anchors), unit(positives))
    return -einsum("nn->n", log_softmax(scores)).mean()


def mnrl_with_negatives(anchors, positives, negatives, scale):
    candidates = torch.stack([positives, negatives])
    scores = einsum("nd,kmd->nkm", unit(anchors), unit(candidates.flatten(0, 1)).view_as(candidates))
    scores = scale * scores.flatten(1)
    return -einsum("nn->n", log_softmax(scores)[:, : len(anchors)]).mean()


def cosent(cosines, labels, scale):
    higher = (labels[:, None] > labels).to(cosines.dtype)
    return einsum("i,ij,j->", (-scale * cosines).exp(), higher, (scale * cosines).exp()).log1p()


def symmetric_kl(p_logits, q_logits):
    p, q = log_softmax(p_logits), log_softmax(q_logits)
    return einsum("nc,nc->", p.exp() - q.exp(), p - q) / 2 / len(p)
"""

MODULES = """
import torch
from torch import nn
from torch.nn import functional as F

cross_entropy = nn.CrossEntropyLoss()
binary_cross_entropy = nn.BCEWithLogitsLoss()
mean_squared_error = nn.MSELoss()
cosine = nn.CosineSimilarity(dim=-1)


def focal(logits, labels, gamma):
    losses = nn.CrossEntropyLoss(reduction="none")(logits, labels)
    return ((1 - torch.exp(-losses)) ** gamma * losses).mean()


def cosine_similarity_loss(u, v, labels):
    return mean_squared_error(cosine(u, v), labels)


class InBatch(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, anchors, candidates):
        scores = self.scale * cosine(anchors.unsqueeze(1), candidates.unsqueeze(0))
        return cross_entropy(scores, torch.arange(anchors.size(0), device=scores.device))


def simcse(first, second, temperature):
    return InBatch(1 / temperature)(first, second)


def mnrl(anchors, positives, scale):
    return InBatch(scale)(anchors, positives)


def mnrl_with_negatives(anchors, positives, negatives, scale):
    return InBatch(scale)(anchors, torch.cat((positives, negatives), dim=0))


def cosent(cosines, labels, scale):
    scores = scale * (cosines[None, :] - cosines[:, None])
    scores = scores.masked_fill(~(labels[:, None] > labels[None, :]), float("-inf"))
    return torch.logsumexp(F.pad(scores.flatten(), (1, 0)), dim=0)


def symmetric_kl(p_logits, q_logits):
    p, q = nn.LogSoftmax(-1)(p_logits), nn.LogSoftmax(-1)(q_logits)
    kl = nn.KLDivLoss(reduction="batchmean", log_target=True)
    return (kl(p, q) + kl(q, p)) / 2
"""
