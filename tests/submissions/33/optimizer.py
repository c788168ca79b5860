import math

import torch
from torch.optim import Optimizer


class AdamW(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, correct_bias=True):
        if lr < 0.0:
            raise ValueError("learning rate must be >= 0")
        if not 0.0 <= betas[0] < 1.0 or not 0.0 <= betas[1] < 1.0:
            raise ValueError("betas must be in [0, 1)")
        if not 0.0 <= eps:
            raise ValueError("epsilon must be >= 0")
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, correct_bias=correct_bias)
        super().__init__(params, defaults)

    def step(self, closure=None):
        loss = None
        if closure is not None:
            loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad.data
                # weight decay
                if group["weight_decay"] != 0:
                    g = g + group["weight_decay"] * p.data
                s = self.state[p]
                if not s:
                    s["step"] = 0
                    s["exp_avg"] = torch.zeros_like(g)
                    s["exp_avg_sq"] = torch.zeros_like(g)
                s["step"] += 1
                beta1, beta2 = group["betas"]
                s["exp_avg"] = beta1 * s["exp_avg"] + (1 - beta1) * g
                s["exp_avg_sq"] = beta2 * s["exp_avg_sq"] + (1 - beta2) * g * g
                step_size = group["lr"]
                if group["correct_bias"]:
                    step_size *= math.sqrt(1 - beta2 ** s["step"]) / (1 - beta1 ** s["step"])
                p.data.addcdiv_(s["exp_avg"], s["exp_avg_sq"].sqrt() + group["eps"], value=-step_size)
        return loss
