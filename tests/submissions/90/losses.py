"""Losses; each is the mean over the examples."""

import torch
import torch.nn.functional as F


def _cosines(rows, columns):
    return F.normalize(rows) @ F.normalize(columns.T)


def _own_column(scores):
    """Cross-entropy of a score matrix in which row i belongs to column i."""
    return cross_entropy(scores, torch.arange(scores.size(0), device=scores.device))


def cross_entropy(logits, labels):
    return -logits.log_softmax(dim=-1).gather(1, labels.unsqueeze(1)).mean()


def binary_cross_entropy(logits, labels):
    return (F.softplus(logits) - logits * labels).mean()


def focal(logits, labels, gamma):
    log_p = logits.log_softmax(dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()


def mean_squared_error(predictions, labels):
    return ((predictions - labels) ** 2).mean()


def cosine_similarity_loss(u, v, labels):
    return mean_squared_error((F.normalize(u, dim=-1) * F.normalize(v, dim=-1)).sum(dim=-1), labels)


def simcse(first, second, temperature):
    return _own_column(_cosines(first, second) / temperature)


def mnrl(anchors, positives, scale):
    return _own_column(scale * _cosines(anchors, positives))


def mnrl_with_negatives(anchors, positives, negatives, scale):
    return _own_column(scale * _cosines(anchors, torch.cat([positives, negatives])))


def cosent(cosines, labels, scale):
    differences = scale * (cosines.unsqueeze(0) - cosines.unsqueeze(1))  # [i, j] is cos_j - cos_i
    chosen = differences[labels.unsqueeze(1) > labels.unsqueeze(0)]
    return torch.logsumexp(torch.cat([chosen.new_zeros(1), chosen]), dim=0)


def symmetric_kl(p_logits, q_logits):
    log_p, log_q = p_logits.log_softmax(dim=-1), q_logits.log_softmax(dim=-1)
    # KL(p, q) + KL(q, p) is the sum of (p - q) (log p - log q)
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1).mean()
