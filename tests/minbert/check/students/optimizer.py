"""optimizer.py."""

TEMPLATE = """
import math

import torch
from torch.optim import Optimizer


class AdamW(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, correct_bias=True):
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, correct_bias=correct_bias)
        super().__init__(params, defaults)

    <decorator>
    def step(self, closure=None):
        loss = None
        if closure is not None:
            <closure>
        for group in <groups>:
            <settings>
            for p in <parameters>:
                if p.grad is None:
                    <missing>
                g = <gradient>
                s = self.state[p]
                if <empty>:
                    s["<count>"] = <zero>
                    s["<m>"] = <zeros>
                    s["<v>"] = <zeros>
                s["<count>"] <advance>
                t = s["<count>"]
                m, v = s["<m>"], s["<v>"]
                <first>
                <second>
                <keep>
                c1 = <c1>
                c2 = <c2>
                <update>
                <decay>
        return <loss>
"""
RIGHT = {
    "decorator": ("@torch.no_grad()",),
    "closure": ("with torch.enable_grad(): loss = closure()",),
    "groups": ("self.param_groups", "list(self.param_groups)"),
    "settings": (
        'lr, (b1, b2), eps, wd = (group[name] for name in ("lr", "betas", "eps", "weight_decay"))',
        'lr, eps = group["lr"], group["eps"]\n'
        '            (b1, b2), wd = group["betas"], group["weight_decay"]',
    ),
    "parameters": ('group["params"]', 'reversed(group["params"])', '[q for q in group["params"]]'),
    "missing": ("continue", "pass; continue"),
    "gradient": ("p.grad", "p.grad.data", "p.grad.double()", "p.grad.clone()", "p.grad.detach()"),
    "empty": ("len(s) == 0", "not s", 's.get("<count>") is None'),
    "zero": ("0", "torch.tensor(0.0, dtype=torch.float64)", "torch.zeros(1, dtype=torch.float64)"),
    "advance": ("+= 1", '= s["<count>"] + 1'),
    "zeros": (
        "torch.zeros_like(p)",
        "torch.zeros_like(p, dtype=torch.float64)",
        "torch.zeros_like(p.data.t()).t()",
    ),
    "first": (
        "m = b1 * m + (1 - b1) * g",
        "m = m + (1 - b1) * (g - m)",
        "m = torch.lerp(m, g.to(m.dtype), 1 - b1)",
        "m.mul_(b1).add_(g, alpha=1 - b1)",
        "m = torch.add(torch.mul(m, b1), g, alpha=1.0 - b1)",
        "m.add_((g - m) * (1 - b1))",
    ),
    "second": (
        "v = b2 * v + (1 - b2) * g * g",
        "v = v + (1 - b2) * (g.square() - v)",
        "v.mul_(b2).addcmul_(g.to(v.dtype), g.to(v.dtype), value=1 - b2)",
        "v.lerp_(g.pow(2).to(v.dtype), 1 - b2)",
        "v = b2 * v + (1 - b2) * torch.abs(g) ** 2",
        "v = torch.addcmul(b2 * v, ((1 - b2) ** 0.5 * g).to(v.dtype), ((1 - b2) ** 0.5 * g).to(v.dtype))",
    ),
    "keep": ('s["<m>"], s["<v>"] = m, v',),
    "c1": ('1 - b1 ** <t> if group["correct_bias"] else 1.0',),
    "c2": ('1 - b2 ** <t> if group["correct_bias"] else 1.0',),
    "update": (
        "p.data -= (lr * c2**0.5 / c1 * m / (v.sqrt() + eps)).to(p.dtype)",
        "p.data.sub_((lr * (m / c1) / ((v / c2).sqrt() + eps / c2**0.5)).float())",
        "p.copy_(p - lr / c1 * m / ((v.sqrt() + eps) / c2**0.5))",
        "p.addcdiv_(m.to(p.dtype), (v.sqrt() + eps).to(p.dtype), value=-float(lr * c2**0.5 / c1))",
        "if True:\n"
        "                    size = lr\n"
        "                    if group['correct_bias']: size = size * c2**0.5 / (1 - math.pow(b1, int(t)))\n"
        "                    p.sub_((float(size) * torch.div(m, v.sqrt() + eps)).to(p.dtype))",
        "p.data = (p.data - lr * c2**0.5 / c1 * m * (v.sqrt() + eps).reciprocal()).to(p.dtype)",
        "p.add_(((m * -lr * c2**0.5) / (c1 * (torch.pow(v, 0.5) + eps))).to(p.dtype))",
    ),
    "decay": (
        "p.mul_(1 - lr * wd)",
        "p.add_(p, alpha=-lr * wd)",
        "if wd > 0: p.data.add_(p.data.clone(), alpha=-wd * lr)",
        "p.copy_((p.double() * (1 - lr * wd)).float())",
        "p.data = p.data - lr * wd * p.data",
        "p.sub_(lr * wd * p)",
        "if wd != 0: p.data.mul_(1 - lr * wd)",
    ),
    "loss": ("loss", "loss if loss is None else loss.detach()", "None if loss is None else loss.item()"),
    "t": ("t", "float(t)", "int(t)"),
    "count": ("t", "step", "num_steps"),
    "m": ("m", "exp_avg", "first"),
    "v": ("v", "exp_avg_sq", "second"),
}
UPDATE, SECOND, DECAY = (RIGHT[place][0] for place in ("update", "second", "decay"))
SETTINGS, KEEP = RIGHT["settings"][0], RIGHT["keep"][0]
GIVEN = 'group["correct_bias"]'


def moved(by="lr * c2**0.5 / c1 * m / (v.sqrt() + eps)"):
    return {"update": f"p.data = p.data - {by}"}


def rooted(root):
    return moved(f"lr * c2**0.5 / c1 * m / {root}")


def set_by(*assignments):
    return {"settings": "\n            ".join((SETTINGS, *assignments))}


# fmt: off
WRONG = {
    "parameters not changed": {"update": "q = p - lr * m"},
    "no bias correction": {"c1": "1.0", "c2": "1.0"},
    "bias correction of the first moment only": {"c2": "1.0"},
    "bias correction inverted": moved("lr * c1 / c2**0.5 * m / (v.sqrt() + eps)"),
    "bias corrected twice": moved("lr * c2 / c1**2 * m / (v.sqrt() + eps)"),
    "first moment corrected twice": moved("lr * c2**0.5 / c1**2 * m / (v.sqrt() + eps)"),
    "1 - beta1 in the second moment": {"second": "v = b2 * v + (1 - b1) * g * g"},
    "beta2 for the first moment": {"first": "m = b2 * m + (1 - b2) * g"},
    "moments started at the gradient": {
        "zeros": "g.clone()", "second": "v = b2 * (g * g if t == 1 else v) + (1 - b2) * g * g"},
    "moments started at one": {"zeros": "torch.ones_like(p)"},
    "update without the rate": moved("c2**0.5 / c1 * m / (v.sqrt() + eps)"),
    "first moment not kept": {"keep": 's["<v>"] = v'},
    "second moment not kept": {"keep": 's["<m>"] = m'},
    "one tensor for both moments": {
        "empty": 'not s and not s.update({"<count>": 0})'
                 ' and s.update(dict.fromkeys(("<m>", "<v>"), torch.zeros_like(p)))',
        "first": "m.mul_(b1).add_(g, alpha=1 - b1)", "second": "v.mul_(b2).addcmul_(g, g, value=1 - b2)"},
    "beta1 for both moments": set_by("b2 = b1"),
    "corrected first moment kept in the state": {
        "keep": f"if {GIVEN}: m = m / (1 - b1**t)\n                {KEEP}", "c1": "1.0"},
    "steps counted from 0": {"c1": "1 - b1 ** (t - 1)", "c2": "1 - b2 ** (t - 1)",
                             "zero": "torch.tensor(0.0, dtype=torch.float64)"},
    "steps counted from 2": {"zero": "1"},
    "second moment from the scaled gradient": {"first": "g = (1 - b1) * g; m = b1 * m + g"},
    "second moment from the first moment": {"second": "v = b2 * v + (1 - b2) * m * m"},
    "gradient in place of the first moment": moved("lr * c2**0.5 / c1 * g / (v.sqrt() + eps)"),
    "weights of the second moment exchanged": {"second": "v = (1 - b2) * v + b2 * g * g"},
    "second moment from the gradient, not its square": {"second": "v = b2 * v + (1 - b2) * g"},
    "no square root of the second moment": rooted("(v + eps)"),
    "rate fixed at 0.001": set_by("lr = 1e-3"),
    "epsilon left out": rooted("v.sqrt()"),
    "betas fixed at 0.9 and 0.999": set_by("b1, b2 = 0.9, 0.999"),
    "state made anew at each step": {"empty": "True"},
    "step count stays at 1": {"c1": "1 - b1", "c2": "1 - b2"},
    "corrected moments kept in the state": {
        "keep": f'if {GIVEN}: m, v = m / (1 - b1**t), v / (1 - b2**t)\n                {KEEP}',
        "c1": "1.0", "c2": "1.0"},
    "old first moment not multiplied by beta1": {"first": "m = m + (1 - b1) * g"},
    "largest second moment kept (AMSGrad)": {"second": "v = torch.maximum(v, b2 * v + (1 - b2) * g * g)"},
    "first moment corrected although correct_bias is False": {"c1": "1 - b1**t"},
    "epsilon as the least root": rooted("v.sqrt().clamp(min=eps)"),
    "epsilon fixed at 1e-6": set_by("eps = 1e-6"),
    "decay by the rate of the first step":
        {"decay": 'p.mul_(1 - s.setdefault("lr", lr) * wd)', "empty": '"<count>" not in s'},
    "no weight decay": {"decay": "pass"},
    "decayed twice": {"decay": f"{DECAY}; {DECAY}"},
    "decay divided by the root of the second moment":
        {"decay": "pass"} | moved("lr * c2**0.5 / c1 * (m + wd * p) / (v.sqrt() + eps)"),
    "L2 and decay of the parameters before the update":
        {"gradient": "p.grad + wd * p", "update": f"{DECAY}; {UPDATE}", "decay": "pass"},
    "no update where correct_bias is False": {"update": f"if {GIVEN}: {UPDATE}"},
    "decayed twice, as L2 and decoupled": {"gradient": "p.grad + wd * p"},
    "decay of the parameters before the update": {"update": f"{DECAY}; {UPDATE}", "decay": "pass"},
    "no decay of vectors": {"decay": f"if p.dim() > 1: {DECAY}"},
    "decay at the first step only": {"decay": f"if t == 1: {DECAY}"},
    "one state for all parameters": {"gradient": 'p.grad; p0 = self.param_groups[0]["params"][0]',
                                     "empty": '(s := self.state[p0]) is not None and len(s) == 0'},
    "rate corrected again for each parameter": {
        "c1": "1.0", "c2": "1.0", "keep": f"{KEEP}; lr *= (1 - b2**t) ** 0.5 / (1 - b1**t) if {GIVEN} else 1",
        "decay": 'p.mul_(1 - group["lr"] * wd)'},
    "only the first parameter updated": {"parameters": 'group["params"][:1]'},
    "settings of the first group for all": set_by(SETTINGS.replace("group[", "self.param_groups[0][")),
    "settings of the constructor for all groups": set_by(
        "if len(self.param_groups) > 1: " + SETTINGS.replace("group[", "self.defaults[")),
    "only the first group updated": {"groups": "self.param_groups[:1]"},
    "steps counted without a gradient": {
        "groups": 'self.param_groups if setattr(self, "n", getattr(self, "n", 0) + 1) is None else ()',
        "advance": "= self.n"},
    "decay without a gradient": {"missing": f"{DECAY}; continue"},
    "closure ignored": {"closure": "pass"},
    "closure's loss not returned": {"loss": "None"},
    "closure called twice": {"loss": "closure() if closure else None"},
    "closure called after the update": {
        "closure": "pass", "loss": "torch.enable_grad()(closure)() if closure else None"},
    "closure called without gradients": {"closure": "loss = closure()"},
    "decay added to the gradient in place": {"keep": f"{KEEP}; p.grad.add_(p, alpha=wd)"},
    "gradients removed by the step": {"loss": "self.zero_grad() or loss"},
    "gradients set to zero by the step": {"loss": "self.zero_grad(set_to_none=False) or loss"},
}
# With Python's numbers, whose 0 / 0 is an error.
OTHERWISE = [("steps counted from 0", {"c1": "1 - b1 ** (t - 1)", "c2": "1 - b2 ** (t - 1)"})]

UNKNOWN = {
    "cube root": (rooted("v ** (1 / 3)"), "first step"),
    "wrong power of beta": ({"c2": f"1 - b2 ** (t * t) if {GIVEN} else 1.0"}, "several steps"),
    "half the decay": ({"decay": "p.mul_(1 - lr * wd / 2)"}, "first step with decay"),
    "another epsilon": (rooted("(v.sqrt() + 3 * eps)"), "tiny gradients"),
    "rate halved when low": (set_by("lr = lr if lr > 0.13 else lr / 2"), "changing rate"),
    "loss doubled": ({"loss": "None if loss is None else 2 * loss"}, "closure"),
}
# fmt: on
