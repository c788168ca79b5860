"""The formulas and their fixtures against torch, scipy, scikit-learn and seqeval.

Run: pytest tests/multitask/check/test_formulas.py
"""

import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
import torch.nn.functional as F

from multitask.check import losses, metric_formulas, metrics
from multitask.check.loss_formulas import LARGE, NUMBERS
from tests.multitask.check.wrong_losses import choose, cos, excess, focal, kl, log_softmaxes

LOSSES = {
    "cross_entropy": F.cross_entropy,
    "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    "focal": lambda x, y, gamma: focal(x, y, gamma).mean(),
    "mean_squared_error": F.mse_loss,
    "cosine_similarity_loss": lambda u, v, y: F.mse_loss(F.cosine_similarity(u, v), y),
    "simcse": lambda a, b, t: choose(cos(a, b) / t),
    "mnrl": lambda a, b, s: choose(s * cos(a, b)),
    "mnrl_with_negatives": lambda a, p, n, s: choose(s * cos(a, torch.cat([p, n]))),
    "cosent": lambda x, y, s: torch.cat([x.new_zeros(1), s * excess(x, y)]).logsumexp(0),
    "symmetric_kl": lambda p, q: (kl(*log_softmaxes(p, q)) + kl(*log_softmaxes(q, p))) / 2,
}


def entity_f1(predicted, tags):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from seqeval.metrics import f1_score

        return f1_score(tags, predicted)


METRICS = {
    "accuracy": lambda a, b: sklearn.metrics.accuracy_score(b, a),
    "pearson": lambda x, y: scipy.stats.pearsonr(x, y).statistic,
    "spearman": lambda x, y: scipy.stats.spearmanr(x, y).statistic,
    "f1": lambda a, b: sklearn.metrics.f1_score(b, a),
    "macro_f1": lambda a, b: sklearn.metrics.f1_score(b, a, average="macro"),
    "entity_f1": entity_f1,
    "loose_entity_f1": entity_f1,
    "overall_2024": lambda sst, paraphrase, sts: np.mean([sst, paraphrase, sts / 2 + 0.5]),
    "mean_raw": lambda *scores: np.mean(scores),
}


def tensors(name, case=""):
    """The inputs of a loss, floating ones in fp64."""
    arrays = losses.inputs_of(name, case)
    return {
        key: torch.tensor(value).double() if value.dtype.kind == "f" else torch.tensor(value)
        for key, value in arrays.items()
    }


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients(name):
    stored, inputs = losses.fixture(), tensors(name)
    calls = [[number] for number in NUMBERS.get(name, [])] or [[]]
    theirs = [float(LOSSES[name](*inputs.values(), *numbers)) for numbers in calls]
    assert stored[f"{name}.loss"].tolist() == pytest.approx(theirs, abs=1e-12)
    assert all(0.2 < loss < 5 for loss in theirs)  # where the tolerance, relative above 1, says something

    leaves = {key: value.requires_grad_() for key, value in inputs.items() if key != "labels"}
    LOSSES[name](*inputs.values(), *calls[0]).backward()
    assert {f"{name}.gradient.{key}" for key in leaves} == {
        key for key in stored if key.startswith(f"{name}.gradient")
    }
    for key, leaf in leaves.items():
        ours = stored[f"{name}.gradient.{key}"]
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-11, atol=1e-12)
        assert 0.01 < np.abs(ours).max() < 20


@pytest.mark.parametrize("name", [formula.__name__ for formula in LARGE])
def test_large_logits(name):
    their = float(LOSSES[name](*tensors(name, "large_").values()))
    assert losses.fixture()[f"large_{name}.loss"].tolist() == [pytest.approx(their, rel=1e-14)]


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name):
    scores, cases = metrics.fixture()
    assert scores.keys() == cases.keys() == METRICS.keys()
    assert scores[name].tolist() == pytest.approx([METRICS[name](*case) for case in cases[name]], abs=1e-12)


def is_iob2(tags):
    return all(
        tag[0] != "I" or (before != "O" and before[2:] == tag[2:])
        for before, tag in zip(["O", *tags], tags, strict=False)
    )


def test_cases_of_metrics_show_what_they_are_there_for():
    cases = metrics.fixture()[1]
    for predictions, labels in cases["macro_f1"]:
        assert set(labels) == {0, 1, 2, 3} and set(predictions) == {0, 1, 2}
    for lists in cases["spearman"]:
        assert all(len(set(values)) < len(values) - 3 and len(values) <= 16 for values in lists)
    for predicted, true in cases["entity_f1"]:
        assert all(map(is_iob2, [*predicted, *true]))
        spans = [metric_formulas.entities(tags) for tags in true]
        assert any(
            a[0] == b[0] and a[2] + 1 == b[1]
            for found in spans
            for a, b in zip(found, found[1:], strict=False)
        )
    for predicted, true in cases["loose_entity_f1"]:
        assert not all(map(is_iob2, predicted)) and all(map(is_iob2, true))
