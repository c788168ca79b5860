"""The losses of the same steps by ours and by a peer: same start, same batches, no dropout, same AdamW."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from own_training import OwnTraining
from padded import PaddedSteps, adamw, peer_of, planned_batches
from torch import Tensor
from torch.optim import Optimizer

STEPS = 5
BETA2 = 0.999  # of AdamW, here and there
EPS = 1e-6  # added to the root of the second moment before the correction of its bias, see minbert/optim.py


class Curves(NamedTuple):
    """The loss of each step."""

    ours: list[float]
    peer: list[float]


def exact(rate: float) -> dict[str, Any]:
    """`optim` of a run whose steps torch's AdamW can repeat: one rate for all, and no decay."""
    rates = {"lr": rate, "head_lr": rate}
    return {"optim": {**rates, "weight_decay": 0.0, "eps": EPS, "schedule": "constant", "warmup": 0.0}}


def losses(step: Callable[[Any], Tensor], optimizer: Optimizer, inputs: Sequence[Any]) -> list[float]:
    """The losses of a peer's steps, from its first on; the optimizer's eps is put where ours has it."""
    found = []
    for number, given in enumerate(inputs, start=1):
        for group in optimizer.param_groups:
            group["eps"] = EPS / math.sqrt(1 - BETA2**number)
        found.append(float(step(given)))
    return found


def curves(values: dict[str, Any]) -> Curves:
    """The first steps of a run with `exact` settings, by ours and by the peer that pads."""
    training = OwnTraining(values)
    model = peer_of(training)
    optimizer = adamw(model, rate=training.config.optim.lr, weight_decay=0.0)
    batches = list(islice(planned_batches(training), STEPS))
    peer = PaddedSteps(model, batches, STEPS, training.config.precision, optimizer)
    return Curves(training.take(STEPS).losses, losses(peer.step, optimizer, batches))


def differences(questions: Sequence[Any], values: Callable[[str], dict[str, Any]]) -> dict[Any, str]:
    """For each question, ours against its peer, each in its precision; `values(precision)` are exact ones."""

    @cache
    def both(precision: str) -> Curves:
        return curves(values(precision))

    return {q: difference(both(q.precision).ours, both(q.peer.precision).peer) for q in questions}


def difference(ours: Sequence[float], peer: Sequence[float]) -> str:
    """How far two curves are apart, as a table says it."""
    most = max(abs(a - b) / abs(b) for a, b in zip(ours, peer, strict=True))
    return f"{len(ours)} losses, {most:.1e} relative"
