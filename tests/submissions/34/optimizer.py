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
        self.t = 0

    def step(self, closure=None):
        loss = closure() if closure else None
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                s = self.state[w]
                if len(s) == 0:
                    s["m"] = torch.zeros_like(w.data)
                    s["v"] = torch.zeros_like(w.data)
                self.t += 1
                g = w.grad.data
                s["m"] = b1 * s["m"] + (1 - b1) * g
                s["v"] = b2 * s["v"] + (1 - b2) * g.pow(2)
                a = group["lr"]
                if group["correct_bias"]:
                    a = a * (1 - b2**self.t) ** 0.5 / (1 - b1**self.t)
                w.data = w.data - a * s["m"] / (s["v"].sqrt() + group["eps"])
                w.data = w.data - group["lr"] * group["weight_decay"] * w.data
        return loss
