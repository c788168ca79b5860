"""AdamW checked step by step: each stage is a few steps whose settings bring out one part of the formula."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import ModuleType

import numpy as np
import torch
from torch.optim import Optimizer

from minbert.check.mistakes import optimizer as table
from minbert.check.mistakes.table import Wrong, mistakes, replay_of
from minbert.check.references.optimizer import (
    CALLS,
    GRADIENTS_ON,
    LOSS,
    AdamW,
    ClosureAdamW,
    GradientLeft,
    Scenario,
)
from minbert.check.stage import MissingImplementation, Mistake, Outputs, Part, Stage

FIRST_COUNT = "1 - beta^t is 0 for t = 0; at a parameter's first step t is 1"


def own() -> type[Optimizer]:
    from minbert.optim import AdamW

    return AdamW


def load(module: ModuleType) -> type[Optimizer] | None:
    """The class AdamW of a file, or None where there is none."""
    return getattr(module, "AdamW", None)


class OptimizerTrial:
    """An optimizer and the parameters of a scenario, fp32."""

    def __init__(self, candidate: type[Optimizer] | None, scenario: Scenario):
        if candidate is None:
            raise MissingImplementation("the file has no class AdamW")
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
    """The parameters after each step of a scenario.

    A division by zero is tried again with numbers of numpy, which give NaN for 0 / 0, as tensors do.
    """
    scenario = Scenario.named(scene)
    try:
        return _steps(scenario, candidate)
    except ZeroDivisionError:
        betas = tuple(map(np.float64, scenario.settings["betas"]))
        with np.errstate(all="ignore"), suppress(ArithmeticError, TypeError, RuntimeError):
            found = _steps(replace(scenario, settings={**scenario.settings, "betas": betas}), candidate)
            if all(np.isnan(values).all() for values in found.values()):
                return found
        raise


def _steps(scenario: Scenario, candidate: type[Optimizer] | None) -> Outputs:
    trial, found = OptimizerTrial(candidate, scenario), {}
    for step in range(1, trial.scenario.steps + 1):
        trial.set_gradients(step)
        trial.set_rates(step)
        trial.step()
        found |= trial.values(step)
    return found


def run_steps_and_tell(scene: str, others: frozenset[str], candidate: type[Optimizer] | None) -> Outputs:
    """Also the steps of other scenarios, which are not compared but tell mistakes apart."""
    found = run_steps(scene, candidate)
    for other in others:
        with suppress(Exception):  # its own stage says why
            found |= {f"{other}: {name}": value for name, value in run_steps(other, candidate).items()}
    return found


def run_closure(candidate: type[Optimizer] | None) -> Outputs:
    """Steps with a closure: parameters, the loss returned, how often it was called and under which mode."""
    trial = OptimizerTrial(candidate, Scenario.named("closure"))
    weight, found = trial.parameters["weight"], {}
    for step in range(1, trial.scenario.steps + 1):
        modes = []

        def closure(step=step, modes=modes):
            modes.append(torch.is_grad_enabled())
            with torch.enable_grad():
                weight.grad = None
                loss = (weight * torch.tensor(trial.scenario.gradients[step, "weight"])).sum()
                loss.backward()
            return loss

        loss = trial.step(closure)
        found |= trial.values(step)
        found[f"{LOSS}{step}"] = np.array([number(loss)])
        found[f"{CALLS}{step}"] = np.array([float(len(modes))])
        found[f"{GRADIENTS_ON}{step}"] = np.array([float(all(modes))])
    return found


def number(loss: torch.Tensor | float | None) -> float:
    return np.nan if loss is None else float(torch.as_tensor(loss).detach())


def run_gradients(candidate: type[Optimizer] | None) -> Outputs:
    """The gradient after a step; one that was removed is NaN."""
    trial = OptimizerTrial(candidate, Scenario.named("first step with decay"))
    trial.set_gradients(1)
    trial.step()
    weight = trial.parameters["weight"]
    gradient = torch.full_like(weight, torch.nan) if weight.grad is None else weight.grad
    return {"gradient after the step": gradient.detach().numpy().copy()}


def stage(
    name: str,
    rows: tuple[Wrong, ...],
    builds_on: tuple[str, ...] = (),
    run: Callable[[type[Optimizer] | None], Outputs] | None = None,
    scene: str = "",
    right: type = AdamW,
    signs: tuple[Mistake, ...] = (),
    points: int = 1,
) -> Stage:
    """A stage on the scenario of its name, or `scene`; `right` are the formulas of what `run` observes."""
    scene = scene or name

    others = frozenset(other for row in rows for other in row.steps.get("seen_in", ()))

    def outputs(kind: type) -> Outputs:
        found = kind(Scenario.named(scene)).outputs()
        for other in getattr(kind, "seen_in", ()):
            also = kind(Scenario.named(other)).outputs()
            found |= {f"{other}: {name}": value for name, value in also.items()}
        return found

    def expected() -> Outputs:
        """From the fixture, and by the formulas what it does not have, such as calls of the closure."""
        found, written = outputs(right), Scenario.named(scene).expected
        return {name: value for name, value in written.items() if name in found} | {
            name: value for name, value in found.items() if name not in written
        }

    known = (*mistakes(rows, right, outputs), *signs)
    run, replay = run or partial(run_steps_and_tell, scene, others), replay_of(right, outputs)
    exact = name != "first step"  # which forgets the gradient's size
    return Stage(name, run, expected, known, builds_on, points, replay=replay, exact=exact)


# "several steps" builds on no stage: it tells apart what the first step cannot.
UPDATE = ("first step", "several steps")
WHOLE = (*UPDATE, "first step with decay", "several steps with decay")
SEVERAL = (*WHOLE, "several parameters")

OPTIMIZER = Part(
    name="optimizer",
    file="optimizer.py",
    stages=(
        stage("first step", table.FIRST_STEP + table.ZERO_GRADIENT),
        stage("several steps", table.FIRST_STEP + table.SEVERAL_STEPS),
        stage("several parameters", table.SEVERAL_PARAMETERS, UPDATE),
        stage("first step with decay", table.FIRST_STEP_WITH_DECAY, ("first step",)),
        stage("several steps with decay", table.SEVERAL_STEPS_WITH_DECAY, (*WHOLE[:3], "several parameters")),
        # Worth nothing: not every edition of the assignment asks for correct_bias=False.
        stage("no bias correction", table.NO_BIAS_CORRECTION, ("several steps",), points=0),
        stage("tiny gradients", table.TINY_GRADIENTS, UPDATE),
        stage("changing rate", table.CHANGING_RATE, WHOLE),
        stage("parameter groups", table.PARAMETER_GROUPS, SEVERAL),
        stage("missing gradients", table.MISSING_GRADIENTS, SEVERAL),
        stage(
            "closure",
            table.CLOSURE,
            WHOLE,
            run_closure,
            right=ClosureAdamW,
            signs=(table.CLOSURE_CALLED_TWICE,),
        ),
        stage(
            "gradients unchanged",
            table.GRADIENTS,
            run=run_gradients,
            scene="first step with decay",
            right=GradientLeft,
        ),
    ),
    load=load,
    own=own,
    names=("AdamW",),
)
