"""Losses of classifications: pure functions of tensors, in fp32 at least. B examples, C classes.

All are means over the B examples, class weights or not, so that accumulated batches and several processes
give the gradients of one big batch. `torch.nn.CrossEntropyLoss` divides by the sum of the batch's weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert import InputError
from multitask.losses.shapes import at_least_fp32, check_logits, check_shapes


def cross_entropy(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Mean of -sum_c t[c] w[c] log softmax(logits)[c]; logits (B, C), labels (B,) whole numbers, w (C,).

    Of the target t, the share `label_smoothing` is spread evenly over all C classes (Szegedy et al. 2016,
    section 7) and the rest stands on the label. Without class weights, w is 1.
    """
    check_logits(logits, labels)
    return F.cross_entropy(
        at_least_fp32(logits),
        labels,
        weight=_weights(logits, class_weights),
        label_smoothing=label_smoothing,
        reduction="none",
    ).mean()


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, class_weights: Tensor | None = None) -> Tensor:
    """Mean of -w[label] (1 - p)^gamma log p, p = softmax(logits)[label]; logits (B, C), labels (B,), w (C,).

    The focal loss of Lin et al. 2017, equations 4 and 5; gamma 0 is `cross_entropy`. log(1 - p) is taken from
    the other classes' logits: 1 - p itself rounds to 0, where a power below 1 has no finite gradient.
    """
    check_logits(logits, labels)
    log_probabilities = F.log_softmax(at_least_fp32(logits), dim=-1)  # (B, C)
    is_label = F.one_hot(labels, logits.shape[1]).bool()
    log_p = log_probabilities.gather(1, labels[:, None]).squeeze(1)  # (B,)
    log_rest = log_probabilities.masked_fill(is_label, -torch.inf).logsumexp(dim=-1)  # log(1 - p), (B,)
    losses = -log_p * (gamma * log_rest).exp()
    weights = _weights(logits, class_weights)
    return losses.mean() if weights is None else (weights[labels] * losses).mean()


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log sigmoid(logit) for label 1 and -log(1 - sigmoid(logit)) for 0; both of one shape, (B,)."""
    check_shapes(logits, labels)
    logits = at_least_fp32(logits)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def _weights(logits: Tensor, class_weights: Tensor | None) -> Tensor | None:
    """Returns class weights (C,) in the logits' type. Raises InputError for another number of them."""
    if class_weights is None:
        return None
    if class_weights.shape != logits.shape[1:]:
        raise InputError(
            f"class weights have shape {tuple(class_weights.shape)}, logits {tuple(logits.shape)}; they must "
            f"be one for each class"
        )
    return class_weights.to(at_least_fp32(logits[:0]).dtype)
