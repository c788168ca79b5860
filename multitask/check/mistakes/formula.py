"""A formula as a class with one method a step, and a mistake as a class that replaces one of these steps.

The formulas are fp64 numpy and share nothing with the references that made the fixtures.
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from minbert.check import Mistake, Outputs


class Formula:
    """A loss of N examples: `losses` of each, and their mean. `number` is its last argument, if any."""

    usual = 0.0

    def __init__(self, number: float | None = None):
        self.number = number

    def loss(self, *inputs: np.ndarray) -> np.ndarray:
        return np.asarray(self.reduce(self.losses(*inputs)))

    def losses(self, *inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def reduce(self, losses: np.ndarray) -> np.ndarray:
        return losses.mean()

    def log(self, x: np.ndarray) -> np.ndarray:
        return np.log(x)


class Slip:
    """One step of a formula done wrong: what it is called, what was done, what to do instead."""

    title: str
    cause: str
    remedy: str


def mistakes(
    function: str, formula: type, slips: Iterable[type[Slip]], outputs: Callable[[type], Outputs]
) -> tuple[Mistake, ...]:
    """The slips in a formula as mistakes; `outputs` runs a formula on the stage's inputs."""
    return tuple(
        Mistake(
            name=f"{slip.title} ({function})",
            cause=slip.cause,
            remedy=slip.remedy,
            predict=partial(outputs, type(slip.__name__, (slip, formula), {})),
        )
        for slip in slips
    )


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Summed(Slip):
    title = "sum instead of mean"
    cause = "The examples' losses are added up."
    remedy = "Divide by the number of examples: loss = sum_i loss_i / N."

    def reduce(self, losses):
        return losses.sum()


class OverOneLess(Slip):
    title = "divided by N - 1"
    cause = "The sum is divided by one less than the number of examples."
    remedy = "Divide by the number of examples: loss = sum_i loss_i / N."

    def reduce(self, losses):
        return losses.sum() / (len(losses) - 1)


class NotReduced(Slip):
    title = "one loss for each example"
    cause = "The losses are returned as a vector; the mean over the examples is missing."
    remedy = "Return the mean: loss = sum_i loss_i / N."

    def reduce(self, losses):
        return losses


class BaseTwo(Slip):
    title = "logarithm to base 2"
    cause = "The logarithm is to base 2, so the loss is 1 / ln 2 = 1.44 times too large."
    remedy = "Take the natural logarithm (torch.log)."

    def log(self, x):
        return np.log2(x)


class NumberIgnored(Slip):
    title = "last argument ignored"
    cause = "The usual value is written into the code, and the one that the caller gives is not used."
    remedy = "Use the argument; another gamma, temperature or scale has to give another loss."

    def __init__(self, number=None):
        super().__init__(self.usual)


class SignReversed(Slip):
    title = "minus missing"
    cause = "The log-likelihood is returned as it is, so that training would make it smaller."
    remedy = "Put a minus before it: loss = -log p."

    def reduce(self, losses):
        return -super().reduce(losses)
