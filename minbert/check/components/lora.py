"""LoRA checked: a new layer, what it trains, its output, its gradients, the merged layer."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minbert.check.fixtures import model_fixture
from minbert.check.mistakes import lora as table
from minbert.check.mistakes.table import Wrong, mistakes, replay_of
from minbert.check.references.lora import LoRA
from minbert.check.stage import InvalidOutput, MissingImplementation, Mistake, Outputs, Part, Stage

Make = Callable[[nn.Linear, int, float], nn.Module]
# Outputs of the stages.
NEW_LAYER = ("shape of lora_A", "shape of lora_B", "lora_A has values", "lora_B")
TRAINED = ("values to train",)
FORWARD = ("output",)
GRADIENTS = ("gradient of lora_A", "gradient of lora_B", "gradient of the input")
MERGED = ("merged weight", "merged bias")


def load(module: ModuleType) -> Make | None:
    """The class LoRALinear of a file, or None where there is none."""
    return getattr(module, "LoRALinear", None)


def own() -> Make:
    return OwnLayer


class OwnLayer(nn.Module):
    """The interface of the check around this project's adapters: one linear layer of a small BERT."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float):
        from minbert.adapters.config import LoRAConfig
        from minbert.adapters.lora import add_lora
        from minbert.config import BertConfig
        from minbert.model import BertModel

        super().__init__()
        config = BertConfig(
            vocab_size=8,
            hidden_size=linear.in_features,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=linear.out_features,
            max_position_embeddings=8,
        )
        self.model = BertModel(config)
        self._layer().load_state_dict(linear.state_dict())
        add_lora(self.model, LoRAConfig(rank=rank, alpha=alpha, targets=("intermediate",)))
        [adapter] = self._layer().adapters.values()
        self.lora_A, self.lora_B = adapter.A, adapter.B

    def _layer(self) -> nn.Linear:
        return self.model.encoder.layers[0].feed_forward.intermediate

    def forward(self, x: Tensor) -> Tensor:
        return self._layer()(x.flatten(0, -2)).unflatten(0, x.shape[:-1])

    def merge(self) -> nn.Linear:
        from minbert.adapters.lora import merge_lora

        merge_lora(self.model)
        return self._layer()


def tensor(layer: str, name: str) -> Tensor:
    return torch.tensor(model_fixture("lora")[0][f"{layer}/{name}"])


def make(candidate: Make | None, layer: str) -> nn.Module:
    """A new layer with adapters around the fixture's linear layer, fp32."""
    if candidate is None:
        raise MissingImplementation("the file has no class LoRALinear")
    weight, settings = tensor(layer, "weight"), model_fixture("lora")[1][layer]
    linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    linear.load_state_dict({"weight": weight, "bias": tensor(layer, "bias")})
    return candidate(linear, settings["rank"], settings["alpha"])


def adapter(layer: nn.Module, name: str) -> Tensor:
    """lora_A or lora_B, be it a parameter or a linear layer without a bias."""
    value = getattr(layer, name)
    return getattr(value, "weight", value)


def make_filled(candidate: Make | None, layer: str) -> nn.Module:
    """The layer with the fixture's adapters."""
    made = make(candidate, layer).eval()
    for name in ("lora_A", "lora_B"):
        values, parameter = tensor(layer, name), adapter(made, name)
        if parameter.shape != values.shape:
            raise InvalidOutput(
                f"{name} has the shape {tuple(parameter.shape)}; it has to be {tuple(values.shape)}"
            )
        with torch.no_grad():
            parameter.copy_(values)
    return made


def array(values: Tensor) -> np.ndarray:
    return values.detach().double().numpy().copy()


def run_new(candidate: Make | None) -> Outputs:
    made = make(candidate, "wide")
    A, B = adapter(made, "lora_A"), adapter(made, "lora_B")
    return {
        "shape of lora_A": np.array(A.shape),
        "shape of lora_B": np.array(B.shape),
        "lora_A has values": np.array([float(bool((A != 0).any()))]),
        "lora_B": array(B),
    }


def run_trained(candidate: Make | None) -> Outputs:
    made = make(candidate, "wide")
    return {"values to train": np.array([sum(p.numel() for p in made.parameters() if p.requires_grad)])}


def run_forward(layer: str, candidate: Make | None) -> Outputs:
    with torch.no_grad():
        return {"output": array(make_filled(candidate, layer)(tensor(layer, "x")))}


def run_gradients(candidate: Make | None) -> Outputs:
    """Of the sum of outputs times the fixture's direction; zero where there is none."""
    made = make_filled(candidate, "square")
    x = tensor("square", "x").requires_grad_()
    total = (made(x) * tensor("square", "direction")).sum()
    if total.requires_grad:
        total.backward()
    tensors = (adapter(made, "lora_A"), adapter(made, "lora_B"), x)
    return {
        name: array(torch.zeros_like(values) if values.grad is None else values.grad)
        for name, values in zip(GRADIENTS, tensors, strict=True)
    }


def run_merge(candidate: Make | None) -> Outputs:
    made = make_filled(candidate, "square")
    if not hasattr(made, "merge"):
        raise MissingImplementation("LoRALinear has no method merge")
    merged = made.merge()
    if not isinstance(merged, nn.Linear):
        raise InvalidOutput(f"merge() returned a {type(merged).__name__}; it has to return an nn.Linear")
    bias = torch.zeros(merged.out_features) if merged.bias is None else merged.bias
    return {"merged weight": array(merged.weight), "merged bias": array(bias)}


def stage(
    name: str,
    run: Callable[[Any], Outputs],
    layer: str,
    outputs: tuple[str, ...],
    rows: tuple[Wrong, ...],
    builds_on: tuple[str, ...] = (),
    signs: tuple[Mistake, ...] = (),
) -> Stage:
    def predicted(kind: type[LoRA]) -> Outputs:
        found = kind.named(layer).outputs()
        return {output: found[output] for output in outputs}

    def expected() -> Outputs:
        """From the fixture; what is not a number of it, such as a shape, by the formulas."""
        tensors, right = model_fixture("lora")[0], predicted(LoRA)
        return {output: tensors.get(f"{layer}/expected/{output}", right[output]) for output in outputs}

    known = (*mistakes(rows, LoRA, predicted), *signs)
    replay = None if outputs == GRADIENTS else replay_of(LoRA, predicted)  # not those of every mistake
    return Stage(name, run, expected, known, builds_on, replay=replay)


run_square, run_wide = (partial(run_forward, layer) for layer in ("square", "wide"))
BEFORE_GRADIENTS = ("trained parameters", "output")

LORA = Part(
    name="lora",
    file="lora.py",
    stages=(
        stage("new layer", run_new, "wide", NEW_LAYER, table.NEW_LAYER, signs=table.RANDOM_MISTAKES),
        stage("trained parameters", run_trained, "wide", TRAINED, table.TRAINED),
        stage("output", run_square, "square", FORWARD, table.FORWARD),
        stage("output of another size", run_wide, "wide", FORWARD, (), ("output",)),
        stage("gradients", run_gradients, "square", GRADIENTS, table.GRADIENTS, BEFORE_GRADIENTS),
        stage("merged layer", run_merge, "square", MERGED, table.MERGE, ("output",)),
    ),
    load=load,
    own=own,
    names=("LoRALinear",),
)
