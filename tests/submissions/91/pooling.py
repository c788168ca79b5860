"""Sentence vectors from token vectors, and normalisation of vectors."""


def cls_pooling(hidden, mask):
    return hidden[:, 0]


def mean_pooling(hidden, mask):
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def max_pooling(hidden, mask):
    hidden[mask == 0] = -1e9
    return hidden.amax(dim=1)


def l1_normalize(vectors):
    return vectors / vectors.abs().sum(dim=-1, keepdim=True).clamp(min=1e-12)


def l2_normalize(vectors):
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)
