"""Stands in for the CS224N starter's file of this name: the one function that a student's BertModel calls."""

import torch
from torch import Tensor


def get_extended_attention_mask(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The additive mask (B, 1, 1, S) of a mask (B, S) of 1 and 0: 0 at tokens, -10000 at padding."""
    return (1 - attention_mask[:, None, None, :].to(dtype)) * -10000.0
