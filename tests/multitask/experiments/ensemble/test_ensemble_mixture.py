"""Weights of an ensemble's members: optimal as theory says, greedy as the paper says, checked fairly."""

import sys

import numpy as np
import pytest
from scipy.optimize import minimize

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.readers import Example
from multitask.experiments.ensemble.mixture import (
    correlation_weights,
    cross_validated,
    fit_weights,
    greedy_weights,
    likelihood_weights,
    mix,
)
from multitask.tasks.base import ScoredTask


def task_of(name: str) -> ScoredTask:
    return make_task(name, task_config(name, {}))


def examples_of(labels) -> list[Example]:
    return [Example(str(i), ("a",), label, i) for i, label in enumerate(labels)]


def random_members(seed: int, members: int, count: int, classes: int) -> tuple[list[np.ndarray], list[int]]:
    """Soft predictions that know something of the labels, some members more than others."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(classes, size=count)
    logits = draw.normal(size=(members, count, classes))
    logits[:, np.arange(count), labels] += np.linspace(0, 1.5, members)[:, None]
    return list(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)), labels.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_is_the_highest_there_is(seed):
    soft, labels = random_members(seed, members=4, count=60, classes=3)
    chosen = np.stack([member[np.arange(60), labels] for member in soft], axis=1)
    found = likelihood_weights(chosen)
    assert found.sum() == pytest.approx(1) and (found >= 0).all()
    peer = minimize(
        lambda w: -np.log(chosen @ w).mean(),
        np.full(4, 0.25),
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
    )
    assert -np.log(chosen @ found).mean() <= peer.fun + 1e-6
    # Karush-Kuhn-Tucker: no member would gain by more weight
    assert ((chosen / (chosen @ found)[:, None]).mean(axis=0) <= 1 + 1e-3).all()
    assert fit_weights("weighted", task_of("sst"), soft, examples_of(labels)) == pytest.approx(found)


def test_probabilities_of_zero_and_below_do_no_harm():
    """The loss "ordinal" may give a level less than 0."""
    chosen = np.array([[0.9, 0.0], [0.8, -0.1], [0.0, 0.7]])
    assert likelihood_weights(chosen) == pytest.approx([2 / 3, 1 / 3], abs=1e-4)


def test_a_pairs_probability_of_0_counts_where_the_label_is_0():
    good, bad = np.array([0.9, 0.1, 0.1, 0.9]), np.array([0.1, 0.9, 0.9, 0.1])
    weights = fit_weights("weighted", task_of("paraphrase"), [bad, good], examples_of([1, 0, 0, 1]))
    assert weights == pytest.approx([0, 1], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_correlation_is_the_highest_there_is(seed):
    draw = np.random.default_rng(seed)
    labels = draw.uniform(0, 5, size=50)
    noise = draw.normal(size=(50, 4)) * [1, 2, 4, 4] + [0, 3, 0, 0]
    scores = labels[:, None] * [1, 0.5, 0.1, -0.2] + noise
    found = fit_weights("weighted", task_of("sts"), list(scores.T), examples_of(labels.tolist()))
    assert found.sum() == pytest.approx(1) and (found >= 0).all()
    # Covariances of members and labels are proportional to those of members and mixture, or less at weight 0.
    members, mixture = scores - scores.mean(axis=0), scores @ found
    ratios = (members.T @ labels) / (members.T @ (mixture - mixture.mean()))
    best = ratios[found > 0].mean()
    assert ratios[found > 0] == pytest.approx(best)
    assert (members.T @ labels <= best * members.T @ (mixture - mixture.mean()) + 1e-6).all()
    correlation = np.corrcoef(mixture, labels)[0, 1]
    for other in draw.dirichlet(np.ones(4) * 0.5, size=200):
        assert np.corrcoef(scores @ other, labels)[0, 1] <= correlation + 1e-9


def test_the_extra_is_named_where_scipy_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(InputError, match=r"fitted with SciPy; pip install .minbert\[experiments\]"):
        correlation_weights(np.ones((3, 2)), np.arange(3.0))


def test_members_that_only_mislead_or_are_constant():
    labels = np.arange(10.0)
    assert correlation_weights(np.stack([-labels, np.ones(10)], axis=1), labels).tolist() == [0.5, 0.5]
    assert correlation_weights(np.stack([np.ones(10), labels], axis=1), labels).tolist() == [0, 1]


def greedy_by_the_paper(soft, labels) -> list[int]:
    """Caruana et al. 2004, figure 1, with replacement, for the accuracy of classes."""

    def accuracy(members):
        return float(np.mean(np.mean([soft[m] for m in members], axis=0).argmax(axis=1) == labels))

    bag = [max(range(len(soft)), key=lambda m: accuracy([m]))]
    while True:
        gains = {m: accuracy([*bag, m]) for m in range(len(soft))}
        chosen = max(gains, key=gains.get)
        if gains[chosen] <= accuracy(bag):
            return bag
        bag.append(chosen)


@pytest.mark.parametrize("seed", range(3))
def test_greedy_is_the_papers(seed):
    soft, labels = random_members(seed, members=5, count=80, classes=5)
    found = greedy_weights(task_of("sst"), soft, examples_of(labels))
    bag = greedy_by_the_paper(soft, labels)
    assert found == pytest.approx([bag.count(m) / len(bag) for m in range(5)])


def test_greedy_takes_the_earliest_of_equals_and_goes_past_constants():
    soft, labels = random_members(0, members=1, count=30, classes=5)
    assert greedy_weights(task_of("sst"), soft * 3, examples_of(labels)).tolist() == [1, 0, 0]
    labels, soft = [0.0, 1.0, 2.0, 5.0], [np.ones(4), np.array([0.0, 2.0, 1.0, 5.0])]
    assert greedy_weights(task_of("sts"), soft, examples_of(labels)).tolist() == [0, 1]


def test_a_mixture_is_the_weighted_mean():
    soft, labels = random_members(0, members=3, count=25, classes=5)
    weights = np.array([0.2, 0.3, 0.5])
    assert mix(soft, weights) == pytest.approx(0.2 * soft[0] + 0.3 * soft[1] + 0.5 * soft[2])
    assert mix([m[:, 0] for m in soft], weights) == pytest.approx(mix(soft, weights)[:, 0])
    # Cross-validation of equal weights changes nothing.
    task, examples = task_of("sst"), examples_of(labels)
    plain = task.score(task.hard(np.mean(soft, axis=0)), examples)
    assert cross_validated("plain", task, soft, examples) == plain


def predictions_in_folds(soft, labels) -> list:
    task = task_of("sst")
    task.score = lambda predictions, examples: list(predictions)
    return cross_validated("weighted", task, soft, examples_of(labels))


def test_no_prediction_knows_its_own_label():
    """A wrong label moves the weights of the other folds alone: the fold that has it stays as it was."""
    soft, labels = random_members(1, members=3, count=40, classes=5)
    order = np.random.default_rng(0).permutation(40)
    folds = [set(order[k::5].tolist()) for k in range(5)]
    before = predictions_in_folds(soft, labels)
    moved = 0
    for i in range(40):
        changed = [*labels]
        changed[i] = (changed[i] + 2) % 5
        after = predictions_in_folds(soft, changed)
        assert all(before[j] == after[j] for j in next(fold for fold in folds if i in fold))
        moved += sum(b != a for b, a in zip(before, after, strict=True))
    assert moved > 0


def test_what_cannot_be_fitted():
    soft, labels = random_members(2, members=2, count=9, classes=5)
    with pytest.raises(InputError, match="sst: 9 labelled dev examples are too few .* give at least 10"):
        cross_validated("weighted", task_of("sst"), soft, examples_of(labels))

    class Own(ScoredTask):
        def target(self, example):
            return example.label

    own = Own("own", task_config("sst", {}))
    with pytest.raises(InputError, match="own: weighted knows no aim .* take --method greedy"):
        fit_weights("weighted", own, [np.zeros(3)], examples_of([1, 2, 3]))
