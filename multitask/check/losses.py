"""The part "losses": each loss against its reference, its gradients, and numbers that overflow.

A candidate is `LossFunctions`, a file's functions by name. torch is imported where one is called, so that a
process that only judges does without.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from minbert.check import Outputs, Part, Stage, read_fixture
from multitask.check.functions import Functions
from multitask.check.loss_formulas import LARGE, NUMBERS, gradient
from multitask.check.loss_mistakes import MISTAKES, gradient_mistakes, large_logits_mistakes
from multitask.check.mistakes import known_mistakes

Steps = Mapping[str, Callable]
FORMULAS = {formula.__name__: formula for formula in MISTAKES}


class LossFunctions(Functions):
    """Loss functions, called with arrays; floating ones become fp32 tensors."""

    def loss(self, name: str, inputs: Mapping[str, np.ndarray], numbers: list[float]) -> np.ndarray:
        import torch

        return self.call(name, *(torch.tensor(value) for value in inputs.values()), *numbers)

    def gradients(
        self, name: str, inputs: Mapping[str, np.ndarray], numbers: list[float]
    ) -> dict[str, np.ndarray]:
        """Returns the gradients of all inputs but the labels; zeros where none flows."""
        import torch

        leaves = {key: torch.tensor(value, requires_grad=key != "labels") for key, value in inputs.items()}
        # Copies, so that a function that changes its inputs in place does not fail at a leaf.
        result = self[name](*(leaf.clone() for leaf in leaves.values()), *numbers)
        wanted = {key: leaf for key, leaf in leaves.items() if leaf.requires_grad}
        if not isinstance(result, torch.Tensor) or not result.requires_grad:
            return {key: np.zeros(leaf.shape) for key, leaf in wanted.items()}
        found = torch.autograd.grad(result.sum(), wanted.values(), materialize_grads=True)
        return {key: value.double().numpy() for key, value in zip(wanted, found, strict=True)}


def own_losses() -> LossFunctions:
    """Returns multitask's losses under the names and with the arguments of the kit."""
    import torch

    from multitask.losses import classification, contrastive, divergence, regression

    def cosine_similarity_loss(u, v, labels):
        return regression.mean_squared_error(torch.cosine_similarity(u, v), labels)

    def simcse(first, second, temperature):
        return contrastive.info_nce(torch.stack([first, second], dim=1), temperature=temperature)

    def mnrl(anchors, positives, scale):
        return simcse(anchors, positives, 1 / scale)

    def mnrl_with_negatives(anchors, positives, negatives, scale):
        vectors = torch.stack([anchors, positives, negatives], dim=1)
        return contrastive.info_nce(vectors, temperature=1 / scale)

    return LossFunctions(
        {
            "cross_entropy": classification.cross_entropy,
            "binary_cross_entropy": classification.binary_cross_entropy,
            "focal": classification.focal,
            "mean_squared_error": regression.mean_squared_error,
            "cosine_similarity_loss": cosine_similarity_loss,
            "simcse": simcse,
            "mnrl": mnrl,
            "mnrl_with_negatives": mnrl_with_negatives,
            "cosent": lambda cosines, labels, scale: regression.cosent(cosines, labels, 1 / scale),
            "symmetric_kl": lambda p, q: divergence.symmetric_kl(p, q) / 2,  # R-Drop's half
        }
    )


def load_losses(module: ModuleType) -> LossFunctions:
    return LossFunctions(vars(module))


def fixture() -> dict[str, np.ndarray]:
    """Returns the arrays NAME.ARGUMENT, NAME.loss and NAME.gradient.ARGUMENT."""
    return read_fixture(Path(__file__).with_name("fixtures") / "losses.safetensors")[0]


def inputs_of(function: str, case: str = "") -> dict[str, np.ndarray]:
    """Returns the tensors of a function in the order of its arguments; `case` "large_" for large logits."""
    arrays = fixture()
    return {name: arrays[f"{case}{function}.{name}"] for name in arguments_of(function)[0]}


def doubles_of(function: str, case: str = "") -> dict[str, np.ndarray]:
    """Returns the same, with fractions in fp64."""
    inputs = inputs_of(function, case).items()
    return {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in inputs}


def arguments_of(function: str) -> tuple[tuple[str, ...], str]:
    """Returns the names of a function's tensors, in their order, and of its number, "" without one."""
    code = FORMULAS[function].__code__
    names = code.co_varnames[: code.co_argcount]
    return (names[:-1], names[-1]) if function in NUMBERS else (names, "")


def calls_of(function: str) -> dict[str, list[float]]:
    """Returns the numbers that a function is called with, by the output: "loss" or "loss for gamma 2"."""
    numbers, (_, name) = NUMBERS.get(function), arguments_of(function)
    return {f"loss for {name} {number:g}": [number] for number in numbers} if numbers else {"loss": []}


def value_stage(function: str) -> Stage:
    def run(candidate: LossFunctions) -> Outputs:
        calls, inputs = calls_of(function), inputs_of(function)
        return {name: candidate.loss(function, inputs, numbers) for name, numbers in calls.items()}

    def expected() -> Outputs:
        return dict(zip(calls_of(function), fixture()[f"{function}.loss"], strict=True))

    def predicted(formula: Callable) -> Outputs:
        inputs = doubles_of(function).values()
        return {name: np.asarray(formula(*inputs, *numbers)) for name, numbers in calls_of(function).items()}

    formula = FORMULAS[function]
    known = known_mistakes(function, formula, MISTAKES[formula], predicted)
    return Stage(function, run, expected, known)


def gradient_stage(function: str) -> Stage:
    numbers = NUMBERS.get(function, [])[:1]

    def run(candidate: LossFunctions) -> Outputs:
        return _named(candidate.gradients(function, inputs_of(function), numbers))

    def expected() -> Outputs:
        names = [name for name in inputs_of(function) if name != "labels"]
        return _named({name: fixture()[f"{function}.gradient.{name}"] for name in names})

    def replay(steps: Steps) -> Outputs:
        formula, inputs = partial(FORMULAS[function], **steps), doubles_of(function)
        names = [name for name in inputs if name != "labels"]
        return _named({name: gradient(formula, inputs, name, *numbers) for name in names})

    known = gradient_mistakes(function, expected, inputs_of(function), numbers)
    return Stage(f"{function} gradient", run, expected, known, builds_on=(function,), replay=replay)


def _named(gradients: Mapping[str, np.ndarray]) -> Outputs:
    return {f"gradient of {name}": value for name, value in gradients.items()}


def large_stage(function: str) -> Stage:
    """Makes the stage of logits whose powers overflow or whose probabilities round to 0 or 1."""

    def run(candidate: LossFunctions) -> Outputs:
        return {"loss": candidate.loss(function, inputs_of(function, "large_"), [])}

    def expected() -> Outputs:
        return {"loss": fixture()[f"large_{function}.loss"][0]}

    def replay(steps: Steps) -> Outputs:
        return {"loss": np.asarray(FORMULAS[function](*doubles_of(function, "large_").values(), **steps))}

    known = large_logits_mistakes(function, partial(inputs_of, function, "large_"))
    return Stage(f"{function} of large logits", run, expected, known, builds_on=(function,), replay=replay)


def _stages() -> tuple[Stage, ...]:
    stages = []
    for function in FORMULAS:
        stages += [value_stage(function), gradient_stage(function)]
        if FORMULAS[function] in LARGE:
            stages.append(large_stage(function))
    return tuple(stages)


LOSSES = Part("losses", "losses.py", _stages(), load_losses, own_losses, tuple(FORMULAS))
