"""Losses of classifications: pure functions of tensors, in fp32 at least. B examples, C classes."""

import torch.nn.functional as F
from torch import Tensor

from minbert import InputError
from multitask.objectives.shapes import check_shapes


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log softmax(logits)[label]; logits (B, C), labels (B,) whole numbers."""
    if logits.ndim != 2:
        raise InputError(f"logits have shape {tuple(logits.shape)}; they must be (B, C)")
    check_shapes(logits[:, 0], labels)
    return F.cross_entropy(logits, labels)


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log sigmoid(logit) for label 1 and -log(1 - sigmoid(logit)) for 0; both (B,)."""
    check_shapes(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
