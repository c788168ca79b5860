"""AdamW step by step in fp64, the inputs it is checked on, and how a wrong part of it becomes a Mistake.

A mistake is a subclass of Steps in which one part is wrong; they stand in the files optimizer_*.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.stage import Mistake, Outputs


@dataclass(frozen=True)
class Settings:
    """What is in force for a group at a step."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    weight_decay: float = 0.0
    correct_bias: bool = True


@dataclass(frozen=True)
class Scenario:
    """A few steps of an optimizer: starting values and gradients, all fp32, and settings.

    `settings` go to the constructor, `groups` list "parameters" and what else a group has of its own,
    `rates[step - 1][number]` is the rate that a group has at a step, where it changes.
    """

    start: Mapping[str, np.ndarray]
    gradients: Mapping[tuple[int, str], np.ndarray]  # (step, parameter); a missing one is no gradient
    expected: Outputs
    steps: int
    settings: Mapping[str, Any]
    groups: list[dict[str, Any]]
    rates: list[list[float]] | None

    @classmethod
    def named(cls, name: str) -> "Scenario":
        """The scenario of that name in the fixture."""
        tensors, settings = model_fixture("optimizer")
        start, gradients, expected = {}, {}, {}
        for key, value in tensors.items():
            scene, kind, rest = key.split("/", 2)
            if scene != name:
                continue
            if kind == "start":
                start[rest] = value
            elif kind == "expected":
                expected[rest] = value
            else:
                gradients[int(kind.removeprefix("gradient ")), rest] = value
        return cls(start, gradients, expected, **settings[name])

    def of_group(self, number: int) -> dict[str, Any]:
        """What a group is given beside its parameters."""
        return {name: value for name, value in self.groups[number].items() if name != "parameters"}


@dataclass
class State:
    """The moments of a parameter and the number of its steps."""

    first: np.ndarray
    second: np.ndarray
    t: int = 0


@dataclass
class Steps:
    """AdamW in fp64, one method for each part of a step."""

    scenario: Scenario
    values: dict[str, np.ndarray] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)

    name = cause = remedy = ""  # of a mistake

    def __post_init__(self):
        self.values = {name: value.astype(np.float64) for name, value in self.scenario.start.items()}

    def outputs(self) -> dict[str, np.ndarray]:
        """The parameters after each step."""
        found = {}
        for step in range(1, self.scenario.steps + 1):
            with np.errstate(all="ignore"):
                self.step(step)
            found |= {f"{name} after step {step}": value.copy() for name, value in self.values.items()}
        return found

    def step(self, step: int) -> None:
        for number in self.group_numbers():
            settings = self.settings(number, step)
            for name in self.with_gradient(step, self.scenario.groups[number]["parameters"]):
                self.update(name, self.scenario.gradients.get((step, name)), settings)

    def group_numbers(self) -> range:
        return range(len(self.scenario.groups))

    def settings(self, number: int, step: int) -> Settings:
        own = Settings(**{**self.scenario.settings, **self.scenario.of_group(number)})
        if self.scenario.rates is None:
            return own
        return Settings(**{**vars(own), "lr": self.scenario.rates[step - 1][number]})

    def with_gradient(self, step: int, names: list[str]) -> list[str]:
        """The parameters that are updated."""
        return [name for name in names if (step, name) in self.scenario.gradients]

    def state(self, name: str) -> State:
        if name not in self.states:
            zeros = np.zeros_like(self.values[name])
            self.states[name] = State(zeros, zeros)
        return self.states[name]

    def update(self, name: str, gradient: np.ndarray, settings: Settings) -> None:
        before, state = self.values[name], self.state(name)
        gradient = self.gradient(gradient.astype(np.float64), before, settings)
        state.t = self.count(state.t)
        beta1, beta2 = self.betas(settings)
        state.first = self.first_moment(state.first, gradient, beta1)
        state.second = self.second_moment(state.second, gradient, state.first, beta2)
        rate = settings.lr * self.correction(state.t, beta1, beta2, settings.correct_bias)
        root = self.root(state.second, settings.eps, 1 - beta2**state.t)
        after = self.moved(before, rate, self.direction(state.first, gradient), root)
        self.values[name] = self.decayed(before, after, rate, settings)

    def gradient(self, gradient: np.ndarray, value: np.ndarray, settings: Settings) -> np.ndarray:
        return gradient

    def count(self, t: int) -> int:
        return t + 1

    def betas(self, settings: Settings) -> tuple[float, float]:
        return tuple(settings.betas)

    def first_moment(self, old: np.ndarray, gradient: np.ndarray, beta: float) -> np.ndarray:
        return beta * old + (1 - beta) * gradient

    def second_moment(
        self, old: np.ndarray, gradient: np.ndarray, first: np.ndarray, beta: float
    ) -> np.ndarray:
        return beta * old + (1 - beta) * gradient**2

    def correction(self, t: int, beta1: float, beta2: float, correct_bias: bool) -> float:
        """The factor between lr and the size of the step."""
        return np.sqrt(1 - np.float64(beta2) ** t) / (1 - np.float64(beta1) ** t) if correct_bias else 1.0

    def root(self, second: np.ndarray, eps: float, bias: float) -> np.ndarray:
        """What the first moment is divided by; `bias` is 1 - beta2^t."""
        return np.sqrt(second) + eps

    def direction(self, first: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return first

    def moved(self, value: np.ndarray, rate: float, direction: np.ndarray, root: np.ndarray) -> np.ndarray:
        return value - rate * direction / root

    def decayed(self, before: np.ndarray, after: np.ndarray, rate: float, settings: Settings) -> np.ndarray:
        """`before` and `after` are of the update, `rate` is the bias-corrected one."""
        return after - settings.lr * settings.weight_decay * after


def mistakes(scene: str, kinds: Iterable[type[Steps]]) -> tuple[Mistake, ...]:
    """What each kind of mistake makes of a scenario."""
    return tuple(Mistake(kind.name, kind.cause, kind.remedy, partial(predict, kind, scene)) for kind in kinds)


def predict(kind: type[Steps], scene: str) -> Outputs:
    return kind(Scenario.named(scene)).outputs()
