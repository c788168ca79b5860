"""Scores against scipy and scikit-learn, ties and constants too; both overall scores by literal numbers."""

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
    off_by_one_accuracy,
    overall_scores,
    pearson,
    spearman,
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
