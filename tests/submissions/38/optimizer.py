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
        self.lr = lr

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if not s:
                    s.update(n=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                s["n"] += 1
                s["m"] = b1 * s["m"] + (1 - b1) * p.grad
                s["v"] = b2 * s["v"] + (1 - b2) * p.grad**2
                lr_t = self.lr
                if group["correct_bias"]:
                    lr_t *= math.sqrt(1 - b2 ** s["n"]) / (1 - b1 ** s["n"])
                p -= lr_t * s["m"] / (s["v"].sqrt() + group["eps"])
                p -= self.lr * group["weight_decay"] * p
        return loss
