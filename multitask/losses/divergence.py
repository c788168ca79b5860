"""Distances of two outputs for the same examples, for SMART and R-Drop. B units, C classes.

Pure functions in fp32 at least, means over the units of the first dimension: examples, or tokens. Both sides
carry gradients; a caller who wants one of them fixed (a teacher, the clean pass of SMART) detaches it.
"""

import torch.nn.functional as F
from torch import Tensor

from minbert import InputError
from multitask.losses.shapes import at_least_fp32, check_shapes


def symmetric_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Mean of KL(p || q) + KL(q || p) between softmax distributions; both (B, C).

    That of SMART for classifications (Jiang et al. 2020, section 2.1); R-Drop takes half of it (Liang et al.
    2021, section 2). The two add up to sum_c (p[c] - q[c]) (log p[c] - log q[c]).
    """
    if p_logits.ndim != 2:
        raise InputError(f"logits have shape {tuple(p_logits.shape)}; they must be (B, C)")
    check_shapes(p_logits, q_logits)
    log_p = F.log_softmax(at_least_fp32(p_logits), dim=-1)
    log_q = F.log_softmax(at_least_fp32(q_logits), dim=-1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1).mean()


def symmetric_binary_kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Computes the same between sigmoids, the mean over all logits; both of one shape, (B,) or (B, C).

    KL(p || q) + KL(q || p) of two coins is (p - q) times the difference of their logits.
    """
    check_shapes(p_logits, q_logits)
    p, q = at_least_fp32(p_logits), at_least_fp32(q_logits)
    return ((p.sigmoid() - q.sigmoid()) * (p - q)).mean()


def squared_difference(p: Tensor, q: Tensor) -> Tensor:
    """Mean of (p - q)^2, SMART's distance for scores (Jiang et al. 2020, section 2.1); both of one shape."""
    check_shapes(p, q)
    return F.mse_loss(at_least_fp32(p), at_least_fp32(q))
