import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.base = linear
        self.base.weight.requires_grad = False
        if self.base.bias is not None:
            self.base.bias.requires_grad = False
        self.rank = rank
        self.alpha = alpha
        self.lora_A = nn.Parameter(torch.randn(rank, linear.in_features).to(linear.weight) * 0.01)
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank).to(linear.weight))

    def forward(self, x):
        low = nn.functional.linear(x, self.lora_A)
        up = nn.functional.linear(low, self.lora_B)
        return self.base(x) + (self.alpha / self.rank) * up

    def merge(self):
        """Fold the update into one plain linear layer."""
        has_bias = self.base.bias is not None
        new = nn.Linear(self.base.in_features, self.base.out_features, bias=has_bias)
        new = new.to(self.base.weight.dtype)
        with torch.no_grad():
            new.weight.copy_(self.base.weight + self.lora_B @ self.lora_A)
            if has_bias:
                new.bias.copy_(self.base.bias)
        return new
