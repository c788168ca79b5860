"""LoRALinear as students write it, in three styles, and each mistake as a change of one."""

PLAIN = """
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class LoRALinear(nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear
        self.linear.weight.requires_grad = False
        self.linear.bias.requires_grad = False
        self.rank = rank
        self.alpha = alpha
        self.scale = alpha / rank
        self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x):
        base = self.linear(x)
        update = x @ self.lora_A.T @ self.lora_B.T
        return base + self.scale * update

    def merge(self):
        merged = nn.Linear(self.linear.in_features, self.linear.out_features)
        product = self.lora_B @ self.lora_A
        merged.weight.data = self.linear.weight.data + self.scale * product.data
        merged.bias.data = self.linear.bias.data.clone()
        return merged
"""

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

EINSUM = """
import torch
from torch import nn


class LoRALinear(nn.Linear):
    def __init__(self, linear, rank, alpha):
        super().__init__(linear.in_features, linear.out_features)
        self.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
        self.lora_A = nn.Parameter(torch.randn(rank, linear.in_features) / rank)
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank))
        self.rank, self.alpha = rank, alpha

    def whole(self):
        product = torch.einsum("or,ri->oi", self.lora_B, self.lora_A)
        return self.weight + product * self.alpha / self.rank

    def forward(self, x):
        return torch.einsum("bsi,oi->bso", x, self.whole()) + self.bias

    def merge(self):
        merged = nn.Linear(self.in_features, self.out_features)
        merged.load_state_dict({"weight": self.whole(), "bias": self.bias})
        return merged
"""

STYLES = {"plain": PLAIN, "modules": MODULES, "einsum": EINSUM}

_WEIGHT = "        self.linear.weight.requires_grad = False\n"
_BIAS = "        self.linear.bias.requires_grad = False\n"
_A = "self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features))"
_B = "self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank))"
_INIT = "nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))"
_BASE = "base = self.linear(x)"
_UPDATE = "update = x @ self.lora_A.T @ self.lora_B.T"
_RETURN = "return base + self.scale * update"
_WHOLE = "self.linear.weight.data + self.scale * product.data"


def _scaled(by: str) -> list[tuple[str, str]]:
    return [(_RETURN, f"return base + {by} * update")]


# name of the mistake -> changes of PLAIN
MISTAKES = {
    "lora_A and lora_B stored transposed": [
        (_A, _A.replace("rank, linear.in_features", "linear.in_features, rank")),
        (_B, _B.replace("linear.out_features, rank", "rank, linear.out_features")),
        (_UPDATE, "update = x @ self.lora_A @ self.lora_B"),
        ("self.lora_B @ self.lora_A", "(self.lora_A @ self.lora_B).T"),
    ],
    "lora_A and lora_B both zero": [(_INIT, "nn.init.zeros_(self.lora_A)")],
    "lora_B not zero at first": [(_INIT, f"{_INIT}\n        nn.init.normal_(self.lora_B)")],
    "lora_A zero at first instead of lora_B": [
        (_INIT, "nn.init.zeros_(self.lora_A)\n        nn.init.normal_(self.lora_B)")
    ],
    "wrapped layer not frozen": [(_WEIGHT, ""), (_BIAS, "")],
    "wrapped layer's bias not frozen": [(_BIAS, "")],
    "wrapped layer's weight not frozen": [(_WEIGHT, "")],
    "adapters frozen": [(_INIT, f"{_INIT}\n        self.requires_grad_(False)")],
    "lora_B frozen": [(_INIT, f"{_INIT}\n        self.lora_B.requires_grad = False")],
    "lora_A frozen": [(_INIT, f"{_INIT}\n        self.lora_A.requires_grad = False")],
    "no alpha / rank": _scaled("1"),
    "scale alpha / sqrt(rank)": _scaled("self.alpha / math.sqrt(self.rank)"),
    "scale rank / alpha": _scaled("self.rank / self.alpha"),
    "scale alpha": _scaled("self.alpha"),
    "scale 1 / rank": _scaled("1 / self.rank"),
    "scale alpha // rank": _scaled("(self.alpha // self.rank)"),
    "scaled twice": _scaled("self.scale * self.scale"),
    "scale alpha / in": _scaled("self.alpha / x.shape[-1]"),
    "the wrapped layer's output scaled too": [(_RETURN, "return self.scale * (base + update)")],
    "adapters subtracted": [(_RETURN, "return base - self.scale * update")],
    "product of lora_A and lora_B transposed": [(_UPDATE, "update = x @ (self.lora_B @ self.lora_A)")],
    "wrapped layer's output missing": [(_RETURN, "return self.scale * update")],
    "wrapped layer's bias missing": [(_BASE, "base = x @ self.linear.weight.T")],
    "bias added twice": [(_RETURN, "return base + self.scale * update + self.linear.bias")],
    "adapters left out": [(_RETURN, "return base")],
    "adapters on the wrapped layer's output": [(_UPDATE, "update = base @ self.lora_A.T @ self.lora_B.T")],
    "gradient of lora_A cut": [(_UPDATE, "update = x @ self.lora_A.data.T @ self.lora_B.T")],
    "gradient of lora_B cut": [(_UPDATE, "update = x @ self.lora_A.T @ self.lora_B.detach().T")],
    "gradients of lora_A and lora_B cut": [(_UPDATE, "update = x @ (self.lora_B @ self.lora_A).detach().T")],
    "gradient through the adapters cut": [
        (f"        {_UPDATE}\n", f"        with torch.no_grad():\n            {_UPDATE}\n")
    ],
    "output without gradients": [("    def forward", "    @torch.no_grad()\n    def forward")],
    "gradient through the wrapped layer cut": [
        (f"        {_BASE}\n", f"        with torch.no_grad():\n            {_BASE}\n")
    ],
    "adapters' input detached": [(_UPDATE, "update = x.detach() @ self.lora_A.T @ self.lora_B.T")],
    "gradient through lora_A cut": [(_UPDATE, "update = (x @ self.lora_A.T).detach() @ self.lora_B.T")],
    "merged without alpha / rank": [(_WHOLE, "self.linear.weight.data + product.data")],
    "merged transposed": [(_WHOLE, "self.linear.weight.data + self.scale * product.data.T")],
    "merged layer without the bias": [
        ("nn.Linear(self.linear.in_features, self.linear.out_features)", "nn.Linear(6, 6, bias=False)"),
        ("        merged.bias.data = self.linear.bias.data.clone()\n", ""),
    ],
    "adapters not merged": [(_WHOLE, "self.linear.weight.data")],
    "merged without the wrapped layer": [(_WHOLE, "self.scale * product.data")],
    "adapters merged twice": [(_WHOLE, f"{_WHOLE} + self.scale * product.data")],
    "adapters subtracted in merging": [(_WHOLE, "self.linear.weight.data - self.scale * product.data")],
}

# Mistakes that no catalogue has: (changes of PLAIN, first stage that shows it).
UNKNOWN = {
    "scale by half": (_scaled("self.scale / 2"), "output"),
    "activation between": ([(_UPDATE, "update = torch.tanh(x @ self.lora_A.T) @ self.lora_B.T")], "output"),
    "first half of the rank": (
        [(_UPDATE, "update = x @ self.lora_A[:1].T @ self.lora_B[:, :1].T")],
        "output",
    ),
    "gradient of the input doubled": (
        [(_RETURN, "return base + self.scale * update + x.sum() - x.sum().detach()")],
        "gradients",
    ),
    "merged bias doubled": ([("self.linear.bias.data.clone()", "2 * self.linear.bias.data")], "merged layer"),
    "extra parameter": (
        [(_INIT, f"{_INIT}\n        self.gate = nn.Parameter(torch.ones(3))")],
        "trained parameters",
    ),
}

# Correct ways to write each part; <place> takes one of them.
VARIANT = """
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
        self.lora_A = nn.Parameter(torch.zeros(rank, linear.in_features))
        self.lora_B = nn.Parameter(<zeros>)
        <init>

    def forward(self, x):
        scale = <scale>
        <forward>

    def merge(self):
        linear, scale = self.linear, <scale>
        <merge>
"""
CHOICES = {
    "freeze": (
        "linear.requires_grad_(False)",
        "for p in linear.parameters(): p.requires_grad = False",
        "self.linear = nn.Linear(linear.in_features, linear.out_features).requires_grad_(False)\n"
        "        self.linear.load_state_dict(linear.state_dict())",
    ),
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
        "return F.linear(F.linear(scale * x, self.lora_A), self.lora_B).add(self.linear(x))",
        "return F.linear(x, self.linear.weight + scale * self.lora_B @ self.lora_A, self.linear.bias)",
        "return self.linear(x) + x @ (scale * self.lora_B @ self.lora_A).t()",
        "return torch.baddbmm(self.linear(x), x @ self.lora_A.t(), self.lora_B.t().expand(len(x), -1, -1),"
        " alpha=scale)",
        "return (self.linear(x).double() + scale * (x.double() @ self.lora_A.double().T)"
        " @ self.lora_B.double().T).float()",
        "return sum([self.linear(x)] + [scale * (x @ a)[..., None] * b"
        " for a, b in zip(self.lora_A, self.lora_B.T)])",
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
