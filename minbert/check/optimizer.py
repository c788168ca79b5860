"""AdamW checked step by step: each stage is a few steps whose settings bring out one part of the formula."""

from functools import partial
from types import ModuleType

import numpy as np
import torch
from torch.optim import Optimizer

from minbert.check.mistakes.optimizer import Scenario, Steps, mistakes
from minbert.check.mistakes.optimizer_calls import (
    CALLS,
    CLOSURE,
    CLOSURE_CALLED_TWICE,
    GRADIENTS,
    GRADIENTS_ON,
    LOSS,
    GradientLeft,
)
from minbert.check.mistakes.optimizer_decay import FIRST_STEP_WITH_DECAY, SEVERAL_STEPS_WITH_DECAY
from minbert.check.mistakes.optimizer_later import (
    CHANGING_RATE,
    NO_BIAS_CORRECTION,
    SEVERAL_STEPS,
    TINY_GRADIENTS,
)
from minbert.check.mistakes.optimizer_parameters import (
    MISSING_GRADIENTS,
    PARAMETER_GROUPS,
    SEVERAL_PARAMETERS,
)
from minbert.check.mistakes.optimizer_update import FIRST_STEP, ZERO_GRADIENT
from minbert.check.stage import NotThere, Outputs, Part, Stage

FIRST_COUNT = "1 - beta^t is 0 for t = 0; at a parameter's first step t is 1"


def own() -> type[Optimizer]:
    from minbert.optim import AdamW

    return AdamW


def load(module: ModuleType) -> type[Optimizer] | None:
    """The class AdamW of a file, or None where there is none."""
    return getattr(module, "AdamW", None)


class Run:
    """An optimizer and the parameters of a scenario, fp32."""

    def __init__(self, candidate: type[Optimizer] | None, scenario: Scenario):
        if candidate is None:
            raise NotThere("the file has no class AdamW")
        self.scenario = scenario
        self.parameters = {
            name: torch.nn.Parameter(torch.tensor(value)) for name, value in scenario.start.items()
        }
        groups = [
            {"params": [self.parameters[name] for name in group["parameters"]]} | scenario.of_group(number)
            for number, group in enumerate(scenario.groups)
        ]
        plain = len(groups) == 1
        self.optimizer = candidate(groups[0]["params"] if plain else groups, **scenario.settings)

    def set_gradients(self, step: int) -> None:
        for name, parameter in self.parameters.items():
            gradient = self.scenario.gradients.get((step, name))
            parameter.grad = None if gradient is None else torch.tensor(gradient)

    def set_rates(self, step: int) -> None:
        if self.scenario.rates is not None:
            for group, rate in zip(self.optimizer.param_groups, self.scenario.rates[step - 1], strict=True):
                group["lr"] = rate

    def step(self, closure=None):
        try:
            return self.optimizer.step() if closure is None else self.optimizer.step(closure)
        except ZeroDivisionError as error:
            error.add_note(FIRST_COUNT)
            raise

    def values(self, step: int) -> Outputs:
        return {
            f"{name} after step {step}": parameter.detach().numpy().copy()
            for name, parameter in self.parameters.items()
        }


def run_steps(scene: str, candidate: type[Optimizer] | None) -> Outputs:
    """The parameters after each step of a scenario."""
    run = Run(candidate, Scenario.named(scene))
    found = {}
    for step in range(1, run.scenario.steps + 1):
        run.set_gradients(step)
        run.set_rates(step)
        run.step()
        found |= run.values(step)
    return found


def run_closure(candidate: type[Optimizer] | None) -> Outputs:
    """Steps with a closure: parameters, the loss returned, how often it was called and under which mode."""
    run = Run(candidate, Scenario.named("closure"))
    weight, found = run.parameters["weight"], {}
    for step in range(1, run.scenario.steps + 1):
        modes = []

        def closure(step=step, modes=modes):
            modes.append(torch.is_grad_enabled())
            with torch.enable_grad():
                weight.grad = None
                loss = (weight * torch.tensor(run.scenario.gradients[step, "weight"])).sum()
                loss.backward()
            return loss

        loss = run.step(closure)
        found |= run.values(step)
        found[f"{LOSS}{step}"] = np.array([number(loss)])
        found[f"{CALLS}{step}"] = np.array([float(len(modes))])
        found[f"{GRADIENTS_ON}{step}"] = np.array([float(all(modes))])
    return found


def number(loss: torch.Tensor | float | None) -> float:
    return np.nan if loss is None else float(torch.as_tensor(loss).detach())


def closure_expected() -> Outputs:
    scenario = Scenario.named("closure")
    calls = {}
    for step in range(1, scenario.steps + 1):
        calls[f"{CALLS}{step}"] = np.array([1.0])
        calls[f"{GRADIENTS_ON}{step}"] = np.array([1.0])
    return {**scenario.expected, **calls}


def run_gradients(candidate: type[Optimizer] | None) -> Outputs:
    """The gradient after a step; one that was removed counts as zero."""
    run = Run(candidate, Scenario.named("first step with decay"))
    run.set_gradients(1)
    run.step()
    weight = run.parameters["weight"]
    gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
    return {"gradient after the step": gradient.detach().numpy().copy()}


def gradients_expected() -> Outputs:
    return GradientLeft(Scenario.named("first step with decay")).outputs()


def stage(scene: str, kinds: tuple[type[Steps], ...], builds_on: tuple[str, ...] = ()) -> Stage:
    return Stage(
        name=scene,
        run=partial(run_steps, scene),
        expected=lambda: Scenario.named(scene).expected,
        mistakes=mistakes(scene, kinds),
        builds_on=builds_on,
    )


# "several steps" builds on no stage: it tells apart what the first step cannot.
UPDATE = ("first step", "several steps")
WHOLE = (*UPDATE, "first step with decay", "several steps with decay")

OPTIMIZER = Part(
    name="optimizer",
    file="optimizer.py",
    stages=(
        stage("first step", (*FIRST_STEP, *ZERO_GRADIENT)),
        stage("several steps", (*FIRST_STEP, *SEVERAL_STEPS)),
        stage("several parameters", SEVERAL_PARAMETERS, UPDATE),
        stage("first step with decay", FIRST_STEP_WITH_DECAY, ("first step",)),
        stage("several steps with decay", SEVERAL_STEPS_WITH_DECAY, (*WHOLE[:3], "several parameters")),
        stage("no bias correction", NO_BIAS_CORRECTION, ("several steps",)),
        stage("tiny gradients", TINY_GRADIENTS, UPDATE),
        stage("changing rate", CHANGING_RATE, WHOLE),
        stage("parameter groups", PARAMETER_GROUPS, (*WHOLE, "several parameters")),
        stage("missing gradients", MISSING_GRADIENTS, (*WHOLE, "several parameters")),
        Stage(
            name="closure",
            run=run_closure,
            expected=closure_expected,
            mistakes=(*mistakes("closure", CLOSURE), CLOSURE_CALLED_TWICE),
            builds_on=WHOLE,
        ),
        Stage(
            name="gradients unchanged",
            run=run_gradients,
            expected=gradients_expected,
            mistakes=mistakes("first step with decay", GRADIENTS),
        ),
    ),
    load=load,
    own=own,
)
