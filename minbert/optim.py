"""AdamW written by hand, with a fused call that is taken where it gives the same; learning-rate schedules."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor
from torch.optim import Optimizer

from minbert.errors import InputError, did_you_mean


def _without_compiler(method: Callable) -> Callable:
    """Returns a method of torch's Optimizer without its wrapper, whose first call imports torch's compiler.

    That takes longer than all other imports of a training; the wrapper only keeps the compiler out.
    """
    return getattr(method, "__wrapped__", method)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as the CS224N handout writes it.

    With gradient g at step t, moments m and v from zero:

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        rate = lr sqrt(1 - beta2^t) / (1 - beta1^t)     with correct_bias, else rate = lr
        p = p - rate m / (sqrt(v) + eps)                ("efficient" form, Kingma and Ba 2015, section 2)
        p = p - lr weight_decay p

    Where it differs from torch.optim.AdamW: torch decays before the update, here the updated parameter is
    decayed; torch adds eps to sqrt(v / (1 - beta2^t)), here it is added to sqrt(v), which equals an eps of
    eps / sqrt(1 - beta2^t) there. With weight_decay=0 and eps -> 0 both are the same.

    Raises InputError for rates, betas, eps or decays outside their ranges.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
    ):
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, correct_bias=correct_bias)
        super().__init__(params, defaults)

    zero_grad = _without_compiler(Optimizer.zero_grad)
    state_dict = _without_compiler(Optimizer.state_dict)
    load_state_dict = _without_compiler(Optimizer.load_state_dict)

    def add_param_group(self, param_group: dict) -> None:
        """Adds a group; torch calls this for the first ones too. Raises InputError as the class does."""
        _without_compiler(Optimizer.add_param_group)(self, param_group)
        _check(self.param_groups[-1])

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Updates every parameter that has a gradient; returns the closure's loss, where one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for (step, device, dtype, in_order), parameters in self._by_step(group).items():
                gradients = [parameter.grad.contiguous() for parameter in parameters]
                first = [self.state[parameter]["exp_avg"] for parameter in parameters]
                second = [self.state[parameter]["exp_avg_sq"] for parameter in parameters]
                # The fused kernel walks over memory.
                fused = in_order and fused_update_works(device.type, dtype)
                update = fused_update if fused else written_out_update
                update(parameters, gradients, first, second, step, group)
        return loss

    def _by_step(self, group: dict) -> dict[tuple[int, torch.device, torch.dtype, bool], list[Tensor]]:
        """The group's parameters with gradients, by what one call can share; counts their step."""
        batches = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            if parameter.grad.is_sparse:
                raise InputError("AdamW takes dense gradients; make the embedding with sparse=False")
            state = self.state[parameter]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] += 1
            in_order = all(t.is_contiguous() for t in (parameter, state["exp_avg"], state["exp_avg_sq"]))
            batches[state["step"], parameter.device, parameter.dtype, in_order].append(parameter)
        return batches


def written_out_update(
    parameters: list[Tensor],
    gradients: list[Tensor],
    first_moments: list[Tensor],
    second_moments: list[Tensor],
    step: int,
    group: dict,
) -> None:
    """The definition, tensor by tensor, in place; see AdamW."""
    (beta1, beta2), lr = group["betas"], group["lr"]
    rate = lr
    if group["correct_bias"]:
        rate = lr * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
    for p, g, m, v in zip(parameters, gradients, first_moments, second_moments, strict=True):
        m.mul_(beta1).add_(g, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        p.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-rate)
    _decay(parameters, group)


def fused_update(
    parameters: list[Tensor],
    gradients: list[Tensor],
    first_moments: list[Tensor],
    second_moments: list[Tensor],
    step: int,
    group: dict,
) -> None:
    """The same update by torch's fused kernel, then the decay.

    The kernel adds eps to the corrected root, so it is given eps / sqrt(1 - beta2^t). Its own decay comes
    first and multiplies by a rounded factor, so it is given none.
    """
    beta1, beta2 = group["betas"]
    # Without bias correction: a step so late that both corrections are 1.
    counted = float(step) if group["correct_bias"] else 1e9
    torch._fused_adamw_(
        parameters,
        gradients,
        first_moments,
        second_moments,
        [],
        [torch.full((), counted, device=parameters[0].device)] * len(parameters),  # nothing to copy there
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=0.0,
        eps=group["eps"] / (1 - beta2**counted) ** 0.5,
        amsgrad=False,
        maximize=False,
    )
    _decay(parameters, group)


def _decay(parameters: list[Tensor], group: dict) -> None:
    """p -= lr weight_decay p. The factor 1 - lr weight_decay would be rounded: in fp32 by up to 6e-8."""
    decay = group["lr"] * group["weight_decay"]
    if decay:
        for p in parameters:
            p.sub_(p, alpha=decay)


@cache
def fused_update_works(device_type: str, dtype: torch.dtype) -> bool:
    """Self-test: True if torch's private fused kernel exists and equals the written-out update."""
    start = torch.linspace(-1, 1, 8, dtype=dtype, device=device_type)
    large = dict(lr=1e-2, betas=(0.9, 0.99), eps=1e-4, weight_decay=0.1)
    usual = dict(lr=1e-5, betas=(0.9, 0.999), eps=1e-6, weight_decay=1e-2)  # a decay of 1e-7 a step
    results: list[list[Tensor]] = []
    for update in (written_out_update, fused_update):
        found = []
        for group, steps in ((large, 3), (usual, 1000)):
            p, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
            gradient = start.cos()
            try:
                for step in range(1, steps + 1):
                    update([p], [gradient], [m], [v], step, group | {"correct_bias": step != 3})
            except (AttributeError, RuntimeError, TypeError, NotImplementedError):
                return False
            found.append(p)
        results.append(found)
    rtol = 1e-5 if dtype.itemsize >= 4 else 1e-2
    return all(torch.allclose(a, b, rtol=rtol, atol=0) for a, b in zip(*results, strict=True))


def _check(group: dict) -> None:
    beta1, beta2 = group["betas"]
    for name, value, accepted, good in (
        ("lr", group["lr"], "at least 0", group["lr"] >= 0),
        ("betas", group["betas"], "two numbers from 0 to below 1", 0 <= beta1 < 1 and 0 <= beta2 < 1),
        ("eps", group["eps"], "at least 0", group["eps"] >= 0),
        ("weight_decay", group["weight_decay"], "at least 0", group["weight_decay"] >= 0),
    ):
        if not good:
            raise InputError(f"AdamW: {name} is {value}; it must be {accepted}")


SCHEDULES: dict[str, Callable[[float], float]] = {  # of the progress after the warmup, from 0 to 1
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def schedule_factor(name: str, step: int, total: int, warmup: int = 0) -> float:
    """The factor for step `step` (from 0) of `total`: (step + 1) / warmup at first, then down to 0 by shape.

    Raises InputError for a name that is not in SCHEDULES.
    """
    if name not in SCHEDULES:
        raise InputError(
            f"schedule {name!r} does not exist; choose from {', '.join(SCHEDULES)}"
            f"{did_you_mean(name, SCHEDULES)}"
        )
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[name](min(1.0, (step - warmup) / max(1, total - warmup)))
