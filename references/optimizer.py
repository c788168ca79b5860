"""AdamW in fp64: Adam with decoupled weight decay, in the form of the CS224N handout.

Kingma and Ba 2015, algorithm 1 with the rate of the end of section 2 (epsilon stands beside the root of the
uncorrected second moment), and Loshchilov and Hutter 2019 for the decay, of the weights after the update.
"""

import math
from typing import Any

import numpy as np

DEFAULTS = {
    "lr": 1e-3,
    "betas": (0.9, 0.999),
    "eps": 1e-6,
    "weight_decay": 0.0,
    "correct_bias": True,
}
# Far from the defaults, so that a hard-coded value shows; epsilon matters in "tiny gradients" only.
USUAL = {"lr": 0.2, "betas": (0.8, 0.95), "eps": 1e-9, "weight_decay": 0.0, "correct_bias": True}
DECAYED = USUAL | {"weight_decay": 0.5}
SHAPE = (3, 4)

Arrays = dict[str, np.ndarray]


def exact(values: np.ndarray) -> np.ndarray:
    """Rounded to what fp32 holds."""
    return values.astype(np.float32)


def random_values(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
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
) -> tuple[Arrays, dict[str, Any]]:
    """Starting values, gradients of each step (save those in `without`) and settings of a few steps."""
    rng = np.random.default_rng(seed)
    arrays = {f"start/{name}": random_values(rng, shape, 0.5, 1.5) for name, shape in parameters.items()}
    for step in range(1, steps + 1):
        size = rng.choice([0.2, 1.0, 3.0]) if step > 1 else 1.0
        for name, shape in parameters.items():
            gradient = random_values(rng, shape, 0.3 * size, 1.2 * size)
            if (step, name) not in without:
                arrays[f"gradient {step}/{name}"] = gradient
    groups = groups or [{"parameters": list(parameters)}]
    return arrays, {"steps": steps, "settings": settings, "groups": groups, "rates": rates}


def tiny_gradients() -> tuple[Arrays, dict[str, Any]]:
    """Gradients from 1e-8 to 1e-3 under an epsilon of 1e-5."""
    arrays, settings = scenario(5, 3, {"weight": SHAPE}, USUAL | {"eps": 1e-5})
    sizes = np.logspace(-8, -3, 12).reshape(SHAPE)
    for step in (1, 2, 3):
        arrays[f"gradient {step}/weight"] = exact(arrays[f"gradient {step}/weight"] * sizes)
    return arrays, settings


def first_step() -> tuple[Arrays, dict[str, Any]]:
    """One gradient is 0, as those of words that a batch does not have: 0 / (0 + epsilon)."""
    arrays, settings = scenario(0, 1, {"weight": SHAPE})
    arrays["gradient 1/weight"][0, 1] = 0
    return arrays, settings


def scenarios() -> dict[str, tuple[Arrays, dict[str, Any]]]:
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
        "changing rate": scenario(7, 3, one, DECAYED, rates=[[0.2], [0.05], [0.12]]),
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


def adamw(arrays: Arrays, settings: dict[str, Any]) -> Arrays:
    """The parameters after each step, as "NAME after step T"."""
    expected: Arrays = {}
    names = [name.removeprefix("start/") for name in arrays if name.startswith("start/")]
    values = {name: arrays[f"start/{name}"].astype(np.float64) for name in names}
    first = {name: np.zeros_like(value) for name, value in values.items()}
    second = {name: np.zeros_like(value) for name, value in values.items()}
    times = dict.fromkeys(names, 0)
    for step in range(1, settings["steps"] + 1):
        for number, group in enumerate(settings["groups"]):
            chosen = DEFAULTS | settings["settings"] | group
            alpha = settings["rates"][step - 1][number] if settings["rates"] else chosen["lr"]
            beta1, beta2 = chosen["betas"]
            for name in group["parameters"]:
                if f"gradient {step}/{name}" not in arrays:
                    continue
                gradient = arrays[f"gradient {step}/{name}"].astype(np.float64)
                times[name] += 1
                t = times[name]
                first[name] = beta1 * first[name] + (1 - beta1) * gradient
                second[name] = beta2 * second[name] + (1 - beta2) * gradient**2
                alpha_t = alpha
                if chosen["correct_bias"]:
                    alpha_t = alpha * math.sqrt(1 - beta2**t) / (1 - beta1**t)
                theta = values[name] - alpha_t * first[name] / (np.sqrt(second[name]) + chosen["eps"])
                values[name] = theta - alpha * chosen["weight_decay"] * theta
        expected |= {f"{name} after step {step}": values[name].copy() for name in names}
    return expected


def losses(arrays: Arrays, expected: Arrays, steps: int) -> Arrays:
    """The loss before each step if it is the sum of weight times gradient."""
    weights = [arrays["start/weight"], *(expected[f"weight after step {t}"] for t in range(1, steps))]
    return {
        f"loss of step {t}": np.array(
            [np.sum(arrays[f"gradient {t}/weight"] * weights[t - 1].astype(np.float64))]
        )
        for t in range(1, steps + 1)
    }


def fixture() -> tuple[Arrays, dict[str, Any]]:
    """For each scenario S: "S/start/NAME", "S/gradient T/NAME", "S/expected/OUTPUT"; its settings by S."""
    tensors: Arrays = {}
    all_settings = {}
    for scene, (arrays, settings) in scenarios().items():
        expected = adamw(arrays, settings)
        if scene == "closure":
            expected |= losses(arrays, expected, settings["steps"])
        tensors |= {f"{scene}/{name}": value for name, value in arrays.items()}
        tensors |= {f"{scene}/expected/{name}": value for name, value in expected.items()}
        all_settings[scene] = settings
    return tensors, all_settings
