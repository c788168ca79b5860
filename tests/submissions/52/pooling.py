import torch
import torch.nn.functional as F


def cls_pooling(hidden, mask):
    return hidden[:, 0, :]


def mean_pooling(hidden, mask):
    m = mask.unsqueeze(-1).expand(hidden.size()).to(hidden.dtype)
    return torch.sum(hidden * m, 1) / torch.clamp(m.sum(1), min=1e-9)


def max_pooling(hidden, mask):
    # set the padding to zero, then take the max
    m = mask.unsqueeze(-1).to(hidden.dtype)
    return torch.max(hidden * m, dim=1)[0]


def l1_normalize(vectors):
    return F.normalize(vectors, p=1, dim=1)


def l2_normalize(vectors):
    return F.normalize(vectors, p=2, dim=1)
