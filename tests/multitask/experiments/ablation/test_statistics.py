"""Statistics against scipy: scores of resamples, intervals; what makes a difference significant."""

import math

import numpy as np
import pytest
from scipy import stats

from multitask.experiments.ablation.statistics import bootstrap, difference, interval, statistic, summarize


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def correlated(generator, size, noise=1.0):
    x = generator.normal(size=size)
    return [x.tolist(), (x + noise * generator.normal(size=size)).tolist()]


def entities(generator, size):
    predicted, true = generator.integers(0, 4, size=(2, size))
    return [np.minimum(predicted, true) // 2, predicted, true]


def repeated(values, counts):
    return [np.repeat(row, counts) for row in values]


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e6, 1.0), (0.0, 1e-190), (0.0, 1e200)])
def test_a_resample_scores_as_the_repeated_examples_do(generator, offset, scale):
    counts = generator.multinomial(40, [1 / 40] * 40, size=5)
    pairs = [[scale * value + offset for value in row] for row in correlated(generator, 40)]
    flags = [generator.integers(0, 2, size=40)]
    counted = entities(generator, 40)
    found = [
        statistic(kind, values, counts.astype(float))
        for kind, values in (("mean", flags), ("pearson", pairs), ("f1", counted))
    ]
    for place, count in enumerate(counts):
        assert found[0][place] == pytest.approx(np.mean(repeated(flags, count)[0]), abs=1e-12)
        x, y = repeated(pairs, count)
        assert found[1][place] == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-8)
        right, predicted, true = (sum(row) for row in repeated(counted, count))
        assert found[2][place] == pytest.approx(2 * right / (predicted + true), abs=1e-12)


def test_scores_without_a_case():
    assert math.isnan(statistic("pearson", [[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]])[0])
    assert statistic("f1", [[0, 0], [0, 0], [0, 0]])[0] == 0


def percentile_interval(rows, score, resamples):
    """scipy's paired percentile interval of `score(*rows, axis)`."""
    options = {"paired": True, "vectorized": True, "method": "percentile", "rng": 1}
    found = stats.bootstrap(rows, score, n_resamples=resamples, **options)
    return tuple(found.confidence_interval)


def test_intervals_are_those_of_scipy(generator):
    """Percentile intervals of 10,000 resamples differ between two draws by a small part of their width."""
    ours, theirs = (generator.random((2, 400)) < [[0.7], [0.62]]).astype(float)
    replicates = bootstrap(
        {key: {"kind": "mean", "values": [row]} for key, row in (("a", ours), ("b", theirs))}
    )
    found = interval(replicates["a"] - replicates["b"])
    expected = percentile_interval((ours, theirs), lambda a, b, axis: (a - b).mean(axis=axis), 10_000)
    assert found == pytest.approx(expected, abs=0.05 * (expected[1] - expected[0]))

    pairs = correlated(generator, 300)
    found = interval(bootstrap({"a": {"kind": "pearson", "values": pairs}})["a"])
    rows = tuple(map(np.asarray, pairs))
    expected = percentile_interval(rows, lambda x, y, axis: stats.pearsonr(x, y, axis=axis).statistic, 5_000)
    assert found == pytest.approx(expected, abs=0.05 * (expected[1] - expected[0]))


def test_models_are_scored_on_the_same_resamples(generator, monkeypatch):
    row = generator.integers(0, 2, size=50)
    replicates = bootstrap({key: {"kind": "mean", "values": [row]} for key in "ab"}, 500)
    assert np.array_equal(replicates["a"], replicates["b"])
    again = bootstrap({"a": {"kind": "mean", "values": [row]}}, 500)
    assert np.array_equal(again["a"], replicates["a"]), "whatever other models there are"
    assert replicates["a"].shape == (500,) and replicates["a"].std() > 0.03
    other = bootstrap({"a": {"kind": "mean", "values": [row]}}, 500, seed=1)
    assert not np.array_equal(other["a"], replicates["a"])
    monkeypatch.setattr("multitask.experiments.ablation.statistics.BLOCK", 350)  # 7 resamples at a time
    assert np.array_equal(bootstrap({"a": {"kind": "mean", "values": [row]}}, 500)["a"], replicates["a"])


def test_one_seed_never_makes_a_difference_significant():
    replicates = {1: np.full(1000, 0.9)}, {1: np.full(1000, 0.1)}
    found = difference({1: 0.9}, {1: 0.1}, *replicates)
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, 0.8, 0.8))
    assert found.significant is None and "one seed" in found.why


def test_two_seeds_that_agree_make_it_significant_and_others_do_not():
    steady = {seed: np.linspace(0.58, 0.62, 1000) for seed in (1, 2)}
    baseline = {seed: np.full(1000, 0.5) for seed in (1, 2, 3)}
    scores = {1: 0.5, 2: 0.5, 3: 0.1}
    found = difference({1: 0.6, 2: 0.6}, scores, steady, baseline)
    assert found.significant is True and found.why is None
    assert found.mean == pytest.approx(0.1), "seed 3 is not in both rows"
    assert (found.low, found.high) == pytest.approx((0.081, 0.119), abs=1e-6)

    wide = {seed: np.linspace(0.4, 0.8, 1000) for seed in (1, 2)}
    assert difference({1: 0.6, 2: 0.6}, scores, wide, baseline).significant is False

    split = {1: np.linspace(0.9, 0.92, 1000), 2: np.linspace(0.48, 0.49, 1000)}
    found = difference({1: 0.91, 2: 0.485}, scores, split, baseline)
    assert found.low > 0 and found.significant is False and "disagree" in found.why


def test_a_difference_of_rounding_is_none():
    ones = {seed: np.full(100, 0.3) for seed in (1, 2)}
    more = {seed: np.full(100, 0.1 + 0.2) for seed in (1, 2)}  # 0.30000000000000004
    assert difference({1: 0.1 + 0.2, 2: 0.1 + 0.2}, {1: 0.3, 2: 0.3}, more, ones).significant is False


def test_what_has_no_interval_says_why():
    scores = {1: 0.5, 2: 0.6}
    found = difference(scores, {1: 0.4, 2: 0.4}, {}, {})
    assert found.mean == pytest.approx(0.15) and found.low is None and "not resampled" in found.why
    broken = {seed: np.array([0.1, np.nan]) for seed in (1, 2)}
    found = difference(scores, scores, broken, broken)
    assert found.significant is None and "constant" in found.why
    assert difference({1: 0.5}, {2: 0.5}, {}, {}) is None


def test_mean_and_standard_deviation_of_a_sample():
    expected = {"mean": 2 / 3, "sd": np.std([0.5, 0.6, 0.9], ddof=1), "n": 3}
    assert summarize([0.5, 0.6, 0.9]) == pytest.approx(expected)
    assert summarize([0.5])["sd"] is None
