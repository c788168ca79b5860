"""The references of the metrics against scipy, scikit-learn and seqeval, and the file itself.

Run: pytest tests/references/test_metrics.py
"""

import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from minbert.check.fixtures import read_fixture
from minbert.check.references.make import fixture_path, is_up_to_date
from references.metrics import entities

FILE = fixture_path("metrics")


def entity_f1(predicted, tags):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from seqeval.metrics import f1_score

        return f1_score(tags, predicted)


ORACLES = {
    "accuracy": lambda predictions, labels: sklearn.metrics.accuracy_score(labels, predictions),
    "pearson": lambda x, y: scipy.stats.pearsonr(x, y).statistic,
    "spearman": lambda x, y: scipy.stats.spearmanr(x, y).statistic,
    "f1": lambda predictions, labels: sklearn.metrics.f1_score(labels, predictions),
    "macro_f1": lambda predictions, labels: sklearn.metrics.f1_score(labels, predictions, average="macro"),
    "entity_f1": entity_f1,
    "loose_entity_f1": entity_f1,
    "overall_2024": lambda sst, paraphrase, sts: np.mean([sst, paraphrase, sts / 2 + 0.5]),
    "mean_raw": lambda *scores: np.mean(scores),
}


@pytest.fixture(scope="module")
def written():
    return read_fixture(FILE)


@pytest.mark.parametrize("name", ORACLES)
def test_scores(written, name):
    scores, cases = written
    assert scores.keys() == cases.keys() == ORACLES.keys()
    assert scores[name].tolist() == [pytest.approx(ORACLES[name](*case), abs=1e-12) for case in cases[name]]


def test_inputs_show_what_they_are_there_for(written):
    _, cases = written
    for predictions, labels in cases["macro_f1"]:
        assert set(labels) == {0, 1, 2, 3} and set(predictions) == {0, 1, 2}
    for lists in cases["spearman"]:
        assert all(len(set(values)) < len(values) - 3 and len(values) <= 16 for values in lists)
    for predicted, true in cases["entity_f1"]:
        assert all(is_iob2(tags) for tags in (*predicted, *true))
        side_by_side = [
            (one, other)
            for tags in true
            for one in entities(tags)
            for other in entities(tags)
            if one[0] == other[0] and one[2] + 1 == other[1]
        ]
        assert side_by_side
    for predicted, true in cases["loose_entity_f1"]:
        assert not all(is_iob2(tags) for tags in predicted) and all(is_iob2(tags) for tags in true)


def is_iob2(tags):
    return all(
        tag[0] != "I" or (i > 0 and tags[i - 1][0] != "O" and tags[i - 1][2:] == tag[2:])
        for i, tag in enumerate(tags)
    )


def test_making_it_again_gives_the_file():
    assert is_up_to_date("metrics")
