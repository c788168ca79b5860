import torch
import torch.nn.functional as F


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels)


def binary_cross_entropy(logits, labels):
    pos = F.logsigmoid(logits)
    neg = F.logsigmoid(-logits)
    return -(labels * pos + (1 - labels) * neg).mean()


def focal(logits, labels, gamma):
    log_p = torch.log_softmax(logits, dim=-1)
    total = 0.0
    for i, y in enumerate(labels.tolist()):
        pt = torch.exp(log_p[i, y])
        total = total - (1 - pt) ** gamma * log_p[i, y]
    return total / len(labels)


def mean_squared_error(predictions, labels):
    diff = predictions - labels
    return torch.mean(diff * diff)


def cosine_similarity_loss(u, v, labels):
    dots = (u * v).sum(1)
    cos = dots / (u.norm(dim=1) * v.norm(dim=1)).clamp(min=1e-8)
    return torch.mean((cos - labels) ** 2)


def simcse(first, second, temperature):
    z1 = first / first.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    z2 = second / second.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    sim = z1 @ z2.t() / temperature
    return -torch.diag(torch.log_softmax(sim, dim=1)).mean()


def mnrl(anchors, positives, scale):
    losses = []
    for i in range(anchors.size(0)):
        row = scale * F.cosine_similarity(anchors[i : i + 1], positives)
        losses.append(torch.logsumexp(row, 0) - row[i])
    return torch.stack(losses).mean()


def mnrl_with_negatives(anchors, positives, negatives, scale):
    a, p, n = (F.normalize(x, dim=1) for x in (anchors, positives, negatives))
    scores = scale * torch.hstack([a @ p.T, a @ n.T])
    return -scores.log_softmax(dim=1).diagonal().mean()


def cosent(cosines, labels, scale):
    cos_diff = cosines[None, :] - cosines[:, None]
    pairs = labels[:, None] > labels[None, :]
    return torch.logsumexp(scale * cos_diff[pairs], dim=0)


def symmetric_kl(p_logits, q_logits):
    p, q = p_logits.softmax(-1), q_logits.softmax(-1)
    log_ratio = p_logits.log_softmax(-1) - q_logits.log_softmax(-1)
    kl_pq = (p * log_ratio).sum(-1)
    kl_qp = (q * -log_ratio).sum(-1)
    return ((kl_pq + kl_qp) / 2).mean()
