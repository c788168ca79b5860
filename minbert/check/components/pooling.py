"""Pooling and normalisation checked: first token, mean and maximum over real tokens, L1 and L2."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minbert.check.fixtures import model_fixture
from minbert.check.mistakes import pooling as table
from minbert.check.mistakes.table import Wrong, mistakes
from minbert.check.references.pooling import Pooling
from minbert.check.stage import AbsentFunction, InvalidOutput, Outputs, Part, Stage

Pool = Callable[[Tensor, Tensor], Tensor]


def own() -> SimpleNamespace:
    """The functions of the check around this project's pooling, which works on token rows and a Layout."""
    from minbert.batch import Layout
    from minbert.pooling import first_rows, max_rows, mean_rows, normalize

    def padded(pool_rows: Callable[[Tensor, Layout], Tensor]) -> Pool:
        def pool(hidden: Tensor, mask: Tensor) -> Tensor:
            positions = torch.arange(mask.shape[1]).repeat(len(mask))
            return pool_rows(hidden.flatten(0, 1), Layout(positions, mask.shape[1], mask=mask.bool()))

        return pool

    return SimpleNamespace(
        cls_pooling=padded(first_rows),
        mean_pooling=padded(mean_rows),
        max_pooling=padded(max_rows),
        l1_normalize=partial(normalize, kind="l1"),
        l2_normalize=partial(normalize, kind="l2"),
    )


def run(function: str, inputs: tuple[str, ...], candidate: Any) -> Outputs:
    """The vectors (B, D) that a function of the candidate makes of these inputs of the fixture."""
    if not hasattr(candidate, function):
        raise AbsentFunction(f"the file has no function {function}")
    tensors, _ = model_fixture("pooling")
    given = [torch.tensor(tensors[name]) for name in inputs]
    vectors = getattr(candidate, function)(*given)
    for name, value in zip(inputs, given, strict=True):
        if not torch.equal(value, torch.tensor(tensors[name])):
            raise InvalidOutput(
                f"{function} changes its input {name}; let operations in place work on a copy"
            )
    if not isinstance(vectors, Tensor):
        raise InvalidOutput(f"{function} returned a {type(vectors).__name__}; it has to return a tensor")
    return {"vectors": vectors.detach().double().numpy()}


def stage(name: str, kind: str, function: str, inputs: tuple[str, ...], rows: tuple[Wrong, ...]) -> Stage:
    def expected() -> Outputs:
        return {"vectors": model_fixture("pooling")[0][f"expected/{kind}"]}

    def outputs(formulas: type[Pooling]) -> Outputs:
        tensors, _ = model_fixture("pooling")
        with np.errstate(all="ignore"):
            pooling = formulas(*(tensors[name] for name in ("hidden", "mask", "vectors")))
            return {"vectors": getattr(pooling, kind)()}

    return Stage(name, partial(run, function, inputs), expected, mistakes(rows, Pooling, outputs))


TOKENS, VECTORS = ("hidden", "mask"), ("vectors",)

POOLING = Part(
    name="pooling",
    file="pooling.py",
    stages=(
        stage("first token", "cls", "cls_pooling", TOKENS, table.CLS),
        stage("mean", "mean", "mean_pooling", TOKENS, table.MEAN),
        stage("maximum", "max", "max_pooling", TOKENS, table.MAX),
        stage("L1 normalisation", "l1", "l1_normalize", VECTORS, table.L1),
        stage("L2 normalisation", "l2", "l2_normalize", VECTORS, table.L2),
    ),
    load=lambda module: module,
    own=own,
    names=("cls_pooling", "mean_pooling", "max_pooling", "l1_normalize", "l2_normalize"),
)
