"""Low-rank adaptation of a linear layer."""

import math

import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear
        for parameter in self.linear.parameters():
            parameter.requires_grad_(False)
        like = {"dtype": linear.weight.dtype, "device": linear.weight.device}
        self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features, **like))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank, **like))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = alpha / rank

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)

    @torch.no_grad()
    def merge(self):
        old = self.linear
        merged = nn.Linear(old.in_features, old.out_features, bias=old.bias is not None)
        merged.to(device=old.weight.device, dtype=old.weight.dtype)
        merged.weight.copy_(old.weight + self.scaling * self.lora_B @ self.lora_A)
        if old.bias is not None:
            merged.bias.copy_(old.bias)
        return merged
