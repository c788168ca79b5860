"""LoRA in fp64, one method for each part; a mistake is a subclass in which one part is wrong."""

from collections.abc import Iterable
from functools import partial

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.stage import Mistake, Outputs

OUTPUT = "Take linear(x) + alpha / rank * (x @ lora_A.T @ lora_B.T)."
SCALE = "Scale the adapters' part by alpha / rank: " + OUTPUT[0].lower() + OUTPUT[1:]
MERGED = "Take weight + alpha / rank * (lora_B @ lora_A), (out, in), and the layer's bias."
FROZEN = "Call requires_grad_(False) on the wrapped layer's weight and bias; lora_A and lora_B are trained."
DIFFERENTIABLE = "Compute the output without detach(), .data and torch.no_grad()."


class Adapted:
    """A linear layer (in -> out) with adapters A (rank, in) and B (out, rank).

    `outputs()` gives what each stage sees of it. Inputs x (..., in); direction (..., out) is the gradient of
    the output.
    """

    name = cause = remedy = ""  # of a mistake

    def __init__(self, layer: str):
        tensors, settings = model_fixture("lora")
        self.weight, self.bias, self.A, self.B, self.x, self.direction = (
            tensors[f"{layer}/{name}"].astype(np.float64)
            for name in ("weight", "bias", "lora_A", "lora_B", "x", "direction")
        )
        self.rank, self.alpha = settings[layer]["rank"], settings[layer]["alpha"]

    def outputs(self) -> dict[str, np.ndarray]:
        merged_weight, merged_bias = self.merged()
        return {
            "shape of lora_A": np.array(self.shape_of_A()),
            "shape of lora_B": np.array(self.shape_of_B()),
            "lora_A has values": np.array([float(self.A_has_values())]),
            "lora_B": np.zeros(self.shape_of_B()),
            "values to train": np.array([self.to_train()]),
            "output": self.base() + self.update(),
            "gradient of lora_A": self.gradient_of_A(),
            "gradient of lora_B": self.gradient_of_B(),
            "gradient of the input": self.gradient_through_base() + self.gradient_through_adapters(),
            "merged weight": merged_weight,
            "merged bias": merged_bias,
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

    def base(self) -> np.ndarray:
        return self.x @ self.weight.T + self.bias

    def update(self) -> np.ndarray:
        return self.scale() * (self.x @ self.A.T @ self.B.T)

    def gradient_of_A(self) -> np.ndarray:
        before_A = (self.direction @ self.B).reshape(-1, self.rank)  # (T, rank)
        return self.alpha / self.rank * before_A.T @ self.x.reshape(-1, self.x.shape[-1])

    def gradient_of_B(self) -> np.ndarray:
        after_A = (self.x @ self.A.T).reshape(-1, self.rank)  # (T, rank)
        return self.alpha / self.rank * self.direction.reshape(-1, self.direction.shape[-1]).T @ after_A

    def gradient_through_base(self) -> np.ndarray:
        return self.direction @ self.weight

    def gradient_through_adapters(self) -> np.ndarray:
        return self.alpha / self.rank * (self.direction @ self.B @ self.A)

    def merged(self) -> tuple[np.ndarray, np.ndarray]:
        return self.weight + self.alpha / self.rank * (self.B @ self.A), self.bias


# Seen in a layer as it is made


class StoredTransposed(Adapted):
    name = "lora_A and lora_B stored transposed"
    cause = "lora_A is (in, rank) and lora_B is (rank, out)."
    remedy = "Make lora_A (rank, in) and lora_B (out, rank), as peft and the paper do."

    def shape_of_A(self):
        return self.A.shape[::-1]

    def shape_of_B(self):
        return self.B.shape[::-1]


class BothZero(Adapted):
    name = "lora_A and lora_B both zero"
    cause = "With both zero all gradients of the adapters are zero, and nothing is ever learnt."
    remedy = "Fill lora_A at random, for instance by nn.init.kaiming_uniform_; only lora_B is zero at first."

    def A_has_values(self):
        return False


def _is_random(B: np.ndarray | None) -> bool:
    return B is not None and bool(np.any(B != 0))


def random_B(given: Outputs, expected: Outputs) -> bool:
    """Both adapters have values."""
    return _is_random(given.get("lora_B")) and bool(np.all(given.get("lora_A has values") == 1))


def zero_A(given: Outputs, expected: Outputs) -> bool:
    """B has values and A has none."""
    return _is_random(given.get("lora_B")) and bool(np.all(given.get("lora_A has values") == 0))


RANDOM_MISTAKES = (
    Mistake(
        "lora_B not zero at first",
        "lora_B was filled at random, so the layer does not start from the pretrained one.",
        "Make lora_B zero at first: nn.Parameter(torch.zeros(out, rank)).",
        recognise=random_B,
    ),
    Mistake(
        "lora_A zero at first instead of lora_B",
        "lora_A is zero and lora_B was filled at random.",
        "Fill lora_A at random and make lora_B zero, as the paper does.",
        recognise=zero_A,
    ),
)
NEW_LAYER = (StoredTransposed, BothZero)


# Seen in what is trained


class BaseNotFrozen(Adapted):
    name = "wrapped layer not frozen"
    cause = "The wrapped layer's weight and bias are trained too."
    remedy = FROZEN

    def to_train(self):
        return super().to_train() + self.weight.size + self.bias.size


class BiasNotFrozen(Adapted):
    name = "wrapped layer's bias not frozen"
    cause = "The wrapped layer's weight is frozen, but its bias is trained."
    remedy = FROZEN

    def to_train(self):
        return super().to_train() + self.bias.size


class WeightNotFrozen(Adapted):
    name = "wrapped layer's weight not frozen"
    cause = "The wrapped layer's bias is frozen, but its weight is trained."
    remedy = FROZEN

    def to_train(self):
        return super().to_train() + self.weight.size


class NothingToTrain(Adapted):
    name = "adapters frozen"
    cause = "Neither lora_A nor lora_B is trained: they are frozen, or no nn.Parameter."
    remedy = "Make them nn.Parameter, and freeze only the wrapped layer."

    def to_train(self):
        return 0


class OnlyAToTrain(Adapted):
    name = "lora_B frozen"
    cause = "Only lora_A is trained: lora_B is frozen, or no nn.Parameter."
    remedy = "Make both nn.Parameter, and freeze only the wrapped layer."

    def to_train(self):
        return self.A.size


class OnlyBToTrain(Adapted):
    name = "lora_A frozen"
    cause = "Only lora_B is trained: lora_A is frozen, or no nn.Parameter."
    remedy = "Make both nn.Parameter, and freeze only the wrapped layer."

    def to_train(self):
        return self.B.size


TRAINED = (BaseNotFrozen, BiasNotFrozen, WeightNotFrozen, NothingToTrain, OnlyAToTrain, OnlyBToTrain)


def mistakes(layer: str, kinds: Iterable[type[Adapted]], outputs: tuple[str, ...]) -> tuple[Mistake, ...]:
    """What each kind of mistake makes of the named outputs."""
    return tuple(
        Mistake(kind.name, kind.cause, kind.remedy, partial(predict, kind, layer, outputs)) for kind in kinds
    )


def predict(kind: type[Adapted], layer: str, outputs: tuple[str, ...]) -> Outputs:
    found = kind(layer).outputs()
    return {name: found[name] for name in outputs}
