"""Learning-rate schedules: from a step to the factor on the base rate. Nothing to save or resume."""

import math

from minbert.errors import InputError, did_you_mean


def constant(progress: float) -> float:
    return 1.0


def linear(progress: float) -> float:
    return 1.0 - progress


def cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES = {"constant": constant, "linear": linear, "cosine": cosine}


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
