"""Weights of an ensemble's members: optimal as scipy says, greedy as the paper says, checked fairly."""

import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.readers import Example
from multitask.experiments.ensembles.mixture import (
    correlation_weights,
    cross_validated,
    fit_weights,
    greedy_weights,
    likelihood_weights,
    mix,
)
from multitask.tasks.base import ScoredTask


def task_of(name: str, **values) -> ScoredTask:
    return make_task(name, task_config(name, values))


def examples_of(labels) -> list[Example]:
    return [Example(str(i), ("a",), label, i) for i, label in enumerate(labels)]


def random_members(seed: int, members: int, count: int, classes: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Soft predictions that know something of the labels, some members more than others."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(classes, size=count)
    logits = draw.normal(size=(members, count, classes))
    logits[:, np.arange(count), labels] += np.linspace(0, 1.5, members)[:, None]
    soft = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return list(soft), labels


@pytest.mark.parametrize("seed", range(5))
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


def test_probabilities_of_zero_and_below_do_no_harm():
    """The loss "ordinal" may give a level less than 0."""
    chosen = np.array([[0.9, 0.0], [0.8, -0.1], [0.0, 0.7]])
    assert np.isfinite(likelihood_weights(chosen)).all()
    assert likelihood_weights(chosen)[0] == pytest.approx(2 / 3, abs=1e-4)


def test_a_pairs_probability_of_0_counts_where_the_label_is_0():
    good, bad = np.array([0.9, 0.1, 0.1, 0.9]), np.array([0.1, 0.9, 0.9, 0.1])
    weights = fit_weights("weighted", task_of("paraphrase"), [bad, good], examples_of([1, 0, 0, 1]))
    assert weights == pytest.approx([0, 1], abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_correlation_is_the_highest_there_is(seed):
    draw = np.random.default_rng(seed)
    labels = draw.uniform(0, 5, size=50)
    noise = draw.normal(size=(50, 4)) * [1, 2, 4, 4] + [0, 3, 0, 0]
    scores = labels[:, None] * [1, 0.5, 0.1, -0.2] + noise
    found = correlation_weights(scores, labels)
    assert found.sum() == pytest.approx(1) and (found >= 0).all()
    peer, _ = nnls(scores - scores.mean(axis=0), labels - labels.mean())
    assert found == pytest.approx(peer / peer.sum(), abs=1e-6)
    best = np.corrcoef(scores @ found, labels)[0, 1]
    for other in draw.dirichlet(np.ones(4) * 0.5, size=500):
        assert np.corrcoef(scores @ other, labels)[0, 1] <= best + 1e-9


def test_members_that_only_mislead():
    labels = np.arange(10.0)
    scores = np.stack([-labels, np.ones(10)], axis=1)
    assert correlation_weights(scores, labels).tolist() == [0.5, 0.5]
    assert correlation_weights(np.stack([scores[:, 1], labels], axis=1), labels).tolist() == [0, 1]


def test_a_similarity_is_fitted_by_its_scores_and_plain_is_equal():
    labels = [0.0, 1.0, 2.0, 5.0, 3.0]
    soft = [np.array([1.0, 0, 3, 0, 1]), np.array(labels)]
    task = task_of("sts")
    assert fit_weights("weighted", task, soft, examples_of(labels)) == pytest.approx([0, 1], abs=1e-9)
    assert fit_weights("plain", task, soft, examples_of(labels)).tolist() == [0.5, 0.5]


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


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_the_papers(seed):
    soft, labels = random_members(seed, members=5, count=80, classes=5)
    found = greedy_weights(task_of("sst"), soft, examples_of(labels.tolist()))
    bag = greedy_by_the_paper(soft, labels)
    assert found == pytest.approx([bag.count(m) / len(bag) for m in range(5)])


def test_greedy_takes_the_earliest_of_equals_and_no_one_for_nothing():
    soft, labels = random_members(0, members=1, count=30, classes=5)
    weights = greedy_weights(task_of("sst"), soft * 3, examples_of(labels.tolist()))
    assert weights.tolist() == [1, 0, 0]


def test_greedy_goes_by_the_primary_metric_and_past_constants():
    labels = [0.0, 1.0, 2.0, 5.0]
    soft = [np.ones(4), np.array([0.0, 2.0, 1.0, 5.0])]
    assert greedy_weights(task_of("sts"), soft, examples_of(labels)).tolist() == [0, 1]


def test_a_mixture_is_the_weighted_mean():
    soft, _ = random_members(0, members=3, count=4, classes=2)
    weights = np.array([0.2, 0.3, 0.5])
    assert mix(soft, weights) == pytest.approx(0.2 * soft[0] + 0.3 * soft[1] + 0.5 * soft[2])
    scores = [member[:, 0] for member in soft]
    assert mix(scores, weights) == pytest.approx(mix(soft, weights)[:, 0])


def predictions_in_folds(soft, labels) -> list:
    task = task_of("sst")
    task.score = lambda predictions, examples: list(predictions)
    return cross_validated("weighted", task, soft, examples_of(labels))


def test_no_prediction_knows_its_own_label():
    """A wrong label moves the weights of the other folds alone: the fold that holds it stays as it was."""
    soft, labels = random_members(1, members=3, count=40, classes=5)
    order = np.random.default_rng(0).permutation(40)
    folds = [set(order[k::5].tolist()) for k in range(5)]
    assert set.union(*folds) == set(range(40))
    before = predictions_in_folds(soft, labels.tolist())
    moved = 0
    for i in range(40):
        changed = [*labels.tolist()]
        changed[i] = (changed[i] + 2) % 5
        after = predictions_in_folds(soft, changed)
        own = next(fold for fold in folds if i in fold)
        assert all(before[j] == after[j] for j in own)
        moved += sum(b != a for b, a in zip(before, after, strict=True))
    assert moved > 0


def test_a_fit_to_noise_does_not_survive_cross_validation():
    """40 members that guess: greedy finds luck in the examples that it sees, and none in the others."""
    task, seen, unseen = task_of("sst"), [], []
    for seed in range(12):
        draw = np.random.default_rng(seed)
        labels, soft = draw.integers(5, size=60).tolist(), list(draw.dirichlet(np.ones(5), size=(40, 60)))
        examples = examples_of(labels)
        mixed = mix(soft, greedy_weights(task, soft, examples))
        seen.append(task.score(task.hard(mixed), examples)["accuracy"])
        unseen.append(cross_validated("greedy", task, soft, examples)["accuracy"])
    assert np.mean(seen) > 0.35
    assert np.mean(unseen) == pytest.approx(0.2, abs=0.06)


def test_cross_validation_of_equal_weights_changes_nothing():
    soft, labels = random_members(2, members=3, count=25, classes=5)
    task, examples = task_of("sst"), examples_of(labels.tolist())
    plain = task.score(task.hard(np.mean(soft, axis=0)), examples)
    assert cross_validated("plain", task, soft, examples) == plain


def test_too_few_examples_for_folds():
    soft, labels = random_members(2, members=2, count=9, classes=5)
    with pytest.raises(InputError, match="sst: 9 labelled dev examples are too few .* give at least 10"):
        cross_validated("weighted", task_of("sst"), soft, examples_of(labels.tolist()))


def test_a_kind_of_ones_own_has_no_aim_to_fit():
    class Own(ScoredTask):
        def target(self, example):
            return example.label

    own = Own("own", task_config("sst", {}))
    with pytest.raises(InputError, match="own: weighted knows no aim .* take --method greedy"):
        fit_weights("weighted", own, [np.zeros(3)], examples_of([1, 2, 3]))
