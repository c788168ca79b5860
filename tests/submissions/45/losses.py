import torch
import torch.nn.functional as F


def cross_entropy(logits, labels):
    log_probs = F.log_softmax(logits, dim=1)
    n = logits.shape[0]
    return -log_probs[torch.arange(n), labels].mean()


def binary_cross_entropy(logits, labels):
    return F.binary_cross_entropy_with_logits(logits, labels.float().to(logits.dtype))


def focal(logits, labels, gamma):
    log_p = torch.log_softmax(logits, dim=-1)
    total = 0.0
    for i, y in enumerate(labels.tolist()):
        pt = torch.exp(log_p[i, y])
        total = total - (1 - pt) ** gamma * log_p[i, y]
    return total / len(labels)


def mean_squared_error(predictions, labels):
    return F.mse_loss(predictions, labels)


def cosine_similarity_loss(u, v, labels):
    dots = (u * v).sum(1)
    cos = dots / (u.norm(dim=1) * v.norm(dim=1)).clamp(min=1e-8)
    return torch.mean((cos - labels) ** 2)


def simcse(first, second, temperature):
    sim = F.cosine_similarity(first.unsqueeze(1), second.unsqueeze(0), dim=-1) / temperature
    target = torch.arange(len(first), device=first.device)
    return F.cross_entropy(sim, target)


def mnrl(anchors, positives, scale):
    losses = []
    for i in range(anchors.size(0)):
        row = scale * F.cosine_similarity(anchors[i : i + 1], positives)
        losses.append(torch.logsumexp(row, 0) - row[i])
    return torch.stack(losses).mean()


def mnrl_with_negatives(anchors, positives, negatives, scale):
    candidates = torch.cat((positives, negatives), dim=0)
    scores = F.cosine_similarity(anchors[:, None], candidates[None], dim=-1) * scale
    return F.cross_entropy(scores, torch.arange(len(anchors), device=anchors.device))


def cosent(cosines, labels, scale):
    s = cosines * scale
    diff = s[:, None] - s[None, :]  # s_i - s_j
    keep = labels[:, None] < labels[None, :]
    diff = diff.masked_fill(~keep, float("-inf")).flatten()
    diff = F.pad(diff, (1, 0), value=0.0)
    return torch.logsumexp(diff, dim=0)


def symmetric_kl(p_logits, q_logits):
    loss_pq = F.kl_div(F.log_softmax(q_logits, dim=-1), F.softmax(p_logits, dim=-1), reduction="mean")
    loss_qp = F.kl_div(F.log_softmax(p_logits, dim=-1), F.softmax(q_logits, dim=-1), reduction="mean")
    return (loss_pq + loss_qp) / 2
