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
            alpha = group["lr"]
            beta_1, beta_2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                grad = p.grad.data
                state = self.state[p]
                t = state.get("t", 0) + 1
                m = state.get("m", torch.zeros_like(grad))
                v = state.get("v", torch.zeros_like(grad))
                m = beta_1 * m + (1 - beta_1) * grad
                v = beta_2 * v + (1 - beta_2) * torch.square(grad)
                state["t"], state["m"], state["v"] = t, m, v
                if group["correct_bias"]:
                    alpha_t = alpha * math.sqrt(1 - beta_2**t) / (1 - beta_1**t)
                else:
                    alpha_t = alpha
                p.data = p.data - alpha_t * m / (torch.sqrt(v) + group["eps"])
                # decoupled weight decay
                p.data = p.data - alpha_t * group["weight_decay"] * p.data
        return loss
