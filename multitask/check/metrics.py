"""The part "metrics": each score against its reference, from lists and from numpy arrays."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minbert.check import Mistake, Outputs, Part, Stage, read_fixture
from multitask.check.functions import Functions
from multitask.check.metric_formulas import FORMULAS
from multitask.check.metric_mistakes import MISTAKES, with_p_value
from multitask.check.mistakes import known_mistakes


def own_metrics() -> Functions:
    """Returns multitask's metrics under the names and with the arguments of the kit; macro F1 is missing."""
    from multitask.metrics import scores as metrics
    from multitask.metrics.entities import entity_scores

    def overall(name: str, sst: float, paraphrase: float, sts: float) -> float:
        scores = {"sst": {"accuracy": sst}, "paraphrase": {"accuracy": paraphrase}, "sts": {"pearson": sts}}
        return metrics.overall_scores(scores)[name]

    return Functions(
        {
            "accuracy": metrics.accuracy,
            "pearson": metrics.pearson,
            "spearman": metrics.spearman,
            "f1": metrics.f1,
            "entity_f1": lambda predicted, tags: entity_scores(predicted, tags)["f1"],
            "overall_2024": partial(overall, "overall_2024"),
            "mean_raw": partial(overall, "mean_raw"),
        }
    )


def load_metrics(module: ModuleType) -> Functions:
    return Functions(vars(module))


def fixture() -> tuple[dict[str, np.ndarray], dict[str, list[list]]]:
    """Returns two scores (2,) of each metric, and the arguments of both calls in their order."""
    return read_fixture(Path(__file__).with_name("fixtures") / "metrics.safetensors")


def array_stage(function: str, others: tuple[Mistake, ...] = ()) -> Stage:
    """Makes the stage of a metric of two lists, called with arrays and then with lists."""
    of_arrays, of_lists = fixture()[1][function]

    def score(call: Callable[..., Any]) -> Outputs:
        return {
            "score of arrays": np.asarray(call(*map(np.array, of_arrays)), np.float64),
            "score of lists": np.asarray(call(*map(list, of_lists)), np.float64),
        }

    def run(candidate: Functions) -> Outputs:
        return score(partial(candidate.call, function))

    def expected() -> Outputs:
        return dict(zip(("score of arrays", "score of lists"), fixture()[0][function], strict=True))

    known = known_mistakes(function, FORMULAS[function], MISTAKES[function], score)
    return Stage(function, run, expected, (*known, *others))


def value_stage(case: str, name: str = "") -> Stage:
    """Makes the stage of a metric of numbers or tags; `name` is that of a further case's stage."""
    scores, calls = fixture()[0][case], fixture()[1][case]
    function = FORMULAS[case].__name__

    def run(candidate: Functions) -> Outputs:
        # Copies, which a function may change.
        return _numbered(candidate.call(function, *deepcopy(call)) for call in calls)

    def predicted(formula: Callable[..., Any]) -> Outputs:
        return _numbered(np.asarray(formula(*call), np.float64) for call in calls)

    known = known_mistakes(function, FORMULAS[case], MISTAKES[case], predicted)
    return Stage(
        name or function, run, lambda: _numbered(scores), known, builds_on=(function,) if name else ()
    )


def _numbered(scores: Iterable[np.ndarray]) -> Outputs:
    return {f"score {number}": score for number, score in enumerate(scores, start=1)}


METRICS = Part(
    "metrics",
    "metrics.py",
    (
        array_stage("accuracy"),
        array_stage("pearson", (with_p_value("pearson"),)),
        array_stage("spearman", (with_p_value("spearman"),)),
        array_stage("f1"),
        array_stage("macro_f1"),
        value_stage("entity_f1"),
        value_stage("loose_entity_f1", "entity_f1 of I- without B-"),
        value_stage("overall_2024"),
        value_stage("mean_raw"),
    ),
    load_metrics,
    own_metrics,
    tuple(formula.__name__ for formula in FORMULAS.values()),
)
