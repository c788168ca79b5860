import math

import torch
from torch.optim import Optimizer


class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, correct_bias=True):
        assert lr >= 0 and eps >= 0
        assert all(0 <= b < 1 for b in betas)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "correct_bias": correct_bias,
            },
        )

    def step(self, closure=None):
        loss = None
        if closure is not None:
            loss = closure()
        for group in self.param_groups:
            lr = group["lr"]
            b1, b2 = group["betas"]
            for p in group["params"]:
                grad = torch.zeros_like(p.data) if p.grad is None else p.grad.data
                state = self.state[p]
                if len(state) == 0:
                    state["t"] = 0
                    state["m"] = torch.zeros_like(p.data)
                    state["v"] = torch.zeros_like(p.data)
                state["t"] += 1
                state["m"] = state["m"] * b1 + grad * (1.0 - b1)
                state["v"] = state["v"] * b2 + grad * grad * (1.0 - b2)
                if group["correct_bias"]:
                    a = lr * math.sqrt(1.0 - b2 ** state["t"]) / (1.0 - b1 ** state["t"])
                else:
                    a = lr
                p.data -= a * state["m"] / (torch.sqrt(state["v"]) + group["eps"])
                p.data -= lr * group["weight_decay"] * p.data
        return loss
