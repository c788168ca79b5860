import torch
import torch.nn.functional as F


def cross_entropy(logits, labels):
    # log sum exp - logit of the right class
    right = logits.gather(1, labels[:, None])[:, 0]
    return (logits.logsumexp(1) - right).mean()


def binary_cross_entropy(logits, labels):
    return F.binary_cross_entropy_with_logits(logits, labels.float().to(logits.dtype))


def focal(logits, labels, gamma):
    ce = F.cross_entropy(logits, labels, reduction="none")
    pt = torch.exp(-ce)
    return ((1 - pt) ** gamma * ce).mean()


def mean_squared_error(predictions, labels):
    return F.mse_loss(predictions, labels)


def cosine_similarity_loss(u, v, labels):
    cos = F.cosine_similarity(u, v, dim=1)
    return F.mse_loss(cos, labels)


def simcse(first, second, temperature):
    sim = F.cosine_similarity(first.unsqueeze(1), second.unsqueeze(0), dim=-1) / temperature
    target = torch.arange(len(first), device=first.device)
    return F.cross_entropy(sim, target)


def mnrl(anchors, positives, scale):
    a, p = F.normalize(anchors, dim=1), F.normalize(positives, dim=1)
    scores = scale * a.mm(p.t())
    return F.cross_entropy(scores, torch.arange(scores.size(0), device=scores.device))


def mnrl_with_negatives(anchors, positives, negatives, scale):
    a = F.normalize(anchors, dim=-1)
    in_batch = a @ F.normalize(positives, dim=-1).T
    hard = (a * F.normalize(negatives, dim=-1)).sum(-1, keepdim=True)
    logits = scale * torch.cat([in_batch, hard], dim=1)
    return F.cross_entropy(logits, torch.arange(a.size(0), device=a.device))


def cosent(cosines, labels, scale):
    terms = [torch.zeros((), dtype=cosines.dtype)]
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] > labels[j]:
                terms.append(scale * (cosines[j] - cosines[i]))
    return torch.logsumexp(torch.stack(terms), dim=0)


def symmetric_kl(p_logits, q_logits):
    p, q = F.log_softmax(p_logits, -1), F.log_softmax(q_logits, -1)
    one = F.kl_div(q, p, reduction="batchmean", log_target=True)
    two = F.kl_div(p, q, reduction="batchmean", log_target=True)
    return (one + two) / 2
