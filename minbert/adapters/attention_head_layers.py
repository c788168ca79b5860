"""Extra hidden layers for each attention head, which BERT does not have."""

import torch
from torch import Tensor, nn

from minbert.kernels.registry import in_use


class AttentionHeadLayer(nn.Module):
    """x + gelu(x W + b) for the context x of each head, with a W and b of its own.

    It is zero at the start, so that it can be put into a pretrained model without changing what it computes.
    T token rows, H heads, K head size, D = H K.
    """

    def __init__(self, heads: int, head_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads, head_size, head_size))
        self.bias = nn.Parameter(torch.zeros(heads * head_size))

    def forward(self, context: Tensor) -> Tensor:  # (T, D) -> (T, D)
        heads, head_size, _ = self.weight.shape
        per_head = context.unflatten(-1, (heads, head_size)).transpose(0, 1)  # (H, T, K)
        bias = self.bias.view(heads, 1, head_size)
        added = in_use().gelu(torch.baddbmm(bias, per_head, self.weight))
        return context + added.transpose(0, 1).flatten(1)
