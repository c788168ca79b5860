"""Mistakes in losses, written in torch: each row of the catalogue once, a shared one at one of its losses."""

import math

import torch
import torch.nn.functional as F

BCE, unit = F.binary_cross_entropy_with_logits, F.normalize


def log_p(logits, labels):
    return logits.log_softmax(-1)[torch.arange(len(labels)), labels]


def focal(logits, labels, gamma):
    return (1 - log_p(logits, labels).exp()) ** gamma * -log_p(logits, labels)


def cos(a, b):
    return F.cosine_similarity(a[:, None], b, dim=-1)


def choose(scores, **options):
    return F.cross_entropy(scores, torch.arange(len(scores)), **options)


def off_diagonal(scores):
    return scores.masked_fill(torch.eye(*scores.shape).bool(), -torch.inf)


def nt_xent(a, b, t):
    both = torch.cat([a, b])
    return F.cross_entropy(off_diagonal(cos(both, both)) / t, torch.arange(len(both)).roll(len(a)))


def of_candidates(a, p, n, s, of_positives, of_negatives):
    counts = torch.cat([of_positives(len(a)), of_negatives(len(a))], dim=1)
    return choose(s * cos(a, torch.cat([p, n])) + counts.log())


def all_rows(size):
    return torch.ones(size, size)


def excess(cosines, labels, pairs=torch.gt):
    return (cosines - cosines[:, None])[pairs(labels[:, None], labels)]


def log_of_one_plus(x):
    return torch.log(1 + x.exp().sum())


def kl(a, b):
    """KL(b, a) of log-probabilities, as torch has it."""
    return F.kl_div(a, b, log_target=True, reduction="batchmean")


def symmetric(a, b):
    return (kl(a, b) + kl(b, a)) / 2


def log_softmaxes(p, q, dim=-1):
    return p.log_softmax(dim), q.log_softmax(dim)


OVERFLOW = "power that overflows or probability that rounds to 0 or 1"
# fmt: off
WRONG = {
    "cross_entropy": {
        "sigmoid before a loss of logits": lambda x, y: F.cross_entropy(x.sigmoid(), y),
        "sigmoid instead of softmax": lambda x, y: F.nll_loss(F.logsigmoid(x), y),
        "logits taken for log-probabilities": F.nll_loss,
        "probability instead of its logarithm": lambda x, y: F.nll_loss(x.softmax(-1), y),
        "softmax over the examples": lambda x, y: F.nll_loss(x.log_softmax(0), y),
        "labels counted from 1": lambda x, y: -log_p(x, y - 1).mean(),
        "mean over classes too": lambda x, y: -(F.one_hot(y, x.shape[1]) * x.log_softmax(-1)).mean(),
        "label smoothing left on": lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1),
        "minus missing": lambda x, y: log_p(x, y).mean(),
        "sum instead of mean": lambda x, y: F.cross_entropy(x, y, reduction="sum"),
        "one loss for each example": lambda x, y: F.cross_entropy(x, y, reduction="none"),
        "divided by N - 1": lambda x, y: F.cross_entropy(x, y, reduction="sum") / (len(y) - 1),
        "logarithm to base 2": lambda x, y: F.cross_entropy(x, y) / math.log(2),
        "no gradient flows": lambda x, y: F.cross_entropy(x, y).item(),
        OVERFLOW: lambda x, y: F.nll_loss(torch.log(x.exp() / x.exp().sum(-1, keepdim=True)), y),
        "probability kept away from 0": lambda x, y: F.nll_loss(torch.log(x.softmax(-1) + 1e-8), y),
    },
    "binary_cross_entropy": {
        "term of label 0 missing": lambda x, y: -(y * F.logsigmoid(x)).mean(),
        "labels the wrong way round": lambda x, y: BCE(x, 1 - y),
        "(N,) and (N, 1) broadcast": lambda x, y: (F.softplus(x) - x * y[:, None]).mean(),
        "probability instead of its logarithm": lambda x, y: -torch.where(y == 1, x, -x).sigmoid().mean(),
        OVERFLOW: lambda x, y: -torch.where(y == 1, x.sigmoid(), 1 - x.sigmoid()).log().mean(),
        "probability kept away from 0": lambda x, y: F.binary_cross_entropy(x.sigmoid(), y),
    },
    "focal": {
        "factor (1 - p)^gamma missing": lambda x, y, gamma: F.cross_entropy(x, y),
        "gamma with the wrong sign": lambda x, y, gamma: focal(x, y, -gamma).mean(),
        "gamma as a factor": lambda x, y, gamma: (gamma * focal(x, y, 1)).mean(),
        "one factor for the whole batch": lambda x, y, gamma:
            (1 - (-F.cross_entropy(x, y)).exp()) ** gamma * F.cross_entropy(x, y),
        "alpha = 0.25 left in": lambda x, y, gamma: 0.25 * focal(x, y, gamma).mean(),
        "last argument ignored": lambda x, y, gamma: focal(x, y, 2.0).mean(),
        "probability instead of its logarithm": lambda x, y, gamma:
            -((1 - log_p(x, y).exp()) ** gamma * log_p(x, y).exp()).mean(),
        "factor cut off from the gradient": lambda x, y, gamma: (
            ((1 - log_p(x, y).exp()) ** gamma).detach() * -log_p(x, y)
        ).mean(),
    },
    "mean_squared_error": {
        "half the squared error": lambda x, y: F.mse_loss(x, y) / 2,
        "root of the mean squared error": lambda x, y: F.mse_loss(x, y).sqrt(),
        "absolute instead of squared error": F.l1_loss,
        "square of the mean difference": lambda x, y: (x.mean() - y.mean()) ** 2,
        "predictions through a sigmoid": lambda x, y: F.mse_loss(x.sigmoid(), y),
    },
    "cosine_similarity_loss": {
        "dot product instead of cosine": lambda u, v, y: F.mse_loss((u * v).sum(-1), y),
        "only one vector of unit length": lambda u, v, y: F.mse_loss((unit(u) * v).sum(-1), y),
        "cosine of the wrong axis": lambda u, v, y: F.mse_loss(F.cosine_similarity(u, v, dim=0), y),
        "labels stretched to -1..1": lambda u, v, y: F.mse_loss(F.cosine_similarity(u, v), 2 * y - 1),
        "labels divided by 5": lambda u, v, y: F.mse_loss(F.cosine_similarity(u, v), y / 5),
        "1 - cosine compared with the labels": lambda u, v, y: F.mse_loss(1 - F.cosine_similarity(u, v), y),
        "mean of 1 - cosine": lambda u, v, y: F.cosine_embedding_loss(u, v, torch.ones_like(y)),
        "cosine moved to 0..1": lambda u, v, y: F.mse_loss((F.cosine_similarity(u, v) + 1) / 2, y),
        "negative cosines cut off": lambda u, v, y: F.mse_loss(F.cosine_similarity(u, v).relu(), y),
        "cosines of all pairs": lambda u, v, y: (cos(u, v) - y).square().mean(),
        "labels not used": lambda u, v, y: (F.cosine_similarity(u, v) - 1).square().mean(),
        "u cut off from the gradient": lambda u, v, y: F.mse_loss(F.cosine_similarity(u.detach(), v), y),
        "v cut off from the gradient": lambda u, v, y: F.mse_loss(F.cosine_similarity(u, v.detach()), y),
    },
    "simcse": {
        "only the anchors of unit length": lambda a, b, t: choose(unit(a) @ b.T / t),
        "normalized along the wrong axis": lambda a, b, t: choose(unit(a, dim=0) @ unit(b, dim=0).T / t),
        "distance instead of cosine": lambda a, b, t: choose(-torch.cdist(a, b) / t),
        "no temperature or scale": lambda a, b, t: choose(cos(a, b)),
        "last argument ignored": lambda a, b, t: choose(cos(a, b) / 0.05),
        "own positive missing in the denominator": lambda a, b, t: (
            off_diagonal(cos(a, b) / t).logsumexp(1) - F.cosine_similarity(a, b) / t
        ).mean(),
        "other anchors among the candidates": lambda a, b, t: choose(
            torch.cat([cos(a, b), off_diagonal(cos(a, a))], dim=1) / t),
        "no softmax over the candidates": lambda a, b, t: -F.cosine_similarity(a, b).mean() / t,
        "first candidate as everyone's class": lambda a, b, t: -(cos(a, b) / t).log_softmax(-1)[:, 0].mean(),
        "softmax before a loss of logits": lambda a, b, t: choose((cos(a, b) / t).softmax(-1)),
        "both directions averaged": lambda a, b, t: (choose(cos(a, b) / t) + choose(cos(b, a) / t)) / 2,
        "the other direction": lambda a, b, t: choose(cos(b, a) / t),
        "both sides as one batch": nt_xent,
        "multiplied by the temperature": lambda a, b, t: choose(cos(a, b) * t),
        "divided by the temperature twice": lambda a, b, t: choose(cos(a, b) / t / t),
    },
    "mnrl": {
        "divided by the scale": lambda a, b, s: choose(cos(a, b) / s),
        "last argument ignored": lambda a, b, s: choose(cos(a, b) * 20),
        "positives cut off from the gradient": lambda a, b, s: choose(cos(a, b.detach()) * s),
    },
    "mnrl_with_negatives": {
        "hard negatives not used": lambda a, p, n, s: choose(s * cos(a, p)),
        "other rows' positives missing": lambda *inputs: of_candidates(*inputs, torch.eye, all_rows),
        "no in-batch candidates": lambda *inputs: of_candidates(*inputs, torch.eye, torch.eye),
        "hard negatives in the place of positives": lambda a, p, n, s: choose(s * cos(a, torch.cat([n, p]))),
        "own positive missing in the denominator": lambda a, p, n, s: (
            off_diagonal(s * cos(a, torch.cat([p, n]))).logsumexp(1) - s * F.cosine_similarity(a, p)
        ).mean(),
        "positives and negatives cut off from the gradient": lambda a, p, n, s: choose(
            s * cos(a, torch.cat([p, n]).detach())),
    },
    "cosent": {
        "pairs the wrong way round": lambda x, y, s: log_of_one_plus(s * excess(x, y, torch.lt)),
        "pairs of equal labels included": lambda x, y, s: log_of_one_plus(s * excess(x, y, torch.ge)),
        "all pairs in the sum": lambda x, y, s: log_of_one_plus(s * (x - x[:, None])),
        "scale missing": lambda x, y, s: log_of_one_plus(excess(x, y)),
        "divided by the scale": lambda x, y, s: log_of_one_plus(excess(x, y) / s),
        "last argument ignored": lambda x, y, s: log_of_one_plus(excess(x, y) * 20),
        "mean over pairs in the logarithm": lambda x, y, s: torch.log(1 + (s * excess(x, y)).exp().mean()),
        "divided by the number of examples": lambda x, y, s: log_of_one_plus(s * excess(x, y)) / len(x),
        "divided by the number of pairs": lambda x, y, s:
            log_of_one_plus(s * excess(x, y)) / len(excess(x, y)),
        "logarithm of each pair": lambda x, y, s: F.softplus(s * excess(x, y)).sum(),
        "mean logarithm of the pairs": lambda x, y, s: F.softplus(s * excess(x, y)).mean(),
        "logarithm to base 2": lambda x, y, s: log_of_one_plus(s * excess(x, y)) / math.log(2),
    },
    "symmetric_kl": {
        "KL(p, q) only": lambda p, q: kl(*log_softmaxes(q, p)),
        "KL(q, p) only": lambda p, q: kl(*log_softmaxes(p, q)),
        "half missing": lambda p, q: 2 * symmetric(*log_softmaxes(p, q)),
        "cross-entropy instead of divergence": lambda p, q:
            (F.cross_entropy(p, q.softmax(-1)) + F.cross_entropy(q, p.softmax(-1))) / 2,
        "logits taken for log-probabilities": lambda p, q:
            (kl(p, q.log_softmax(-1)) + kl(q, p.log_softmax(-1))) / 2,
        "probabilities taken for log-probabilities": lambda p, q:
            (kl(p.softmax(-1), q.log_softmax(-1)) + kl(q.softmax(-1), p.log_softmax(-1))) / 2,
        "divergence from the mean distribution": lambda p, q: sum(
            kl(((p.softmax(-1) + q.softmax(-1)) / 2).log(), x.log_softmax(-1)) / 2 for x in (p, q)),
        "softmax over the examples": lambda p, q: symmetric(*log_softmaxes(p, q, dim=0)),
        "targets cut off from the gradient": lambda p, q: (
            (
                kl(p.log_softmax(-1), q.detach().log_softmax(-1))
                + kl(q.log_softmax(-1), p.detach().log_softmax(-1))
            )
            / 2
        ),
    },
}
UNKNOWN = {
    "cross_entropy": lambda x, y: 1.05 * F.cross_entropy(x, y),
    "binary_cross_entropy": lambda x, y: BCE(x + 0.1, y),
    "focal": lambda x, y, gamma: focal(x, y, gamma + 1).mean(),
    "mean_squared_error": lambda x, y: F.mse_loss(x, y) ** 2,
    "cosine_similarity_loss": lambda u, v, y: ((F.cosine_similarity(u, v) - y) ** 4).mean(),
    "simcse": lambda a, b, t: choose(cos(a, b) / t**0.5),
    "mnrl": lambda a, b, s: choose((s + 1) * cos(a, b)),
    "mnrl_with_negatives": lambda a, p, n, s: choose(s * cos(a, torch.cat([p, n, n]))),
    "cosent": lambda x, y, s: torch.log(2 + (s * excess(x, y)).exp().sum()),
    "symmetric_kl": lambda p, q: symmetric(*log_softmaxes(p, q)) / 1.5,
    "cosent gradient": lambda x, y, s: log_of_one_plus(s * excess((x + x.detach()) / 2, y)),
}
# fmt: on
