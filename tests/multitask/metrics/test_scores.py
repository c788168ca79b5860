"""Scores against scipy and scikit-learn, ties and constants too; both overall scores by literal numbers.

The cases of `SCIPY_PEARSON` and `SCIPY_SPEARMAN` are the inputs, and the values, of scipy's own tests
(scipy/stats/tests/test_stats.py) as far as they are of two lists.
"""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from minbert import InputError
from multitask.metrics.scores import (
    accuracy,
    confusion_matrix,
    f1,
    multilabel_f1,
    off_by_one_accuracy,
    overall_scores,
    pearson,
    spearman,
    why_no_correlation,
)

RANDOM = np.random.default_rng(0)
PREDICTED, TRUE = RANDOM.integers(0, 5, 200).tolist(), RANDOM.integers(0, 5, 200).tolist()


def test_accuracies():
    assert accuracy(PREDICTED, TRUE) == sklearn_metrics.accuracy_score(TRUE, PREDICTED)
    assert accuracy(["World", "Sport"], ["World", "World"]) == 0.5
    assert off_by_one_accuracy([0, 4, 2, 1], [1, 2, 2, 4]) == 0.5
    assert isinstance(accuracy([1], [1]), float)


def test_f1_is_that_of_class_one():
    predicted, true = [label % 2 for label in PREDICTED], [label % 2 for label in TRUE]
    assert f1(predicted, true) == pytest.approx(sklearn_metrics.f1_score(true, predicted), rel=1e-12)
    assert f1([0, 0], [0, 0]) == 0
    assert f1([1, 0], [0, 1]) == 0


def test_rows_of_the_confusion_matrix_are_true_classes():
    expected = sklearn_metrics.confusion_matrix(TRUE, PREDICTED, labels=range(5))
    np.testing.assert_array_equal(confusion_matrix(PREDICTED, TRUE, 5), expected)
    assert confusion_matrix([1, 1], [0, 0], 3)[0, 1] == 2


@pytest.mark.parametrize("levels", [3, 20, None])
def test_correlations(levels):
    """With few levels most values are tied."""
    x, y = RANDOM.normal(size=(2, 300))
    y = y + 0.5 * x
    if levels:
        x, y = np.round(x * levels / 4), np.round(y * levels / 4)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-12)
    assert pearson(1e-100 * x, y) == pytest.approx(pearson(x, y), abs=1e-12)
    assert pearson(1e6 + x, y) == pytest.approx(pearson(x, y), abs=1e-8)


SCIPY_PEARSON = {
    "almost exactly 1": ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], 1),
    "almost exactly -1": ([0.0, 1.0, 2.0], [0.0, -1.0, -2.0], -1),
    "basic": ([-1, 0, 1], [0, 0, 3], 3**0.5 / 2),
    "constant": ([0.667, 0.667, 0.667], [0.123, 0.456, 0.789], math.nan),
    "very small": (
        [0.004434375, 0.004756007, 0.003911996, 0.0038005, 0.003409971],
        [2.48e-188, 7.41e-181, 4.09e-208, 2.08e-223, 2.66e-245],
        0.7272930540750450,
    ),
    "very large": (
        1e90 * np.array([0, 0, 0, 1, 1, 1, 1]),
        1e90 * np.arange(7),
        0.8660254037844386,
    ),
    "extremely large": (
        [2.3e200, 4.5e200, 6.7e200, 8e200],
        [1.2e199, 5.5e200, 3.3e201, 1.0e200],
        0.351312332103289,
    ),
    "two, 1": ([1.0, 2.0], [3.0, 5.0], 1),
    "two, -1": ([2.0, 1.0], [3.0, 5.0], -1),
    "two, constant": ([0.667, 0.667], [0.123, 0.456], math.nan),
    "of R": ([1, 2, 3, 4], [0, 1, 0.5, 1], 0.6741998624632421),
    "of R, negative": ([1, 2, 3, 4], [0, -1, -0.5, -1], -0.6741998624632421),
    "ten, -1": (np.arange(10.0), -np.arange(10.0), -1),
    "exactly -1": ([1.0, 2.0, 3.0], [5.0, -4.0, -13.0], -1),
}
_ONE_TO_NINE = np.arange(1.0, 10)
_EQUAL_RANKS = {  # by scipy's names
    "X": _ONE_TO_NINE,
    "BIG": 99999990 + _ONE_TO_NINE,
    "LITTLE": 0.9999999 + 1e-8 * _ONE_TO_NINE,
    "HUGE": 1e12 * _ONE_TO_NINE,
    "TINY": 1e-12 * _ONE_TO_NINE,
    "ROUND": _ONE_TO_NINE - 0.5,
}
_FEW = [0, 0.009783728115345005, 0, 0, 0.0019759230121848587, 0.0007535430349118562]
_FEW += [0.0002661781514710257, 0, 0, 0.0007835762419683435]
_SWAPPED = np.arange(2000.0)
_SWAPPED[[0, 9, 10, 434, 435, 1509]] = [9, 0, 434, 10, 1509, 435]
_DRAWN = np.random.RandomState(234568).rand(100)
_NORMAL = np.random.RandomState(7546).normal(loc=1, scale=1, size=(2, 500))
_NORMAL = np.linalg.cholesky([[1.0, 0.3], [0.3, 1.0]]) @ _NORMAL
SCIPY_SPEARMAN = {
    f"{a} {b}": (x, y, 1) for a, x in _EQUAL_RANKS.items() for b, y in _EQUAL_RANKS.items() if a <= b
} | {
    "scalar": ([4.0], [2.0], math.nan),
    "empty": ([], [], math.nan),
    "nan": ([*range(9), math.nan], [*range(9), math.nan], math.nan),
    "columns 1 and 2": (np.arange(6), -np.arange(6), -1),
    "columns 1 and 3": (np.arange(6), [0, 1, 2, 3, 5, 4], 0.94285714),
    "columns 2 and 3": (-np.arange(6), [0, 1, 2, 3, 5, 4], -0.94285714),
    "true or false": (_DRAWN > 0.5, _DRAWN, 0.865895477),
    "of R": ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 0.82078268166812329),
    "normal": (*_NORMAL, 0.28659685838743354),
    "corr 1": ([1, 1, 2], [1, 1, 2], 1.0),
    "swapped": (np.arange(2000.0), _SWAPPED, 0.998),
    "both tied": ([2, 2, 2], [2, 2, 2], math.nan),
    "one tied": ([2, 0, 2], [2, 2, 2], math.nan),
    "the other tied": ([2, 2, 2], [2, 0, 2], math.nan),
    "ranks": ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 2.0, 3.0], pearson([1, 2, 3, 4], [1, 2.5, 2.5, 4])),
    "constant": ([1.0] * 10, _FEW, math.nan),
}


@pytest.mark.parametrize("case", SCIPY_PEARSON)
def test_pearson_meets_scipys_own_tests(case):
    x, y, expected = SCIPY_PEARSON[case]
    for ours in (pearson(x, y), pearson(y, x)):
        assert ours == pytest.approx(expected, rel=1e-12, nan_ok=True)
        assert -1 <= ours <= 1 or math.isnan(expected)
        assert ours == expected or case.split(",")[0] not in ("two", "exactly -1") or math.isnan(expected)


def test_spearman_meets_scipys_own_tests():
    for case, (x, y, expected) in SCIPY_SPEARMAN.items():
        assert spearman(x, y) == pytest.approx(expected, rel=1e-7, nan_ok=True), case


@pytest.mark.parametrize("scale", [1e-300, 1e-190, 1e-30, 1e30, 1e200, 1e300])
def test_correlations_do_not_depend_on_the_magnitude(scale):
    x, y = RANDOM.normal(size=(2, 50))
    r = stats.pearsonr(x, y)[0]
    for a, b in ((scale, 1), (1, scale), (scale, scale), (scale, -1e-190)):
        assert pearson(a * x, b * y) == pytest.approx(math.copysign(r, r * b), rel=1e-12)


def test_why_there_is_no_correlation():
    good, constant = [1.0, 2.5, 4.0], [3.5, 3.5, 3.5]
    assert why_no_correlation(good, good) is None
    assert why_no_correlation(constant, good) == "all 3 predictions are 3.5"
    assert why_no_correlation(good, constant) == "all 3 labels are 3.5"
    assert why_no_correlation([math.nan, 1, math.inf], good) == "2 of 3 predictions are not finite numbers"
    assert why_no_correlation([1.0], [1.0]) == "there is 1 example, and it takes two"


def test_f1_of_several_labels_micro_and_macro():
    names = ["anger", "fear", "joy", "nowhere", "trust"]
    draw = [RANDOM.random((60, 4)) < share for share in (0.4, 0.3)]
    chosen = [
        [{name for name, flag in zip([*names[:3], names[4]], row, strict=True) if flag} for row in flags]
        for flags in draw
    ]
    binary = [[[name in row for name in names] for row in rows] for rows in chosen]
    predicted, true = (np.array(rows, int) for rows in binary)
    found = multilabel_f1(*chosen, names)
    for average in ("micro", "macro"):
        expected = sklearn_metrics.f1_score(true, predicted, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(expected, rel=1e-12)
    assert multilabel_f1([()], [()], names) == {"micro_f1": 0.0, "macro_f1": 0.0}
    with pytest.raises(InputError, match="1 predictions and 2 labels; give one an example"):
        multilabel_f1([()], [(), ()], names)


@pytest.mark.parametrize("x", [[0.3, 0.3, 0.3], [1.0, math.nan, 2.0], [1.0, math.inf, 2.0]])
def test_what_has_no_correlation_is_nan_without_a_warning(x):
    for correlation in (pearson, spearman):
        assert math.isnan(correlation(x, [1.0, 2.0, 3.0]))
        assert math.isnan(correlation([1.0, 2.0, 3.0], x))
    for score in (accuracy, off_by_one_accuracy, pearson, spearman):
        assert math.isnan(score([], []))
    assert math.isnan(pearson([1.0], [1.0]))


@pytest.mark.parametrize("score", [accuracy, off_by_one_accuracy, f1, pearson, spearman])
def test_unequal_lengths_are_refused_never_broadcast(score):
    with pytest.raises(InputError, match=r"predictions have shape \(1,\), labels \(3,\)"):
        score([1], [1, 1, 0])


def test_both_overall_scores_by_name():
    """Rows of two published reports: 0.795 by the formula of 2024, 0.767 by that of 2023."""
    scores = {"sst": {"accuracy": 0.557}, "paraphrase": {"accuracy": 0.892}, "sts": {"pearson": 0.871}}
    overall = overall_scores(scores | {"news": {"accuracy": 0.9}})
    assert overall == {
        "overall_2024": pytest.approx((0.557 + 0.892 + 0.9355) / 3),
        "mean_raw": pytest.approx(2.32 / 3),
    }
    assert round(overall["overall_2024"], 3) == 0.795
    raw = {"sst": {"accuracy": 0.533}, "paraphrase": {"accuracy": 0.883}, "sts": {"pearson": 0.885}}
    assert round(overall_scores(raw)["mean_raw"], 3) == 0.767
    for missing in scores:
        assert overall_scores({name: scores[name] for name in scores if name != missing}) == {}
