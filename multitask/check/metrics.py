"""The part "metrics": each score against its reference, from lists and from numpy arrays."""

from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from minbert.check import Mistake, Outputs, Part, Stage, read_fixture
from multitask.check.functions import Functions
from multitask.check.mistakes import correlations, counts, entities
from multitask.check.mistakes.correlations import with_p_value
from multitask.check.mistakes.formula import Slip, mistakes


def own_metrics() -> Functions:
    """Multitask's metrics, under the names and with the arguments of the kit; it has no macro F1."""
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
    """Two scores (2,) of each metric, and the arguments of both calls, in their order."""
    return read_fixture(Path(__file__).with_name("fixtures") / "metrics.safetensors")


def array_stage(
    function: str, formula: type, slips: tuple[type[Slip], ...], others: tuple[Mistake, ...] = ()
) -> Stage:
    """A metric of two lists of numbers: the first two given as arrays, the others as lists."""
    scores, (of_arrays, of_lists) = fixture()[0][function], fixture()[1][function]

    def run(candidate: Functions) -> Outputs:
        return {
            "score of arrays": candidate.call(function, *(np.array(values) for values in of_arrays)),
            "score of lists": candidate.call(function, *(list(values) for values in of_lists)),
        }

    def expected() -> Outputs:
        return {"score of arrays": scores[0], "score of lists": scores[1]}

    def predicted(mistaken: type) -> Outputs:
        return {
            name: np.asarray(mistaken().score(*(np.array(values) for values in lists)), np.float64)
            for name, lists in (("score of arrays", of_arrays), ("score of lists", of_lists))
        }

    return Stage(function, run, expected, (*mistakes(function, formula, slips, predicted), *others))


def _lists_compared() -> Outputs:
    """What accuracy gives if two lists are one entry each, which differ."""
    return {"score of arrays": fixture()[0]["accuracy"][0], "score of lists": np.array(0.0)}


LISTS_COMPARED = Mistake(
    name="lists compared as a whole (accuracy)",
    cause="predictions == labels of two lists is one False, not one truth value for each entry.",
    remedy="Make arrays of them first: np.asarray(predictions) == np.asarray(labels).",
    predict=_lists_compared,
)


def value_stage(function: str, formula: type, slips: tuple, case: str = "", name: str = "") -> Stage:
    """A metric of three numbers, or of sentences of tags. `case` and `name` stand in for `function`."""
    scores, calls = fixture()[0][case or function], fixture()[1][case or function]

    def run(candidate: Functions) -> Outputs:
        # Copies, which a function may change.
        return _numbered(candidate.call(function, *deepcopy(call)) for call in calls)

    def expected() -> Outputs:
        return _numbered(scores)

    def predicted(mistaken: type) -> Outputs:
        return _numbered(np.asarray(mistaken().score(*call), np.float64) for call in calls)

    known = mistakes(function, formula, slips, predicted)
    return Stage(name or function, run, expected, known, builds_on=(function,) if name else ())


def _numbered(scores: Iterable[np.ndarray]) -> Outputs:
    return {f"score {number}": score for number, score in enumerate(scores, start=1)}


METRICS = Part(
    "metrics",
    "metrics.py",
    (
        array_stage("accuracy", counts.Accuracy, counts.ACCURACY, (LISTS_COMPARED,)),
        array_stage("pearson", correlations.Pearson, correlations.PEARSON, (with_p_value("pearson"),)),
        array_stage("spearman", correlations.Spearman, correlations.SPEARMAN, (with_p_value("spearman"),)),
        array_stage("f1", counts.F1, counts.F1_SLIPS),
        array_stage("macro_f1", counts.MacroF1, counts.MACRO_F1),
        value_stage("entity_f1", entities.EntityF1, entities.ENTITY_F1),
        value_stage(
            "entity_f1",
            entities.EntityF1,
            entities.LOOSE_ENTITY_F1,
            "loose_entity_f1",
            "entity_f1 of I- without B-",
        ),
        value_stage("overall_2024", counts.MeanOfTasks, counts.OVERALL_2024),
        value_stage("mean_raw", counts.MeanOfRawScores, counts.MEAN_RAW),
    ),
    load_metrics,
    own_metrics,
)
