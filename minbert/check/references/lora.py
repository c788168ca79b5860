"""LoRA in fp64 (Hu et al. 2021, section 4.1): W x + b + alpha / rank B A x, its gradients, the merged weight.

Gradients are those of the sum of outputs times a fixed direction, worked out by hand.
"""

from typing import Any

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.stage import Array, Arrays

LAYERS = {  # name: (in, out, rank, alpha); alpha / rank is not whole
    "square": (6, 6, 2, 5.0),
    "wide": (6, 4, 3, 4.0),
}

WRITTEN = ("output", "gradient", "merged")  # beginnings of outputs that the fixture has


class LoRA:
    """A linear layer (in -> out) with adapters A (rank, in) and B (out, rank).

    `outputs()` gives what each stage sees of it. Inputs x (..., in); direction (..., out) is the gradient of
    the output.
    """

    cut: frozenset[str] = frozenset()  # where gradients end: A, B, base (through it), adapters (through them)

    def __init__(self, given: Arrays, rank: int, alpha: float):
        self.weight, self.bias, self.A, self.B, self.x, self.direction = (
            given[name].astype(np.float64)
            for name in ("weight", "bias", "lora_A", "lora_B", "x", "direction")
        )
        self.rank, self.alpha = rank, alpha

    @classmethod
    def named(cls, layer: str) -> "LoRA":
        """With the inputs of the fixture."""
        tensors, settings = model_fixture("lora")
        given = {
            key.removeprefix(f"{layer}/"): value for key, value in tensors.items() if key.startswith(layer)
        }
        return cls(given, **settings[layer])

    def outputs(self) -> Arrays:
        gradients = {
            name: np.zeros_like(value) if name in self.cut else value
            for name, value in self.gradients().items()
        }
        return {
            "shape of lora_A": np.array(self.shape_of_A()),
            "shape of lora_B": np.array(self.shape_of_B()),
            "lora_A has values": np.array([float(self.A_has_values())]),
            "lora_B": np.zeros(self.shape_of_B()),
            "values to train": np.array([self.to_train()]),
            "output": self.base() + self.update(),
            "gradient of lora_A": gradients["A"],
            "gradient of lora_B": gradients["B"],
            "gradient of the input": gradients["base"] + gradients["adapters"],
            "merged weight": self.merged_weight(),
            "merged bias": self.merged_bias(),
        }

    def shape_of_A(self) -> tuple[int, ...]:
        return self.A.shape

    def shape_of_B(self) -> tuple[int, ...]:
        return self.B.shape

    def A_has_values(self) -> bool:
        return True

    def to_train(self) -> int:
        return self.A.size + self.B.size

    def scale(self) -> float:
        return self.alpha / self.rank

    def base(self) -> Array:
        return self.x @ self.weight.T + self.bias

    def update(self) -> Array:
        return self.scale() * (self.x @ self.A.T @ self.B.T)

    def gradients(self) -> Arrays:
        """Of A and B, and of x through the base and through the adapters."""
        x, direction = (values.reshape(-1, values.shape[-1]) for values in (self.x, self.direction))
        before_A, after_A = direction @ self.B, x @ self.A.T  # (T, rank)
        scale = self.alpha / self.rank
        return {
            "A": scale * before_A.T @ x,
            "B": scale * direction.T @ after_A,
            "base": self.direction @ self.weight,
            "adapters": scale * (self.direction @ self.B @ self.A),
        }

    def merged_weight(self) -> Array:
        return self.weight + self.alpha / self.rank * (self.B @ self.A)

    def merged_bias(self) -> Array:
        return self.bias


def inputs(seed: int, size_in: int, size_out: int, rank: int) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes = {
        "weight": (size_out, size_in),
        "bias": (size_out,),
        "lora_A": (rank, size_in),
        "lora_B": (size_out, rank),
        "x": (2, 3, size_in),
        "direction": (2, 3, size_out),
    }
    return {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


def fixture() -> tuple[Arrays, dict[str, Any]]:
    """For each layer L: "L/NAME" of inputs and "L/expected/OUTPUT"; settings: its rank and alpha."""
    tensors: Arrays = {}
    settings = {}
    for seed, (layer, (size_in, size_out, rank, alpha)) in enumerate(LAYERS.items()):
        given = inputs(seed, size_in, size_out, rank)
        tensors |= {f"{layer}/{name}": value for name, value in given.items()}
        outputs = LoRA(given, rank, alpha).outputs()
        tensors |= {
            f"{layer}/expected/{name}": value for name, value in outputs.items() if name.startswith(WRITTEN)
        }
        settings[layer] = {"rank": rank, "alpha": alpha}
    return tensors, settings
