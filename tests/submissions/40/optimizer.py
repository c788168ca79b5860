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

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        for group in self.param_groups:
            (beta1, beta2), eps = group["betas"], group["eps"]
            for theta in group["params"]:
                if theta.grad is None:
                    continue
                g = theta.grad
                mem = self.state[theta]
                if len(mem) == 0:
                    mem["t"] = 1
                    mem["m"] = (1 - beta1) * g
                    mem["v"] = (1 - beta2) * g * g
                else:
                    mem["t"] += 1
                    mem["m"] = beta1 * mem["m"] + (1 - beta1) * g
                    mem["v"] = beta2 * mem["v"] + (1 - beta2) * g * g
                rate = group["lr"]
                if group["correct_bias"]:
                    rate = rate * (1 - beta2 ** mem["t"]) / (1 - beta1 ** mem["t"])
                theta.add_(mem["m"] / (mem["v"].sqrt() + eps), alpha=-rate)
                theta.add_(theta, alpha=-group["lr"] * group["weight_decay"])
        return loss
