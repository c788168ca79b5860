"""Gradient surgery: changes the gradients of a step's tasks so that they do not conflict.

PCGrad and GradVac only ever add multiples of the tasks' gradients g_1 ... g_T to one another. So a changed
gradient is g_i' = sum over k of c_ik g_k; the scalar products that decide the changes follow from the c and
the products g_i . g_k; and what the model gets, the sum of all g_i', is a weighted sum of the g_k. Its
factors are what a surgery computes, from T x T numbers and without a copy of any gradient.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

VANISHED = 1e-6  # the share of |g_i|^2 below which |g_i'|^2 is rounding (of fp32), without a direction


class Surgery:
    """No surgery: gradients are summed as they are. Base class of surgeries, which override `added`.

    For each task i, over the others j in random order: g_i' += added * g_j, with g_j as it was. Gradients
    that are zero change nothing and stay as they are.
    """

    def __init__(self, seed: int = 0):
        self.generator = torch.Generator().manual_seed(seed)

    def factors(self, products: Tensor, tasks: Sequence[str]) -> list[float]:
        """Returns the factor of each task's gradient in the sum, from products (T, T) g_i . g_k in fp64."""
        changed = torch.eye(len(tasks), dtype=torch.float64)  # c
        for i, task in enumerate(tasks):
            for j in torch.randperm(len(tasks), generator=self.generator).tolist():
                own, other = float(changed[i] @ products @ changed[i]), float(products[j, j])
                if j != i and other > 0 and own > VANISHED * float(products[i, i]):
                    product = float(changed[i] @ products[:, j])
                    changed[i, j] += self.added(product, math.sqrt(own), math.sqrt(other), task, tasks[j])
        return changed.sum(dim=0).tolist()

    def added(self, product: float, own: float, other: float, task: str, other_task: str) -> float:
        """Returns the factor of g_j that is added to g_i'; product g_i' . g_j, own |g_i'|, other |g_j|."""
        return 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])


class PCGrad(Surgery):
    """Projecting conflicting gradients (Yu et al. 2020, algorithm 1).

    Where g_i' . g_j < 0: g_i' -= (g_i' . g_j / |g_j|^2) g_j, which is the projection onto g_j's normal plane.
    """

    def added(self, product: float, own: float, other: float, task: str, other_task: str) -> float:
        return -min(product, 0.0) / other**2


class GradVac(Surgery):
    """Gradient vaccine (Wang et al. 2021, algorithm 1), with one cosine a pair for all shared tensors.

    With cosine c = g_i' . g_j / (|g_i'| |g_j|) and its target t, an average of the pair's cosines so far:
    where c < t, g_i' += |g_i'| (t sqrt(1 - c^2) - c sqrt(1 - t^2)) / (|g_j| sqrt(1 - t^2)) g_j, after which
    the cosine is t. Then t = (1 - decay) t + decay c, from 0. PCGrad is the case of targets that stay 0.
    """

    def __init__(self, decay: float, seed: int = 0):
        super().__init__(seed)
        self.decay = decay
        self.targets: dict[str, float] = {}

    def added(self, product: float, own: float, other: float, task: str, other_task: str) -> float:
        cosine = max(-1.0, min(1.0, product / (own * other)))
        pair = f"{task} {other_task}"
        target = self.targets.get(pair, 0.0)
        self.targets[pair] = (1 - self.decay) * target + self.decay * cosine
        sine = math.sqrt(1 - target**2)
        if cosine >= target or sine == 0:
            return 0.0
        return own * (target * math.sqrt(1 - cosine**2) - cosine * sine) / (other * sine)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"targets": dict(self.targets)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.targets = dict(state["targets"])


def find_surgery(name: str, target_decay: float, seed: int) -> Surgery:
    """Returns the surgery of a name: none, pcgrad or gradvac."""
    if name == "gradvac":
        return GradVac(target_decay, seed)
    return {"none": Surgery, "pcgrad": PCGrad}[name](seed)
