import copy
import math

import torch
import torch.nn as nn


class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear
        # only A and B are trained
        self.linear.requires_grad = False
        out_dim, in_dim = linear.weight.shape
        self.lora_A = nn.Parameter(linear.weight.new_empty(rank, in_dim).normal_(0, 1 / math.sqrt(rank)))
        self.lora_B = nn.Parameter(linear.weight.new_zeros(out_dim, rank))
        self.scale = alpha / rank

    def delta(self):
        return self.scale * torch.mm(self.lora_B, self.lora_A)

    def forward(self, x):
        return self.linear(x) + x.matmul(self.delta().t())

    def merge(self):
        result = copy.deepcopy(self.linear)
        result.weight.data += self.delta().data
        return result
