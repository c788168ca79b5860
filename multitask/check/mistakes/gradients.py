"""Mistakes that only gradients show: the loss is right, and cut off from what it was made of."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from minbert.check import Mistake, Outputs
from multitask.check.mistakes.formula import softmax

CUT = "cut off from the gradient"


def gradient_mistakes(
    function: str, expected: Callable[[], Outputs], inputs: Mapping[str, np.ndarray], numbers: list[float]
) -> tuple[Mistake, ...]:
    """Those of one loss; `expected` gives the right gradients, named "gradient of INPUT"."""
    names = [name for name in inputs if name != "labels"]
    known = [
        Mistake(
            name=f"no gradient flows ({function})",
            cause="The loss left torch on its way, by item(), detach(), numpy() or torch.no_grad().",
            remedy="Compute the loss with torch operations from the inputs to the scalar.",
            predict=partial(_without, expected, names),
        )
    ]
    if len(names) > 1:
        known += [_cut(function, expected, (name,)) for name in names]
    if len(names) > 2:
        known.append(_cut(function, expected, tuple(names[1:])))
    if function == "focal":
        known.append(_factor_cut(inputs, numbers[0]))
    if function == "symmetric_kl":
        known.append(_targets_cut(inputs))
    return tuple(known)


def _without(expected: Callable[[], Outputs], names: list[str]) -> Outputs:
    cut = {f"gradient of {name}" for name in names}
    return {key: value * (key not in cut) for key, value in expected().items()}


def _cut(function: str, expected: Callable[[], Outputs], names: tuple[str, ...]) -> Mistake:
    subject = " and ".join(names)
    return Mistake(
        name=f"{subject} {CUT} ({function})",
        cause=f"The gradient ends at {subject}, which was detached or computed under torch.no_grad().",
        remedy="Let the gradient flow into all vectors or logits: both sides learn.",
        predict=partial(_without, expected, list(names)),
    )


def _factor_cut(inputs: Mapping[str, np.ndarray], gamma: float) -> Mistake:
    def predict() -> Outputs:
        p = softmax(inputs["logits"].astype(np.float64))
        of_labels = np.eye(p.shape[1])[inputs["labels"]]
        factor = (1 - (p * of_labels).sum(axis=1, keepdims=True)) ** gamma
        return {"gradient of logits": factor * (p - of_labels) / len(p)}

    return Mistake(
        name=f"factor {CUT} (focal)",
        cause="(1 - p)^gamma was detached, so that it counts as a constant.",
        remedy="Let the gradient flow through the factor too: it is part of the loss.",
        predict=predict,
    )


def _targets_cut(inputs: Mapping[str, np.ndarray]) -> Mistake:
    def predict() -> Outputs:
        p, q = (softmax(inputs[name].astype(np.float64)) for name in ("p_logits", "q_logits"))
        gradient = (p - q) / 2 / len(p)  # of the cross-entropy with the other distribution as its target
        return {"gradient of p_logits": gradient, "gradient of q_logits": -gradient}

    return Mistake(
        name=f"targets {CUT} (symmetric_kl)",
        cause="The second argument of each F.kl_div, the target, was detached.",
        remedy="Let the gradient flow through both arguments of both divergences.",
        predict=predict,
    )
