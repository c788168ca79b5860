import torch


def cls_pooling(hidden, mask):
    return hidden.select(1, 0)


def mean_pooling(hidden, mask):
    out = []
    for h, m in zip(hidden, mask):
        h = h * m[:, None]  # zero out the padding
        out.append(h.mean(dim=0))
    return torch.stack(out)


def max_pooling(hidden, mask):
    out = []
    for h, m in zip(hidden, mask):
        h = torch.where(m[:, None] == 1, h, -1e9)  # hide the padding
        out.append(h.max(dim=0).values)
    return torch.stack(out)


def l1_normalize(vectors):
    return torch.stack([v / v.abs().sum().clamp(min=1e-12) for v in vectors])


def l2_normalize(vectors):
    return torch.stack([v / (v**2).sum().sqrt().clamp(min=1e-12) for v in vectors])
