"""AdamW as students write it, in three styles, and each mistake as a change of one of them."""

HEAD = """
import math

import torch
from torch.optim import Optimizer


class AdamW(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, correct_bias=True):
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, correct_bias=correct_bias)
        super().__init__(params, defaults)

"""

PLAIN = (
    HEAD
    + """    def step(self, closure=None):
        loss = None
        if closure is not None:
            loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                grad = p.grad.data
                state = self.state[p]
                alpha = group["lr"]
                beta1, beta2 = group["betas"]
                eps, decay = group["eps"], group["weight_decay"]
                correct_bias = group["correct_bias"]
                if len(state) == 0:
                    state["t"] = 0
                    state["m"] = torch.zeros_like(p.data)
                    state["v"] = torch.zeros_like(p.data)
                state["t"] += 1
                t = state["t"]
                m = beta1 * state["m"] + (1 - beta1) * grad
                v = beta2 * state["v"] + (1 - beta2) * grad * grad
                state["m"], state["v"] = m, v
                alpha_t = alpha
                if correct_bias:
                    alpha_t = alpha * math.sqrt(1 - beta2**t) / (1 - beta1**t)
                p.data = p.data - alpha_t * m / (torch.sqrt(v) + eps)
                p.data = p.data - alpha * decay * p.data
        return loss
"""
)

IN_PLACE = (
    HEAD
    + """    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                state["step"] += 1
                exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
                exp_avg.mul_(beta1).add_(p.grad, alpha=1 - beta1)
                exp_avg_sq.mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                root = exp_avg_sq.sqrt().add_(group["eps"])
                rate = lr
                if group["correct_bias"]:
                    rate *= (1 - beta2 ** state["step"]) ** 0.5
                    rate /= 1 - beta1 ** state["step"]
                p.addcdiv_(exp_avg, root, value=-rate)
                if group["weight_decay"] > 0:
                    p.mul_(1 - lr * group["weight_decay"])
        return loss
"""
)

FOREACH = (
    HEAD
    + """    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if p not in self.state:
                    self.state[p] = [torch.zeros(()), torch.zeros_like(p), torch.zeros_like(p)]
            counts, firsts, seconds = (list(kind) for kind in zip(*(self.state[p] for p in params)))
            grads = [p.grad for p in params]
            beta1, beta2 = group["betas"]
            torch._foreach_add_(counts, 1)
            torch._foreach_lerp_(firsts, grads, 1 - beta1)
            torch._foreach_mul_(seconds, beta2)
            torch._foreach_addcmul_(seconds, grads, grads, 1 - beta2)
            roots = torch._foreach_sqrt(seconds)
            torch._foreach_add_(roots, group["eps"])
            rates = [group["lr"] for _ in params]
            if group["correct_bias"]:
                times = [count.item() for count in counts]
                rates = [rate * (1 - beta2**t) ** 0.5 / (1 - beta1**t) for rate, t in zip(rates, times)]
            torch._foreach_addcdiv_(params, firsts, roots, [-rate for rate in rates])
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        return loss
"""
)

STYLES = {"plain": PLAIN, "in place": IN_PLACE, "foreach": FOREACH}

_COUNT = 'state["t"] += 1'
_FIRST = 'beta1 * state["m"] + (1 - beta1) * grad'
_SECOND = 'beta2 * state["v"] + (1 - beta2) * grad * grad'
_KEEP = 'state["m"], state["v"] = m, v'
_RATE = "alpha * math.sqrt(1 - beta2**t) / (1 - beta1**t)"
_UPDATE = "p.data = p.data - alpha_t * m / (torch.sqrt(v) + eps)"
_ROOT = "(torch.sqrt(v) + eps)"
_DECAY = "p.data = p.data - alpha * decay * p.data"
_GRAD = "grad = p.grad.data"
_IF = "if correct_bias:"
_CLOSURE = """        if closure is not None:
            loss = closure()
"""
_WHOLE_UPDATE = f"""                {_UPDATE}
                {_DECAY}
"""
_MISSING = """                if p.grad is None:
                    continue
                grad = p.grad.data
"""

# name of the mistake -> changes of PLAIN
MISTAKES = {
    "parameters not changed": [(_UPDATE, _UPDATE.replace("p.data =", "q ="))],
    "update with the wrong sign": [(_UPDATE, _UPDATE.replace("- alpha_t", "+ alpha_t"))],
    "no bias correction": [(f"alpha_t = {_RATE}", "pass")],
    "bias correction of the first moment only": [(_RATE, "alpha / (1 - beta1**t)")],
    "bias correction of the second moment only": [(_RATE, "alpha * math.sqrt(1 - beta2**t)")],
    "bias correction of the second moment without the root": [
        (_RATE, "alpha * (1 - beta2**t) / (1 - beta1**t)")
    ],
    "bias correction inverted": [(_RATE, "alpha * (1 - beta1**t) / math.sqrt(1 - beta2**t)")],
    "bias corrected twice": [
        (_KEEP, _KEEP + "\n                m, v = m / (1 - beta1**t), v / (1 - beta2**t)")
    ],
    "steps counted from 0": [
        (f"                {_COUNT}\n", ""),
        ('state["t"] = 0', 'state["t"] = torch.tensor(0.0)'),
        ("math.sqrt(1 - beta2**t)", "torch.sqrt(1 - beta2**t)"),
        (_DECAY, _DECAY + '\n                state["t"] = t + 1'),
    ],
    "steps counted from 2": [('state["t"] = 0', 'state["t"] = 1')],
    "gradient in the first moment without 1 - beta1": [(_FIRST, 'beta1 * state["m"] + grad')],
    "gradient in the second moment without 1 - beta2": [(_SECOND, 'beta2 * state["v"] + grad**2')],
    "second moment from the scaled gradient": [
        (f"m = {_FIRST}", 'grad = (1 - beta1) * grad\n                m = beta1 * state["m"] + grad')
    ],
    "second moment from the first moment": [(_SECOND, 'beta2 * state["v"] + (1 - beta2) * m * m')],
    "gradient in place of the first moment": [(_UPDATE, _UPDATE.replace("* m /", "* grad /"))],
    "weights of the first moment exchanged": [(_FIRST, '(1 - beta1) * state["m"] + beta1 * grad')],
    "weights of the second moment exchanged": [(_SECOND, '(1 - beta2) * state["v"] + beta2 * grad**2')],
    "second moment from the gradient, not its square": [(_SECOND, 'beta2 * state["v"] + (1 - beta2) * grad')],
    "second moment from the gradient's absolute value": [
        (_SECOND, 'beta2 * state["v"] + (1 - beta2) * grad.abs()')
    ],
    "no square root of the second moment": [(_ROOT, "(v + eps)")],
    "rate fixed at 0.001": [('alpha = group["lr"]', "alpha = 1e-3")],
    "betas fixed at 0.9 and 0.999": [('beta1, beta2 = group["betas"]', "beta1, beta2 = 0.9, 0.999")],
    "betas swapped": [('beta1, beta2 = group["betas"]', 'beta2, beta1 = group["betas"]')],
    "state made anew at each step": [("if len(state) == 0:", "if True:")],
    "moments not kept": [(f"                {_KEEP}\n", "")],
    "step count stays at 1": [(_COUNT, ""), ('t = state["t"]', 't = state["t"] + 1')],
    "corrected moments kept in the state": [
        (_IF, "if False:"),
        (
            f"                {_KEEP}\n",
            "                if correct_bias:\n"
            "                    m, v = m / (1 - beta1**t), v / (1 - beta2**t)\n"
            f"                {_KEEP}\n",
        ),
    ],
    "corrected rate kept in the group": [
        (f"alpha_t = {_RATE}", f"alpha_t = group['lr'] = {_RATE}"),
    ],
    "rate corrected again for each parameter": [
        ('                alpha = group["lr"]\n', ""),
        ("            for p in group", '            alpha = group["lr"]\n            for p in group'),
        (f"alpha_t = {_RATE}", f"alpha_t = alpha = {_RATE}"),
    ],
    "root kept as the second moment": [(_ROOT, "v.sqrt_().add_(eps)")],
    "old first moment not multiplied by beta1": [(_FIRST, 'state["m"] + (1 - beta1) * grad')],
    "old second moment not multiplied by beta2": [(_SECOND, 'state["v"] + (1 - beta2) * grad**2')],
    "largest second moment kept (AMSGrad)": [(f"v = {_SECOND}", f'v = torch.maximum(state["v"], {_SECOND})')],
    "bias corrected although correct_bias is False": [(_IF, "if True:")],
    "first moment corrected although correct_bias is False": [
        (f"m = {_FIRST}", f"m = {_FIRST}\n                alpha = alpha / (1 - beta1**t)"),
        (_RATE, "alpha * math.sqrt(1 - beta2**t)"),
        (_DECAY, _DECAY.replace("alpha", 'group["lr"]')),
    ],
    "second moment corrected although correct_bias is False": [
        (f"m = {_FIRST}", f"m = {_FIRST}\n                alpha = alpha * math.sqrt(1 - beta2**t)"),
        (_RATE, "alpha / (1 - beta1**t)"),
        (_DECAY, _DECAY.replace("alpha", 'group["lr"]')),
    ],
    "epsilon inside the root": [(_ROOT, "torch.sqrt(v + eps)")],
    "squared epsilon inside the root": [(_ROOT, "torch.sqrt(v + eps**2)")],
    "epsilon on the corrected root": [
        (_IF, "if False:"),
        (
            _UPDATE,
            "p.data = p.data - alpha * (m / (1 - beta1**t)) / (torch.sqrt(v / (1 - beta2**t)) + eps)"
            " if correct_bias else p.data - alpha * m / (torch.sqrt(v) + eps)",
        ),
    ],
    "epsilon inside the corrected root": [
        (_IF, "if False:"),
        (
            _UPDATE,
            "p.data = p.data - alpha * (m / (1 - beta1**t)) / torch.sqrt(v / (1 - beta2**t) + eps)"
            " if correct_bias else p.data - alpha * m / (torch.sqrt(v) + eps)",
        ),
    ],
    "epsilon left out": [(_ROOT, "torch.sqrt(v)")],
    "epsilon as the least root": [(_ROOT, "torch.sqrt(v).clamp(min=eps)")],
    "epsilon fixed at 1e-6": [('eps, decay = group["eps"]', "eps, decay = 1e-6")],
    "epsilon fixed at 1e-8": [('eps, decay = group["eps"]', "eps, decay = 1e-8")],
    "rate of the first step kept": [
        ("super().__init__(params, defaults)", "super().__init__(params, defaults)\n        self.lr = lr"),
        ('alpha = group["lr"]', 'alpha = self.lr if len(self.param_groups) == 1 else group["lr"]'),
    ],
    "update by the rate of the first step": [
        (f"alpha_t = {_RATE}", "alpha_t = " + _RATE.replace("alpha", 'state.setdefault("lr", alpha)'))
    ],
    "decay by the rate of the first step": [
        (_DECAY, 'p.data = p.data - state.setdefault("lr", alpha) * decay * p.data')
    ],
    "no weight decay": [(f"                {_DECAY}\n", "")],
    "L2 instead of decoupled decay": [
        (_GRAD, "grad = p.grad.data + group['weight_decay'] * p.data"),
        (f"                {_DECAY}\n", ""),
    ],
    "decayed twice, as L2 and decoupled": [(_GRAD, "grad = p.grad.data + group['weight_decay'] * p.data")],
    "decay without the rate": [(_DECAY, "p.data = p.data - decay * p.data")],
    "decay of the parameters before the update": [
        (_WHOLE_UPDATE, f"                {_DECAY}\n                {_UPDATE}\n")
    ],
    "decay by the bias-corrected rate": [(_DECAY, _DECAY.replace("alpha", "alpha_t"))],
    "decay as a part of the update": [
        (_UPDATE, f"p.data = p.data - alpha_t * (m / {_ROOT} + decay * p.data)"),
        (f"                {_DECAY}\n", ""),
    ],
    "decay with the wrong sign": [(_DECAY, _DECAY.replace("- alpha", "+ alpha"))],
    "no decay of vectors": [(_DECAY, f"if p.dim() > 1: {_DECAY}")],
    "decay at the first step only": [(_DECAY, f"if t == 1: {_DECAY}")],
    "one state for all parameters": [
        ("state = self.state[p]", 'state = self.state[self.param_groups[0]["params"][0]]')
    ],
    "one step count that every parameter advances": [
        (_COUNT, "self.count = getattr(self, 'count', 0) + 1"),
        ('t = state["t"]', "t = self.count"),
    ],
    "only the first parameter updated": [(_DECAY, f"{_DECAY}\n                return loss")],
    "only the last parameter updated": [
        (_GRAD, "grad = p.grad.data\n                last = group['params'][-1]"),
        (_UPDATE, _UPDATE.replace("p.data = ", "p.data = p.data if p is not last else ")),
        (_DECAY, _DECAY.replace("p.data = ", "p.data = p.data if p is not last else ")),
    ],
    "settings of the first group for all": [
        (
            f"                {_GRAD}\n",
            f"                {_GRAD}\n                group = self.param_groups[0]\n",
        ),
        ('for p in group["params"]', 'for p in list(group["params"])'),
    ],
    "settings of the constructor for all groups": [
        (
            f"                {_GRAD}\n",
            f"                {_GRAD}\n                if len(self.param_groups) > 1:\n"
            "                    group = self.defaults\n",
        ),
    ],
    "rate of the constructor for all groups": [
        ('alpha = group["lr"]', 'alpha = self.defaults["lr"] if len(self.param_groups) > 1 else group["lr"]')
    ],
    "only the first group updated": [("in self.param_groups:", "in self.param_groups[:1]:")],
    "steps counted without a gradient": [
        ("        for group in", '        self.steps = getattr(self, "steps", 0) + 1\n        for group in'),
        ('t = state["t"]', "t = self.steps"),
    ],
    "decay without a gradient": [
        (
            "                    continue\n",
            '                    p.data = p.data - group["lr"] * group["weight_decay"] * p.data\n'
            "                    continue\n",
        )
    ],
    "missing gradient taken as zero": [
        (_MISSING, "                grad = torch.zeros_like(p.data) if p.grad is None else p.grad.data\n")
    ],
    "parameters after a missing gradient left out": [
        ("                    continue\n", "                    break\n")
    ],
    "closure ignored": [(_CLOSURE, "")],
    "closure's loss not returned": [("        return loss\n", "")],
    "closure called twice": [("        return loss\n", "        return closure() if closure else None\n")],
    "closure called after the update": [
        (_CLOSURE, ""),
        ("        return loss\n", "        return closure() if closure else None\n"),
    ],
    "closure called without gradients": [("    def step", "    @torch.no_grad()\n    def step")],
    "decay added to the gradient in place": [
        (
            f"                {_DECAY}\n",
            f"                {_DECAY}\n                grad.add_(old, alpha=decay)\n",
        ),
        (_GRAD, "grad = p.grad.data\n                old = p.data"),
    ],
    "gradient squared in place": [(_KEEP, f"{_KEEP}\n                grad.mul_(grad)")],
    "gradient scaled in place": [(_KEEP, f"{_KEEP}\n                grad.mul_(1 - beta1)")],
    "gradients cleared by the step": [
        ("        return loss\n", "        self.zero_grad()\n        return loss\n")
    ],
}

# The same mistakes as they come about where everything is done in place.
IN_PLACE_MISTAKES = {
    "no bias correction": [('if group["correct_bias"]:', "if False:")],
    "bias correction of the first moment only": [
        ('                    rate *= (1 - beta2 ** state["step"]) ** 0.5\n', "")
    ],
    "bias correction of the second moment only": [
        ('                    rate /= 1 - beta1 ** state["step"]\n', "")
    ],
    "steps counted from 2": [("step=0", "step=1")],
    "update with the wrong sign": [("value=-rate", "value=rate")],
    "gradient in the first moment without 1 - beta1": [("add_(p.grad, alpha=1 - beta1)", "add_(p.grad)")],
    "second moment from the scaled gradient": [
        ("add_(p.grad, alpha=1 - beta1)", "add_(p.grad.mul_(1 - beta1))")
    ],
    "gradient in the second moment without 1 - beta2": [(", value=1 - beta2)", ")")],
    "second moment from the first moment": [("addcmul_(p.grad, p.grad", "addcmul_(exp_avg, exp_avg")],
    "no square root of the second moment": [("exp_avg_sq.sqrt()", "exp_avg_sq.clone()")],
    "moments not kept": [
        ("exp_avg.mul_(beta1).add_(", "exp_avg = exp_avg.mul(beta1).add_("),
        ("exp_avg_sq.mul_(beta2).addcmul_(", "exp_avg_sq = exp_avg_sq.mul(beta2).addcmul_("),
    ],
    "betas swapped": [("(beta1, beta2) =", "(beta2, beta1) =")],
    "epsilon inside the root": [
        ('exp_avg_sq.sqrt().add_(group["eps"])', '(exp_avg_sq + group["eps"]).sqrt()')
    ],
    "epsilon on the corrected root": [
        (
            'exp_avg_sq.sqrt().add_(group["eps"])',
            'exp_avg_sq.sqrt().add_(group["eps"] * (1 - beta2 ** state["step"]) ** 0.5)',
        )
    ],
    "epsilon left out": [('.add_(group["eps"])', "")],
    "decay by the bias-corrected rate": [("1 - lr * group", "1 - rate * group")],
    "decay without the rate": [("1 - lr * group", "1 - group")],
    "decay of the parameters before the update": [
        (
            "                p.addcdiv_(exp_avg, root, value=-rate)\n",
            '                p.mul_(1 - lr * group["weight_decay"])\n'
            "                p.addcdiv_(exp_avg, root, value=-rate)\n",
        ),
        ('if group["weight_decay"] > 0:', "if False:"),
    ],
    "L2 instead of decoupled decay": [
        (
            "                state = self.state[p]\n",
            '                p.grad.add_(p, alpha=group["weight_decay"])\n'
            "                state = self.state[p]\n",
        ),
        ('if group["weight_decay"] > 0:', "if False:"),
    ],
    "no weight decay": [('if group["weight_decay"] > 0:', "if False:")],
    "parameters after a missing gradient left out": [
        ("                    continue\n", "                    return loss\n")
    ],
    "closure called without gradients": [("with torch.enable_grad():", "if True:")],
}

# And where whole lists of tensors are updated at once.
FOREACH_MISTAKES = {
    "steps counted from 2": [("[torch.zeros(())", "[torch.ones(())")],
    "step count stays at 1": [
        ("torch._foreach_add_(counts, 1)", "counts = [torch.ones(()) for _ in params]")
    ],
    "weights of the first moment exchanged": [("grads, 1 - beta1)", "grads, beta1)")],
    "old second moment not multiplied by beta2": [("torch._foreach_mul_(seconds, beta2)", "")],
    "gradient in place of the first moment": [("(params, firsts, roots", "(params, grads, roots")],
    "bias corrected although correct_bias is False": [('if group["correct_bias"]:', "if True:")],
    "epsilon left out": [('            torch._foreach_add_(roots, group["eps"])\n', "")],
    "squared epsilon inside the root": [
        ("torch._foreach_sqrt(seconds)", "torch._foreach_sqrt([v + group['eps']**2 for v in seconds])"),
        ('            torch._foreach_add_(roots, group["eps"])\n', ""),
    ],
    "epsilon as the least root": [("_foreach_add_(roots", "_foreach_clamp_min_(roots")],
    "decay without the rate": [('1 - group["lr"] * group["weight_decay"]', '1 - group["weight_decay"]')],
    "decay with the wrong sign": [('1 - group["lr"] *', '1 + group["lr"] *')],
    "no decay of vectors": [
        ("torch._foreach_mul_(params, 1", "torch._foreach_mul_([p for p in params if p.ndim > 1], 1")
    ],
    "only the first parameter updated": [
        (
            'for p in group["params"] if p.grad is not None]',
            'for p in group["params"] if p.grad is not None][:1]',
        )
    ],
    "only the first group updated": [("        return loss\n", "            return loss\n")],
    "gradient squared in place": [
        (
            "addcmul_(seconds, grads, grads, 1 - beta2)",
            "mul_(grads, grads); torch._foreach_add_(seconds, [(1 - beta2) * g for g in grads])",
        )
    ],
}

# Mistakes that no catalogue has: (changes of PLAIN, first stage that shows it).
UNKNOWN = {
    "cube root": ([("torch.sqrt(v)", "v ** (1 / 3)")], "first step"),
    "sign of the gradient": ([("* m /", "* m.sign() /")], "first step"),
    "wrong power of beta": ([(_RATE, _RATE.replace("beta2**t", "beta2 ** (t * t)"))], "several steps"),
    "half the decay": ([("alpha * decay", "alpha * decay / 2")], "first step with decay"),
    "decay of the first row": (
        [(_DECAY, "p.data[:1] -= alpha * decay * p.data[:1]")],
        "first step with decay",
    ),
    "another epsilon": ([(_ROOT, "(torch.sqrt(v) + 3 * eps)")], "tiny gradients"),
    "rate halved when low": (
        [('alpha = group["lr"]', 'alpha = group["lr"] if group["lr"] > 0.15 else group["lr"] / 2')],
        "changing rate",
    ),
    "loss doubled": (
        [("        return loss\n", "        return None if loss is None else 2 * loss\n")],
        "closure",
    ),
}

# Correct ways to write each part; <place> takes one of them.
VARIANT = (
    HEAD
    + """    <decorator>
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr = group["lr"]
            b1, b2 = group["betas"]
            eps, wd = group["eps"], group["weight_decay"]
            for p in <parameters>:
                if p.grad is None:
                    continue
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
                s["<m>"], s["<v>"] = m, v
                c1 = 1 - b1 ** <t> if group["correct_bias"] else 1.0
                c2 = 1 - b2 ** <t> if group["correct_bias"] else 1.0
                <update>
                <decay>
        return <loss>
"""
)
CHOICES = {
    "decorator": ("@torch.no_grad()",),
    "parameters": ('group["params"]', 'reversed(group["params"])', '[q for q in group["params"]]'),
    "gradient": ("p.grad", "p.grad.data", "p.grad.double()", "p.grad.clone()", "p.grad.detach()"),
    "empty": ("len(s) == 0", "not s", 's.get("<count>") is None'),
    "zero": ("0", "torch.tensor(0.0, dtype=torch.float64)", "torch.zeros(1, dtype=torch.float64)"),
    "advance": ("+= 1", '= s["<count>"] + 1'),
    "t": ("t", "float(t)", "int(t)"),
    "zeros": (
        "torch.zeros_like(p)",
        "torch.zeros(p.shape)",
        "torch.zeros_like(p, dtype=torch.float64)",
        "torch.zeros_like(p.data.t()).t()",
    ),
    "first": (
        "m = b1 * m + (1 - b1) * g",
        "m = (1 - b1) * g + m * b1",
        "m = m + (1 - b1) * (g - m)",
        "m = torch.lerp(m, g.to(m.dtype), 1 - b1)",
        "m.mul_(b1).add_(g, alpha=1 - b1)",
        "m = m - (1 - b1) * m + (1 - b1) * g",
    ),
    "second": (
        "v = b2 * v + (1 - b2) * g * g",
        "v = b2 * v + (1 - b2) * g**2",
        "v = v + (1 - b2) * (g.square() - v)",
        "v.mul_(b2).addcmul_(g.to(v.dtype), g.to(v.dtype), value=1 - b2)",
        "v = (1 - b2) * torch.pow(g, 2) + b2 * v",
        "v = torch.addcmul(b2 * v, ((1 - b2) ** 0.5 * g).to(v.dtype), ((1 - b2) ** 0.5 * g).to(v.dtype))",
    ),
    "update": (
        "p.data -= (lr * c2**0.5 / c1 * m / (v.sqrt() + eps)).to(p.dtype)",
        "p.data.sub_((lr * (m / c1) / ((v / c2).sqrt() + eps / c2**0.5)).float())",
        "p.copy_(p - lr / c1 * m / ((v.sqrt() + eps) / c2**0.5))",
        "p.data = (p.data - (lr * math.sqrt(c2) / c1) * (m / (torch.sqrt(v) + eps))).to(p.dtype)",
        "p.addcdiv_(m.to(p.dtype), (v.sqrt() + eps).to(p.dtype), value=-float(lr * c2**0.5 / c1))",
        "p.add_(((m * -lr * c2**0.5) / (c1 * (torch.pow(v, 0.5) + eps))).to(p.dtype))",
        "p.copy_(p.double().addcdiv(m.double(), v.double().sqrt() + eps, value=-float(lr * c2**0.5 / c1)))",
    ),
    "decay": (
        "p.mul_(1 - lr * wd)",
        "p.data = p.data - lr * wd * p.data",
        "p.add_(p, alpha=-lr * wd)",
        "if wd > 0: p.data.add_(p.data.clone(), alpha=-wd * lr)",
        "p.data *= 1.0 - wd * lr",
        "p.copy_((p.double() * (1 - lr * wd)).float())",
    ),
    "loss": ("loss", "loss if loss is None else loss.detach()", "None if loss is None else loss.item()"),
    "count": ("t", "step", "num_steps"),
    "m": ("m", "exp_avg", "first"),
    "v": ("v", "exp_avg_sq", "second"),
}
