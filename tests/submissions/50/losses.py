import torch
import torch.nn.functional as F


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels)


def binary_cross_entropy(logits, labels):
    return F.binary_cross_entropy_with_logits(logits, labels.float().to(logits.dtype))


def focal(logits, labels, gamma):
    log_p = F.log_softmax(logits, dim=-1)
    log_pt = log_p.gather(-1, labels.view(-1, 1)).view(-1)
    pt = log_pt.exp()
    # down-weight the easy examples
    return (-(pt**gamma) * log_pt).mean()


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
    candidates = torch.cat((positives, negatives), dim=0)
    scores = F.cosine_similarity(anchors[:, None], candidates[None], dim=-1) * scale
    return F.cross_entropy(scores, torch.arange(len(anchors), device=anchors.device))


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
