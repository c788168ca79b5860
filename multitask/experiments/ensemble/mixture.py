"""Weights of an ensemble's members: equal, fitted, or chosen one after another.

M members, N examples. Soft predictions are probabilities (N, C) of classes or of labels, (N,) of class 1, or
(N,) scores.
Weights are at least 0 and sum to 1, so that a mixture stays on the scale of its members.
"""

import math
from collections.abc import Sequence

import numpy as np

from minbert import InputError
from multitask.data.readers import Example
from multitask.tasks.base import ScoredTask

METHODS = ("plain", "weighted", "greedy")
FOLDS = 5
_LEAST = 1e-12  # probability, whose logarithm is taken
_ROUNDS = 10_000  # of a fit
_ADDITIONS = 100  # to a greedy ensemble


def mix(example_scores: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Returns the weighted mean of the example scores of M models, (N, ...)."""
    return np.einsum("m,m...->...", weights, np.stack(example_scores))


def fit_weights(
    method: str, task: ScoredTask, example_scores: Sequence[np.ndarray], examples: Sequence[Example]
) -> np.ndarray:
    """Returns (M,) weights by a method of METHODS, from the example scores of M models for labelled examples.

    `weighted`: a classification's have the least negative log-likelihood of the mixture, a similarity's the
    highest Pearson correlation. `greedy`: Caruana et al. 2004, by the task's primary metric.
    Raises InputError where `weighted` knows no aim for the kind of task.
    """
    if method == "plain":
        return np.full(len(example_scores), 1 / len(example_scores))
    if method == "greedy":
        return greedy_weights(task, example_scores, examples)
    targets = np.array([task.target(example) for example in examples]) if len(examples) else np.zeros(0)
    if task.target_kind == "number":
        return correlation_weights(np.stack(example_scores, axis=1), targets)
    if task.target_kind == "classes":
        chosen = [member[np.arange(len(targets)), targets.astype(int)] for member in example_scores]
    elif task.target_kind in ("binary", "labels"):
        chosen = [np.where(targets == 1, member, 1 - member).ravel() for member in example_scores]
    else:
        raise InputError(
            f"{task.name}: weighted knows no aim for tasks of type {task.config.type!r}; take --method greedy"
        )
    return likelihood_weights(np.stack(chosen, axis=1))


def likelihood_weights(chosen: np.ndarray) -> np.ndarray:
    """Returns the (M,) weights of the mixture under which the true classes are most probable.

    `chosen` (N, M) has the probability that each member gives the true class of each example. The problem is
    convex; the EM algorithm for mixture weights lowers the negative log-likelihood in every round, and stops
    where a round gains less than 1e-10 an example.
    """
    chosen = np.maximum(chosen, _LEAST)
    weights = np.full(chosen.shape[1], 1 / chosen.shape[1])
    loss = math.inf
    for _ in range(_ROUNDS):
        mixed = chosen @ weights
        before, loss = loss, -np.log(mixed).mean()
        if before - loss < 1e-10:
            break
        weights = (chosen * weights / mixed[:, None]).mean(axis=0)
    return weights / weights.sum()


def correlation_weights(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the (M,) weights of the mean of scores (N, M) that correlates most with labels (N,).

    Of all weighted sums with weights of at least 0, the one nearest to the centred labels has the smallest
    angle to them, which is the highest correlation; non-negative least squares finds it. Equal weights where
    no member correlates above 0.
    """
    try:
        from scipy.optimize import nnls
    except ImportError:
        raise InputError(
            'weights of similarities are fitted with SciPy; pip install "minbert[experiments]"'
        ) from None
    weights, _ = nnls(scores - scores.mean(axis=0), labels - labels.mean(), maxiter=_ROUNDS)
    return weights / weights.sum() if weights.any() else np.full(len(weights), 1 / len(weights))


def greedy_weights(
    task: ScoredTask, example_scores: Sequence[np.ndarray], examples: Sequence[Example]
) -> np.ndarray:
    """Returns the (M,) shares of a bag into which members are drawn with replacement (Caruana et al. 2004).

    It begins with the best member and takes in the one that raises the primary metric most, of equal ones the
    earliest, until none raises it.
    """

    def value(weights: np.ndarray) -> float:
        found = task.score(task.hard(mix(example_scores, weights)), examples)[task.primary_metric]
        return -math.inf if math.isnan(found) else found

    bag, best = np.zeros(len(example_scores)), -math.inf
    for _ in range(_ADDITIONS):
        values = [value((bag + one) / (bag.sum() + 1)) for one in np.eye(len(example_scores))]
        chosen = int(np.argmax(values))
        if bag.any() and values[chosen] <= best:
            break
        best = values[chosen]
        bag[chosen] += 1
    return bag / bag.sum()


def cross_validated(
    method: str, task: ScoredTask, example_scores: Sequence[np.ndarray], examples: Sequence[Example]
) -> dict[str, float]:
    """Returns scores of predictions whose weights were fitted without the examples that they are made for.

    The examples are dealt into FOLDS folds, always the same; for each, the weights come from the others, and
    the predictions of all folds are scored together. Raises InputError for fewer than two examples a fold.
    """
    count = len(examples)
    if count < 2 * FOLDS:
        raise InputError(
            f"{task.name}: {count} labelled dev examples are too few to fit weights on and to check them in "
            f"{FOLDS} folds; give at least {2 * FOLDS}, or take --method plain"
        )
    predictions: list = [None] * count
    order = np.random.default_rng(0).permutation(count)
    for fold in range(FOLDS):
        held_out, others = order[fold::FOLDS], np.delete(order, np.s_[fold::FOLDS])
        weights = fit_weights(
            method, task, [m[others] for m in example_scores], [examples[i] for i in others]
        )
        hard = task.hard(mix([member[held_out] for member in example_scores], weights))
        for place, prediction in zip(held_out, hard, strict=True):
            predictions[place] = prediction
    return task.score(predictions, examples)
