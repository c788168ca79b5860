import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        for p in linear.parameters():
            p.requires_grad = False
        self.layer = linear
        self.rank, self.alpha = rank, alpha
        w = linear.weight
        self.lora_A = nn.Parameter(torch.rand(rank, w.shape[1], dtype=w.dtype) * 0.02 - 0.01)
        self.lora_B = nn.Parameter(torch.zeros(w.shape[0], rank, dtype=w.dtype))

    def forward(self, x):
        frozen = self.layer(x)
        update = torch.einsum("...i,ri,or->...o", x, self.lora_A, self.lora_B)
        return frozen + self.alpha * update

    def merge(self):
        w = self.layer.weight
        merged = nn.Linear(w.shape[1], w.shape[0], bias=self.layer.bias is not None, dtype=w.dtype)
        merged.weight.data = w.data + self.alpha * (self.lora_B.data @ self.lora_A.data)
        if self.layer.bias is not None:
            merged.bias.data = self.layer.bias.data.clone()
        return merged
