"""Mistakes in a linear layer with LoRA's adapters, by the stage at which each of them shows."""

import numpy as np

from minbert.check.mistakes.table import wrong
from minbert.check.references.lora import LoRA
from minbert.check.stage import Mistake, Outputs

OUTPUT = "Take linear(x) + alpha / rank * (x @ lora_A.T @ lora_B.T)."
SCALE = "Scale the adapters' part by alpha / rank: " + OUTPUT[0].lower() + OUTPUT[1:]
MERGED = "Take weight + alpha / rank * (lora_B @ lora_A), (out, in), and the layer's bias."
FROZEN = "Call requires_grad_(False) on the wrapped layer's weight and bias; lora_A and lora_B are trained."
DIFFERENTIABLE = "Compute the output without detach(), .data and torch.no_grad()."


def _is_random(B: np.ndarray | None) -> bool:
    return B is not None and bool(np.any(B != 0))


def random_B(given: Outputs, expected: Outputs) -> bool:
    """Both adapters have values."""
    return _is_random(given.get("lora_B")) and bool(np.all(given.get("lora_A has values") == 1))


def zero_A(given: Outputs, expected: Outputs) -> bool:
    """B has values and A has none."""
    return _is_random(given.get("lora_B")) and bool(np.all(given.get("lora_A has values") == 0))


# fmt: off
RANDOM_MISTAKES = (
    Mistake("lora_B not zero at first",
            "lora_B was filled at random, so the layer does not start from the pretrained one.",
            "Make lora_B zero at first: nn.Parameter(torch.zeros(out, rank)).", recognise=random_B),
    Mistake("lora_A zero at first instead of lora_B", "lora_A is zero and lora_B was filled at random.",
            "Fill lora_A at random and make lora_B zero, as the paper does.", recognise=zero_A),
)
NEW_LAYER = (
    wrong("lora_A and lora_B stored transposed", "lora_A is (in, rank) and lora_B is (rank, out).",
          "Make lora_A (rank, in) and lora_B (out, rank), as peft and the paper do.",
          shape_of_A=lambda self: self.A.shape[::-1], shape_of_B=lambda self: self.B.shape[::-1]),
    wrong("lora_A and lora_B both zero",
          "With both zero all gradients of the adapters are zero, and nothing is ever learnt.",
          "Fill lora_A at random, for instance by nn.init.kaiming_uniform_; only lora_B is zero at first.",
          A_has_values=lambda self: False),
)
TRAINED = (
    wrong("wrapped layer not frozen", "The wrapped layer's weight and bias are trained too.", FROZEN,
          to_train=lambda self: LoRA.to_train(self) + self.weight.size + self.bias.size),
    wrong("wrapped layer's bias not frozen", "The wrapped layer's weight is frozen, but its bias is trained.",
          FROZEN, to_train=lambda self: LoRA.to_train(self) + self.bias.size),
    wrong("wrapped layer's weight not frozen",
          "The wrapped layer's bias is frozen, but its weight is trained.", FROZEN,
          to_train=lambda self: LoRA.to_train(self) + self.weight.size),
    wrong("adapters frozen", "Neither lora_A nor lora_B is trained: they are frozen, or no nn.Parameter.",
          "Make them nn.Parameter, and freeze only the wrapped layer.", to_train=lambda self: 0),
    wrong("lora_B frozen", "Only lora_A is trained: lora_B is frozen, or no nn.Parameter.",
          "Make both nn.Parameter, and freeze only the wrapped layer.", to_train=lambda self: self.A.size),
    wrong("lora_A frozen", "Only lora_B is trained: lora_A is frozen, or no nn.Parameter.",
          "Make both nn.Parameter, and freeze only the wrapped layer.", to_train=lambda self: self.B.size),
)
FORWARD = (
    wrong("no alpha / rank", "The adapters' part was not scaled.", SCALE, scale=lambda self: 1.0),
    wrong("scale alpha / sqrt(rank)", "The adapters' part was scaled by alpha / sqrt(rank), which is rsLoRA.",
          SCALE, scale=lambda self: self.alpha / np.sqrt(self.rank)),
    wrong("scale rank / alpha", "The adapters' part was scaled by rank / alpha.", SCALE,
          scale=lambda self: self.rank / self.alpha),
    wrong("scale alpha", "The adapters' part was scaled by alpha, not divided by the rank.", SCALE,
          scale=lambda self: self.alpha),
    wrong("scale 1 / rank", "The adapters' part was divided by the rank, not multiplied by alpha.", SCALE,
          scale=lambda self: 1 / self.rank),
    wrong("scale alpha // rank", "The scale was rounded down to a whole number.", SCALE,
          scale=lambda self: self.alpha // self.rank),
    wrong("scaled twice", "The adapters' part was scaled by (alpha / rank)^2.", SCALE,
          scale=lambda self: (self.alpha / self.rank) ** 2),
    wrong("scale alpha / in",
          "The adapters' part was scaled by alpha / in, the size of the input instead of the rank.", SCALE,
          scale=lambda self: self.alpha / self.A.shape[1]),
    wrong("the wrapped layer's output scaled too", "The sum of both parts was multiplied by alpha / rank.",
          SCALE, base=lambda self: self.scale() * LoRA.base(self)),
    wrong("adapters subtracted", "The adapters' part was subtracted.", OUTPUT,
          scale=lambda self: -LoRA.scale(self)),
    wrong("product of lora_A and lora_B transposed",
          "x was multiplied by lora_B before lora_A: x @ lora_B @ lora_A, which fits where in = out.", OUTPUT,
          update=lambda self: self.scale() * (self.x @ self.B @ self.A)),
    wrong("wrapped layer's output missing", "The output is the adapters' part alone.", OUTPUT,
          base=lambda self: np.zeros_like(LoRA.base(self))),
    wrong("wrapped layer's bias missing",
          "The output was computed with the wrapped layer's weight, without its bias.", OUTPUT,
          base=lambda self: LoRA.base(self) - self.bias),
    wrong("bias added twice", "The wrapped layer's bias was added to its output once more.", OUTPUT,
          base=lambda self: LoRA.base(self) + self.bias),
    wrong("adapters left out", "The output is the wrapped layer's alone.", OUTPUT, scale=lambda self: 0.0),
    wrong("adapters on the wrapped layer's output",
          "The adapters were given linear(x) instead of x, which fits where in = out.", OUTPUT,
          update=lambda self: self.scale() * (self.base() @ self.A.T @ self.B.T)),
)
GRADIENTS = (
    wrong("gradient of lora_A cut",
          "The output does not depend on lora_A for autograd: it was detached, or .data was used.",
          DIFFERENTIABLE, cut={"A"}),
    wrong("gradient of lora_B cut",
          "The output does not depend on lora_B for autograd: it was detached, or .data was used.",
          DIFFERENTIABLE, cut={"B"}),
    wrong("gradients of lora_A and lora_B cut",
          "The product of lora_A and lora_B was computed without gradients.", DIFFERENTIABLE, cut={"A", "B"}),
    wrong("gradient through the adapters cut",
          "The adapters' part was computed without gradients, or detached.", DIFFERENTIABLE,
          cut={"A", "B", "adapters"}),
    wrong("output without gradients", "The whole output was computed under torch.no_grad(), or detached.",
          DIFFERENTIABLE, cut={"A", "B", "adapters", "base"}),
    wrong("gradient through the wrapped layer cut",
          "The wrapped layer ran under torch.no_grad(), so the layers below learn from the adapters only.",
          "Freeze the wrapped layer by requires_grad_(False), and call it with gradients on.", cut={"base"}),
    wrong("adapters' input detached",
          "The adapters were given x.detach(), so the layers below learn from the wrapped layer only.",
          DIFFERENTIABLE, cut={"adapters"}),
    wrong("gradient through lora_A cut", "x lora_A^T was computed without gradients, or detached.",
          DIFFERENTIABLE, cut={"A", "adapters"}),
)
MERGE = (
    wrong("merged without alpha / rank", "The merged weight is weight + lora_B @ lora_A.", MERGED,
          merged_weight=lambda self: self.weight + self.B @ self.A),
    wrong("merged transposed", "The transposed product was added to the weight, which fits where in = out.",
          MERGED, merged_weight=lambda self: self.weight + self.scale() * (self.B @ self.A).T),
    wrong("merged layer without the bias", "The merged layer has no bias, or one of zeros.", MERGED,
          merged_bias=lambda self: np.zeros_like(self.bias)),
    wrong("adapters not merged", "The merged layer is the wrapped layer as it was.", MERGED,
          merged_weight=lambda self: self.weight),
    wrong("merged without the wrapped layer", "The merged weight is the adapters' product alone.", MERGED,
          merged_weight=lambda self: self.scale() * (self.B @ self.A)),
    wrong("adapters merged twice", "The adapters' product was added to the weight twice.", MERGED,
          merged_weight=lambda self: self.weight + 2 * self.scale() * (self.B @ self.A)),
    wrong("adapters subtracted in merging", "The adapters' product was subtracted from the weight.", MERGED,
          merged_weight=lambda self: self.weight - self.scale() * (self.B @ self.A)),
)
# fmt: on
