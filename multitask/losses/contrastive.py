"""InfoNCE, the loss behind SimCSE and MNRL: each anchor finds its own positive among a batch's candidates.

B rows, each of K vectors of size D: an anchor, its positive, and K - 2 hard negatives. Fp32 at least.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert import InputError
from multitask.losses.shapes import at_least_fp32


def info_nce(
    vectors: Tensor,
    groups: Tensor | None = None,
    temperature: float | None = 0.05,
    symmetric: bool = False,
    hard_negative_weight: float = 1.0,
) -> Tensor:
    """Mean over anchors of -log(exp(s(own positive)) / sum of exp(s(candidate))); vectors (B, K, D).

    s is the cosine over `temperature`, or with None the plain product, for vectors that are scaled already.
    The candidates of an anchor are the positives and hard negatives of all rows: MNRL (Henderson et al. 2017,
    section 4.4), unsupervised SimCSE where anchor and positive are dropout twins (Gao et al. 2021, equation
    1), supervised SimCSE with hard negatives (equation 5).

    `groups` (B, K) numbers the texts; those of one group are known to mean the same. A candidate of the
    anchor's group is left out, other than the row's own positive. `symmetric` takes the mean with the loss of
    each positive finding its own anchor among all anchors. `hard_negative_weight` is a factor on exp(s) of
    the row's own hard negatives (SimCSE's alpha); 0 leaves them out, and other rows' stay as they are.
    """
    if vectors.ndim != 3 or vectors.shape[1] < 2:
        raise InputError(f"vectors have shape {tuple(vectors.shape)}; they must be (B, K, D), K at least 2")
    if groups is not None and groups.shape != vectors.shape[:2]:
        raise InputError(
            f"groups have shape {tuple(groups.shape)}, vectors {tuple(vectors.shape)}; groups must be (B, K)"
        )
    vectors = at_least_fp32(vectors)
    if temperature is not None:
        # Half of the temperature on each side: logits come scaled, in one product.
        vectors = F.normalize(vectors, dim=-1) / math.sqrt(temperature)
    anchors, positives = vectors[:, 0], vectors[:, 1]
    logits = anchors @ _candidates(vectors).T  # (B, (K - 1) B)
    if vectors.shape[1] > 2 and hard_negative_weight != 1:
        bonus = math.log(hard_negative_weight) if hard_negative_weight else -math.inf
        logits = torch.where(_own_hard_negatives(vectors), logits + bonus, logits)
    if groups is not None:
        logits = logits.masked_fill(_known_positives(groups), -math.inf)
    target = torch.arange(len(vectors), device=vectors.device)
    loss = F.cross_entropy(logits, target)
    if not symmetric:
        return loss
    backward = positives @ anchors.T  # (B, B)
    if groups is not None:
        backward = backward.masked_fill(_same_group(groups[:, 1], groups[:, 0]), -math.inf)
    return (loss + F.cross_entropy(backward, target)) / 2


def count_masked(groups: Tensor) -> Tensor:
    """Counts the candidates that `info_nce` leaves out for all anchors of a batch; (B, K) -> a scalar."""
    return _known_positives(groups).sum()


def _candidates(rows: Tensor) -> Tensor:
    """(B, K, ...) -> ((K - 1) B, ...): all positives, then all first hard negatives, and so on."""
    return rows[:, 1:].transpose(0, 1).flatten(0, 1)


def _known_positives(groups: Tensor) -> Tensor:
    """Returns a mask of candidates in the anchor's group, but for its own positive; (B, (K - 1) B)."""
    return _same_group(groups[:, 0], _candidates(groups))


def _same_group(queries: Tensor, candidates: Tensor) -> Tensor:
    """Compares (B,) with (N,) groups, but for the pairs (i, i); (B, N)."""
    same = queries[:, None] == candidates[None, :]
    return same.fill_diagonal_(False)


def _own_hard_negatives(vectors: Tensor) -> Tensor:
    """Returns a mask of the hard negatives of the anchor's own row; (B, (K - 1) B)."""
    count, size = vectors.shape[:2]
    own = torch.eye(count, dtype=torch.bool, device=vectors.device).repeat(1, size - 1)
    own[:, :count] = False  # the positives
    return own
