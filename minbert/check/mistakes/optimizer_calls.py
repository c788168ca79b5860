"""Mistakes in what AdamW.step does beside the update: the closure, and the gradients it leaves behind."""

import numpy as np

from minbert.check.mistakes.optimizer import Scenario, Steps
from minbert.check.stage import Mistake, Outputs

LOSS = "loss of step "
CALLS = "calls of the closure in step "
GRADIENTS_ON = "gradients on in the closure of step "


class ClosureSteps(Steps):
    """AdamW.step with a closure that computes the sum of weight times gradient."""

    def outputs(self):
        self.told = {}
        return super().outputs() | self.told

    def step(self, step):
        self.tell(step, self.loss(step))
        super().step(step)

    def loss(self, step: int) -> float:
        return float((self.scenario.gradients[step, "weight"] * self.values["weight"]).sum())

    def tell(self, step: int, loss: float, calls: int = 1, gradients: bool = True) -> None:
        """What is seen of a call: the loss returned, how often the closure was called, under which mode."""
        self.told[f"{LOSS}{step}"] = np.array([loss])
        self.told[f"{CALLS}{step}"] = np.array([float(calls)])
        self.told[f"{GRADIENTS_ON}{step}"] = np.array([float(gradients)])


class ClosureIgnored(ClosureSteps):
    name = "closure ignored"
    cause = "The closure was not called, so there was no gradient and no loss."
    remedy = "Call it first, `loss = closure()`, and return the loss at the end."

    def step(self, step):
        self.tell(step, np.nan, calls=0)


class LossNotReturned(ClosureSteps):
    name = "closure's loss not returned"
    cause = "The closure was called, but step() returned nothing."
    remedy = "Return what the closure gave: `return loss`."

    def loss(self, step):
        return np.nan


class ClosureAfterUpdate(ClosureSteps):
    name = "closure called after the update"
    cause = "The closure was called after the update, which used the gradients of the step before."
    remedy = "Call the closure before the parameters are updated."

    def step(self, step):
        if step > 1:
            Steps.step(self, step - 1)
        self.tell(step, self.loss(step))


class ClosureWithoutGradients(ClosureSteps):
    name = "closure called without gradients"
    cause = "The closure was called under torch.no_grad(), where loss.backward() fails."
    remedy = "Call it in `with torch.enable_grad():`, as torch's optimizers do."

    def tell(self, step, loss, calls=1, gradients=True):
        super().tell(step, loss, calls, False)


CLOSURE = (ClosureIgnored, LossNotReturned, ClosureAfterUpdate, ClosureWithoutGradients)


def called_twice(given: Outputs, expected: Outputs) -> bool:
    """Seen whatever the second call did."""
    return any(np.all(given[name] > 1) for name in expected if name.startswith(CALLS))


CLOSURE_CALLED_TWICE = Mistake(
    "closure called twice",
    "The closure was called twice in a step, which costs twice the time and draws dropout anew.",
    "Keep what the first call gave: `loss = closure()`, and at the end `return loss`.",
    recognise=called_twice,
)


class GradientLeft:
    """The gradient after a step, which has to be what it was before."""

    name = cause = remedy = ""  # of a mistake

    def __init__(self, scenario: Scenario):
        self.gradient = scenario.gradients[1, "weight"].astype(np.float64)
        self.value = scenario.start["weight"].astype(np.float64)
        self.settings = scenario.settings

    def outputs(self) -> dict[str, np.ndarray]:
        return {"gradient after the step": self.left()}

    def left(self) -> np.ndarray:
        return self.gradient


class DecayInGradient(GradientLeft):
    name = "decay added to the gradient in place"
    cause = "weight_decay * p was added to p.grad itself."
    remedy = "Leave p.grad alone, and decay the parameters: p = p - lr * weight_decay * p."

    def left(self):
        return self.gradient + self.settings["weight_decay"] * self.value


class SquaredInPlace(GradientLeft):
    name = "gradient squared in place"
    cause = "p.grad itself was squared for the second moment."
    remedy = "Square into a new tensor: grad * grad, or v.addcmul_(grad, grad, value=1 - beta2)."

    def left(self):
        return self.gradient**2


class ScaledInPlace(GradientLeft):
    name = "gradient scaled in place"
    cause = "p.grad itself was multiplied by 1 - beta1 for the first moment."
    remedy = "Scale into a new tensor: (1 - beta1) * grad, or m.add_(grad, alpha=1 - beta1)."

    def left(self):
        return (1 - self.settings["betas"][0]) * self.gradient


class Cleared(GradientLeft):
    name = "gradients cleared by the step"
    cause = "step() set the gradients to zero, or removed them."
    remedy = "Leave that to whoever calls zero_grad(): the gradients may be summed or looked at."

    def left(self):
        return np.zeros_like(self.gradient)


GRADIENTS = (DecayInGradient, SquaredInPlace, ScaledInPlace, Cleared)
