"""lora.py."""

TEMPLATE = """
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear
        <freeze>
        self.rank, self.alpha = rank, alpha
        self.lora_A = nn.Parameter(<A>)
        self.lora_B = nn.Parameter(<zeros>)
        <init>

    def forward(self, x):
        scale = <scale>
        <forward>

    def <name>(self):
        linear, scale = self.linear, <scale>
        <merge>
"""
RIGHT = {
    "freeze": (
        "linear.requires_grad_(False)",
        "for p in linear.parameters(): p.requires_grad = False",
        "self.linear = nn.Linear(linear.in_features, linear.out_features).requires_grad_(False)\n"
        "        self.linear.load_state_dict(linear.state_dict())",
    ),
    "A": ("torch.zeros(rank, linear.in_features)",),
    "name": ("merge",),
    "zeros": (
        "torch.zeros(linear.out_features, rank)",
        "torch.zeros(rank, linear.out_features).T",
        "linear.weight.new_zeros(linear.out_features, rank)",
        "torch.zeros_like(linear.weight[:, :rank])",
    ),
    "init": (
        "nn.init.normal_(self.lora_A)",
        "nn.init.xavier_uniform_(self.lora_A)",
        "self.lora_A.data.uniform_(-1e-4, 1e-4)",
        "nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))",
    ),
    "scale": ("self.alpha / self.rank", "self.alpha * self.rank**-1", "self.alpha / self.lora_A.shape[0]"),
    "forward": (
        "return self.linear(x) + scale * (x @ self.lora_A.T) @ self.lora_B.T",
        "return F.linear(x, self.linear.weight + scale * self.lora_B @ self.lora_A, self.linear.bias)",
        "return torch.baddbmm(self.linear(x), x @ self.lora_A.t(), self.lora_B.t().expand(len(x), -1, -1),"
        " alpha=scale)",
        "return (self.linear(x).double() + scale * (x.double() @ self.lora_A.double().T)"
        " @ self.lora_B.double().T).float()",
        "return torch.einsum('bsi,ri,or->bso', x, self.lora_A, self.lora_B) * scale + self.linear(x)",
    ),
    "merge": (
        "m = nn.Linear(linear.in_features, linear.out_features)\n"
        "        m.weight.data = (linear.weight + scale * self.lora_B @ self.lora_A).data\n"
        "        m.bias = linear.bias\n"
        "        return m",
        "linear.weight.data += scale * (self.lora_B @ self.lora_A).data\n        return linear",
        "m = nn.Linear(linear.in_features, linear.out_features)\n"
        "        w = linear.weight.double() + scale * self.lora_B.double() @ self.lora_A.double()\n"
        "        m.load_state_dict({'weight': w.float(), 'bias': linear.bias})\n"
        "        return m",
        "import copy\n        m = copy.deepcopy(linear)\n"
        "        with torch.no_grad(): m.weight.addmm_(self.lora_B, self.lora_A, alpha=scale)\n"
        "        return m",
    ),
}


def scaled(by):
    return {"forward": f"return self.linear(x) + {by} * (x @ self.lora_A.T @ self.lora_B.T)"}


def computed(formula):
    """The output by a formula of the base's output, the adapters A and B, and the scale."""
    return {"forward": f"base, A, B = self.linear(x), self.lora_A, self.lora_B; return {formula}"}


def merged(weight, bias="linear.bias"):
    return {
        "merge": "m = nn.Linear(linear.in_features, linear.out_features)\n"
        "        W, BA = linear.weight, self.lora_B @ self.lora_A\n"
        f"        m.load_state_dict({{'weight': {weight}, 'bias': {bias}}})\n"
        "        return m"
    }


BOTH = "nn.init.normal_(self.lora_A); nn.init.normal_(self.lora_B)"
INIT = RIGHT["init"][0]

# fmt: off
WRONG = {
    "lora_A and lora_B stored transposed": {
        "A": "torch.zeros(linear.in_features, rank)", "zeros": "torch.zeros(rank, linear.out_features)",
        "scale": "self.alpha / self.rank"},
    "lora_A and lora_B both zero": {"init": "pass"},
    "lora_B not zero at first": {"init": BOTH},
    "lora_A zero at first instead of lora_B": {"init": "nn.init.normal_(self.lora_B)"},
    "wrapped layer's bias not frozen": {"freeze": "linear.weight.requires_grad = False"},
    "adapters frozen": {"init": f"{INIT}; self.requires_grad_(False)"},
    "lora_B frozen": {"init": f"{INIT}; self.lora_B.requires_grad = False"},
    "no alpha / rank": scaled("1"),
    "scale alpha / sqrt(rank)": scaled("self.alpha / math.sqrt(self.rank)"),
    "scale alpha // rank": scaled("(self.alpha // self.rank)"),
    "the wrapped layer's output scaled too": computed("scale * (base + x @ A.T @ B.T)"),
    "adapters subtracted": scaled("-scale"),
    "product of lora_A and lora_B transposed": computed("base + scale * (x @ (B @ A))"),
    "wrapped layer's bias missing": computed("x @ self.linear.weight.T + scale * (x @ A.T @ B.T)"),
    "adapters left out": {"forward": "return self.linear(x)"},
    "adapters on the wrapped layer's output": computed("base + scale * (base @ A.T @ B.T)"),
    "gradient of lora_A cut": computed("base + scale * (x @ A.data.T @ B.T)"),
    "gradient of lora_B cut": computed("base + scale * (x @ A.T @ B.detach().T)"),
    "gradients of lora_A and lora_B cut": computed("base + scale * (x @ (B @ A).detach().T)"),
    "gradient through the adapters cut": computed("base + scale * (x @ A.T @ B.T).detach()"),
    "output without gradients": computed("(base + scale * (x @ A.T @ B.T)).detach()"),
    "gradient through the wrapped layer cut": computed("base.detach() + scale * (x @ A.T @ B.T)"),
    "adapters' input detached": computed("base + scale * (x.detach() @ A.T @ B.T)"),
    "gradient through lora_A cut": computed("base + scale * ((x @ A.T).detach() @ B.T)"),
    "merged transposed": merged("W + scale * BA.T"),
    "merged layer without the bias": merged("W + scale * BA", "torch.zeros_like(linear.bias)"),
    "adapters not merged": merged("W"),
}
UNKNOWN = {
    "scale by half": (scaled("scale / 2"), "output"),
    "activation between": (computed("base + scale * (torch.tanh(x @ A.T) @ B.T)"), "output"),
    "gradient of the input doubled": (
        computed("base + scale * (x @ A.T @ B.T) + x.sum() - x.sum().detach()"), "gradients"),
    "merged bias doubled": (merged("W + scale * BA", "2 * linear.bias"), "merged layer"),
    "extra parameter": ({"init": f"{INIT}; self.gate = nn.Parameter(torch.ones(3))"}, "trained parameters"),
}
# fmt: on
MODULES = """
import copy

import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.base = copy.deepcopy(linear).requires_grad_(False)
        self.lora_A = nn.Linear(linear.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, linear.out_features, bias=False)
        nn.init.normal_(self.lora_A.weight, std=0.02)
        nn.init.zeros_(self.lora_B.weight)
        self.register_buffer("scaling", torch.tensor(alpha / rank))

    def forward(self, x):
        return self.base(x) + self.lora_B(self.lora_A(x)) * self.scaling

    @torch.no_grad()
    def merge(self):
        self.base.weight += self.scaling * torch.mm(self.lora_B.weight, self.lora_A.weight)
        return self.base
"""
