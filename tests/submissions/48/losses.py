import torch
import torch.nn.functional as F


def cross_entropy(logits, labels):
    log_probs = F.log_softmax(logits, dim=1)
    n = logits.shape[0]
    return -log_probs[torch.arange(n), labels].mean()


def binary_cross_entropy(logits, labels):
    pos = F.logsigmoid(logits)
    neg = F.logsigmoid(-logits)
    return -(labels * pos + (1 - labels) * neg).mean()


def focal(logits, labels, gamma):
    ce = F.cross_entropy(logits, labels, reduction="none")
    pt = torch.exp(-ce)
    return ((1 - pt) ** gamma * ce).mean()


def mean_squared_error(predictions, labels):
    predictions = predictions.view(-1, 1)
    err = (predictions - labels) ** 2
    return err.mean()


def cosine_similarity_loss(u, v, labels):
    cos = F.cosine_similarity(u, v, dim=1)
    return F.mse_loss(cos, labels)


def simcse(first, second, temperature):
    z1 = first / first.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    z2 = second / second.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    sim = z1 @ z2.t() / temperature
    return -torch.diag(torch.log_softmax(sim, dim=1)).mean()


def mnrl(anchors, positives, scale):
    a, p = F.normalize(anchors, dim=1), F.normalize(positives, dim=1)
    scores = scale * a.mm(p.t())
    return F.cross_entropy(scores, torch.arange(scores.size(0), device=scores.device))


def mnrl_with_negatives(anchors, positives, negatives, scale):
    a, p, n = (F.normalize(x, dim=1) for x in (anchors, positives, negatives))
    scores = scale * torch.hstack([a @ p.T, a @ n.T])
    return -scores.log_softmax(dim=1).diagonal().mean()


def cosent(cosines, labels, scale):
    terms = [torch.zeros((), dtype=cosines.dtype)]
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] > labels[j]:
                terms.append(scale * (cosines[j] - cosines[i]))
    return torch.logsumexp(torch.stack(terms), dim=0)


def symmetric_kl(p_logits, q_logits):
    p, q = p_logits.softmax(-1), q_logits.softmax(-1)
    log_ratio = p_logits.log_softmax(-1) - q_logits.log_softmax(-1)
    kl_pq = (p * log_ratio).sum(-1)
    kl_qp = (q * -log_ratio).sum(-1)
    return ((kl_pq + kl_qp) / 2).mean()
