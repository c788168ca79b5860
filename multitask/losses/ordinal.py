"""Classes with an order, as C - 1 questions "is it above level k?". B examples, C levels from 0."""

import torch
from torch import Tensor

from minbert import InputError
from multitask.losses.classification import binary_cross_entropy
from multitask.losses.shapes import check_shapes


def ordinal(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of the C - 1 binary cross-entropies an example; logits (B, C - 1), labels (B,) from 0 to C - 1.

    Logit k answers whether the label is above k, as Frank and Hall 2001 cut an ordinal problem; the loss is
    that of CORAL (Cao et al. 2020) with equal weights. Unlike theirs, each logit has weights of
    its own, so that the answers may contradict one another; see `ordinal_levels`.
    """
    if logits.ndim != 2:
        raise InputError(f"logits have shape {tuple(logits.shape)}; they must be (B, C - 1)")
    check_shapes(logits[:, 0], labels)
    thresholds = torch.arange(logits.shape[1], device=labels.device)
    return binary_cross_entropy(logits, labels[:, None] > thresholds)


def ordinal_levels(logits: Tensor) -> Tensor:
    """Counts the questions that a logit above 0 answers with yes: (B, C - 1) -> (B,), 0 to C - 1.

    Answers that contradict one another are counted all the same (as Cao et al. do). To stop at the
    first no would pull such examples to the low end; counting treats both ends of the scale alike.
    """
    return (logits > 0).sum(dim=-1)
