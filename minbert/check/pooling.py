"""Pooling and normalisation checked: first token, mean and maximum over real tokens, L1 and L2."""

from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from minbert.check.fixtures import model_fixture
from minbert.check.mistakes.pooling import (
    CLS_MISTAKES,
    L1_MISTAKES,
    L2_MISTAKES,
    MAX_MISTAKES,
    MEAN_MISTAKES,
)
from minbert.check.stage import BadAnswer, Mistake, NotThere, Outputs, Part, Stage

Pool = Callable[[Tensor, Tensor], Tensor]


def load(module: ModuleType) -> ModuleType:
    return module


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
        raise NotThere(f"the file has no function {function}")
    tensors, _ = model_fixture("pooling")
    given = [torch.tensor(tensors[name]) for name in inputs]
    vectors = getattr(candidate, function)(*given)
    for name, value in zip(inputs, given, strict=True):
        if not torch.equal(value, torch.tensor(tensors[name])):
            raise BadAnswer(f"{function} changes its input {name}; let operations in place work on a copy")
    if not isinstance(vectors, Tensor):
        raise BadAnswer(f"{function} returned a {type(vectors).__name__}; it has to return a tensor")
    return {"vectors": vectors.detach().double().numpy()}


def expected(kind: str) -> Outputs:
    return {"vectors": model_fixture("pooling")[0][f"expected/{kind}"]}


def stage(name: str, kind: str, function: str, inputs: tuple[str, ...], known: tuple[Mistake, ...]) -> Stage:
    return Stage(
        name=name,
        run=partial(run, function, inputs),
        expected=partial(expected, kind),
        mistakes=known,
    )


TOKENS, VECTORS = ("hidden", "mask"), ("vectors",)

POOLING = Part(
    name="pooling",
    file="pooling.py",
    stages=(
        stage("first token", "cls", "cls_pooling", TOKENS, CLS_MISTAKES),
        stage("mean", "mean", "mean_pooling", TOKENS, MEAN_MISTAKES),
        stage("maximum", "max", "max_pooling", TOKENS, MAX_MISTAKES),
        stage("L1 normalisation", "l1", "l1_normalize", VECTORS, L1_MISTAKES),
        stage("L2 normalisation", "l2", "l2_normalize", VECTORS, L2_MISTAKES),
    ),
    load=load,
    own=own,
)
