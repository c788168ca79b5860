"""AdamW in fp64, step by step, and the few steps on which it is checked.

Adam with decoupled weight decay, in the form of the CS224N handout: Kingma and Ba 2015, algorithm 1 with the
rate of the end of section 2 (epsilon stands beside the root of the uncorrected second moment), and Loshchilov
and Hutter 2019 for the decay, of the weights after the update.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.stage import Array, Arrays, Outputs

# Far from the defaults and from each other, so that a hard-coded value shows; epsilon matters in "tiny
# gradients" only.
USUAL = {"lr": 0.15, "betas": (0.8, 0.95), "eps": 1e-9, "weight_decay": 0.0, "correct_bias": True}
DECAYED = USUAL | {"weight_decay": 0.5}
SHAPE = (3, 4)

LOSS = "loss of step "
CALLS = "calls of the closure in step "
GRADIENTS_ON = "gradients on in the closure of step "


@dataclass(frozen=True)
class Settings:
    """The settings of a group at a step."""

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

    start: Mapping[str, Array]
    gradients: Mapping[tuple[int, str], Array]  # (step, parameter); missing: no gradient
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
        """The settings of a group itself."""
        return {name: value for name, value in self.groups[number].items() if name != "parameters"}


@dataclass
class State:
    """The moments of a parameter and the number of its steps."""

    first: Array
    second: Array
    t: int = 0


class AdamW:
    """AdamW in fp64, one method for each part of a step."""

    seen_in: tuple[str, ...] = ()  # other scenarios that tell this mistake from another one
    number = 0  # of the step
    t = 0  # of the steps of the parameter that is updated

    def __init__(self, scenario: Scenario):
        self.scenario = scenario
        self.values = {name: value.astype(np.float64) for name, value in scenario.start.items()}
        self.states: dict[str, State] = {}

    def outputs(self) -> Arrays:
        """The parameters after each step."""
        found = {}
        for step in range(1, self.scenario.steps + 1):
            self.number = step
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
        rates = self.scenario.rates
        return own if rates is None else replace(own, lr=rates[step - 1][number])

    def with_gradient(self, step: int, names: list[str]) -> list[str]:
        """The parameters that are updated."""
        return [name for name in names if (step, name) in self.scenario.gradients]

    def state(self, name: str) -> State:
        return self.states.setdefault(name, self.new_state(name))

    def new_state(self, name: str, t: int = 0) -> State:
        zeros = np.zeros_like(self.values[name])
        return State(zeros, zeros, t)

    def update(self, name: str, gradient: Array, settings: Settings) -> None:
        before, state = self.values[name], self.state(name)
        gradient = self.gradient(gradient.astype(np.float64), before, settings)
        self.t = state.t = self.count(state.t)
        beta1, beta2 = self.betas(settings)
        state.first = self.first_moment(state.first, gradient, beta1)
        state.second = self.second_moment(state.second, gradient, state.first, beta2)
        rate = settings.lr * self.correction(state.t, beta1, beta2, settings.correct_bias)
        root = self.root(state.second, settings.eps, 1 - beta2**state.t)
        after = self.moved(before, rate, self.direction(state.first, gradient), root)
        self.values[name] = self.decayed(before, after, rate, settings)

    def gradient(self, gradient: Array, value: Array, settings: Settings) -> Array:
        return gradient

    def count(self, t: int) -> int:
        return t + 1

    def betas(self, settings: Settings) -> tuple[float, float]:
        return tuple(settings.betas)

    def first_moment(self, old: Array, gradient: Array, beta: float) -> Array:
        return beta * old + (1 - beta) * gradient

    def second_moment(self, old: Array, gradient: Array, first: Array, beta: float) -> Array:
        return beta * old + (1 - beta) * gradient**2

    def correction(self, t: int, beta1: float, beta2: float, correct_bias: bool) -> float:
        """The factor between lr and the size of the step."""
        return np.sqrt(1 - np.float64(beta2) ** t) / (1 - np.float64(beta1) ** t) if correct_bias else 1.0

    def root(self, second: Array, eps: float, bias: float) -> Array:
        """The divisor of the first moment; `bias` is 1 - beta2^t."""
        return np.sqrt(second) + eps

    def direction(self, first: Array, gradient: Array) -> Array:
        return first

    def moved(self, value: Array, rate: float, direction: Array, root: Array) -> Array:
        return value - rate * direction / root

    def decayed(self, before: Array, after: Array, rate: float, settings: Settings) -> Array:
        """`before` and `after` are of the update, `rate` is the bias-corrected one."""
        return after - settings.lr * settings.weight_decay * after


class ClosureAdamW(AdamW):
    """A step with a closure that computes the sum of weight times gradient."""

    def outputs(self) -> Arrays:
        self.told: Arrays = {}
        return super().outputs() | self.told

    def step(self, step: int) -> None:
        self.tell(step, self.loss(step))
        super().step(step)

    def loss(self, step: int) -> float:
        return float((self.scenario.gradients[step, "weight"] * self.values["weight"]).sum())

    def tell(self, step: int, loss: float, calls: int = 1, gradients: bool = True) -> None:
        """Notes the loss returned, how often the closure was called, and whether gradients were on there."""
        for name, value in ((LOSS, loss), (CALLS, calls), (GRADIENTS_ON, gradients)):
            self.told[f"{name}{step}"] = np.array([float(value)])


class GradientLeft:
    """The gradient after a step, which has to be what it was before."""

    def __init__(self, scenario: Scenario):
        self.gradient = scenario.gradients[1, "weight"].astype(np.float64)
        self.value = scenario.start["weight"].astype(np.float64)
        self.settings = scenario.settings

    def outputs(self) -> Arrays:
        return {"gradient after the step": self.left()}

    def left(self) -> Array:
        return self.gradient


def exact(values: Array) -> Array:
    """Rounded to what fp32 holds."""
    return values.astype(np.float32)


def random_values(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Absolute values from low to high, each sign as likely."""
    return exact(rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape))


def scenario(
    seed: int,
    steps: int,
    parameters: dict[str, tuple[int, ...]],
    settings: dict[str, Any] = USUAL,
    groups: list[dict[str, Any]] | None = None,
    rates: list[list[float]] | None = None,
    without: set[tuple[int, str]] = frozenset(),
) -> Scenario:
    """Draws starting values, and gradients of each step save those in `without`."""
    rng = np.random.default_rng(seed)
    start = {name: random_values(rng, shape, 0.5, 1.5) for name, shape in parameters.items()}
    gradients = {}
    for step in range(1, steps + 1):
        size = rng.choice([0.2, 1.0, 3.0]) if step > 1 else 1.0
        for name, shape in parameters.items():
            gradient = random_values(rng, shape, 0.3 * size, 1.2 * size)
            if (step, name) not in without:
                gradients[step, name] = gradient
    groups = groups or [{"parameters": list(parameters)}]
    return Scenario(start, gradients, {}, steps, settings, groups, rates)


def tiny_gradients() -> Scenario:
    """Gradients from 1e-8 to 1e-3 under an epsilon of 1e-5."""
    scene = scenario(5, 3, {"weight": SHAPE}, USUAL | {"eps": 1e-5})
    for key, gradient in scene.gradients.items():
        scene.gradients[key] = exact(gradient * np.logspace(-8, -3, 12).reshape(SHAPE))
    return scene


def first_step() -> Scenario:
    """One gradient is 0, as those of words that a batch does not have: 0 / (0 + epsilon)."""
    scene = scenario(0, 1, {"weight": SHAPE})
    scene.gradients[1, "weight"][0, 1] = 0
    return scene


def scenarios() -> dict[str, Scenario]:
    one, two = {"weight": SHAPE}, {"first weight": SHAPE, "second weight": SHAPE}
    four = {name: SHAPE for name in ("always", "never", "late", "sometimes")}
    return {
        "first step": first_step(),
        "several steps": scenario(1, 5, one),
        "several parameters": scenario(2, 3, two),
        "first step with decay": scenario(3, 1, one, DECAYED),
        "several steps with decay": scenario(4, 3, {"weight": SHAPE, "bias": (4,)}, DECAYED),
        "no bias correction": scenario(6, 3, one, USUAL | {"correct_bias": False}),
        "tiny gradients": tiny_gradients(),
        "changing rate": scenario(7, 3, one, DECAYED, rates=[[0.15], [0.05], [0.12]]),
        "parameter groups": scenario(
            8,
            2,
            two,
            groups=[
                {"parameters": ["first weight"], "lr": 0.1, "weight_decay": 0.5},
                {"parameters": ["second weight"], "lr": 0.05, "betas": (0.6, 0.9), "weight_decay": 0.2},
            ],
        ),
        "missing gradients": scenario(
            9,
            4,
            four,
            DECAYED,
            without={(step, "never") for step in (1, 2, 3, 4)} | {(1, "late"), (2, "late"), (2, "sometimes")},
        ),
        "closure": scenario(10, 2, one, DECAYED),
    }


def fixture() -> tuple[Arrays, dict[str, Any]]:
    """For each scenario S: "S/start/NAME", "S/gradient T/NAME", "S/expected/OUTPUT"; its settings by S."""
    tensors, settings = {}, {}
    for name, scene in scenarios().items():
        expected = (ClosureAdamW if name == "closure" else AdamW)(scene).outputs()
        tensors |= {f"{name}/start/{key}": value for key, value in scene.start.items()}
        tensors |= {f"{name}/gradient {step}/{key}": value for (step, key), value in scene.gradients.items()}
        tensors |= {
            f"{name}/expected/{key}": value
            for key, value in expected.items()
            if not key.startswith((CALLS, GRADIENTS_ON))
        }
        settings[name] = {key: getattr(scene, key) for key in ("steps", "settings", "groups", "rates")}
    return tensors, settings
