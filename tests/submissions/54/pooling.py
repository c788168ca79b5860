import torch


def cls_pooling(hidden, mask):
    cls = hidden[:, 0]
    return cls


def mean_pooling(hidden, mask):
    lengths = mask.sum(dim=1, keepdim=True)
    total = torch.einsum("bsd,bs->bd", hidden, mask.to(hidden.dtype))
    return total / lengths.clamp(min=1)


def max_pooling(hidden, mask):
    hidden = hidden.masked_fill(mask.unsqueeze(2) == 0, -1e9)
    return hidden.max(dim=1).values


def l1_normalize(vectors):
    return vectors / vectors.abs().sum(dim=1, keepdim=True).clamp(min=1e-12)


def l2_normalize(vectors):
    norm = torch.norm(vectors).clamp(min=1e-12)
    return vectors / norm
