"""Evaluation metrics."""

import numpy as np


def accuracy(predictions, labels):
    return float(np.mean(np.asarray(predictions) == np.asarray(labels)))


def pearson(x, y):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


def _average_ranks(values):
    values = np.asarray(values, dtype=float)
    smaller = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return smaller + (equal + 1) / 2


def spearman(x, y):
    return pearson(_average_ranks(x), _average_ranks(y))


def _harmonic(correct, predicted, gold):
    return 2 * correct / (predicted + gold) if predicted + gold else 0.0


def _class_f1(predictions, labels, wanted):
    predicted, gold = np.asarray(predictions) == wanted, np.asarray(labels) == wanted
    return float(_harmonic((predicted & gold).sum(), predicted.sum(), gold.sum()))


def f1(predictions, labels):
    return _class_f1(predictions, labels, 1)


def macro_f1(predictions, labels):
    classes = np.union1d(np.asarray(predictions), np.asarray(labels))
    return float(np.mean([_class_f1(predictions, labels, c) for c in classes]))


def _entities(sentence):
    """Set of (start, end, type); an I- tag without a fitting predecessor also starts an entity."""
    found, start, kind = set(), None, None
    for i, tag in enumerate(list(sentence) + ["O"]):
        prefix, _, tag_kind = tag.partition("-")
        goes_on = prefix == "I" and kind is not None and tag_kind == kind
        if goes_on:
            continue
        if kind is not None:
            found.add((start, i, kind))
        start, kind = (i, tag_kind) if prefix in ("B", "I") else (None, None)
    return found


def entity_f1(predicted, tags):
    all_ours, all_theirs = set(), set()
    for ours, theirs in zip(predicted, tags):
        all_ours |= _entities(ours)
        all_theirs |= _entities(theirs)
    return float(_harmonic(len(all_ours & all_theirs), len(all_ours), len(all_theirs)))


def overall_2024(sst, paraphrase, sts):
    return (sst + paraphrase + (sts + 1) / 2) / 3


def mean_raw(sst, paraphrase, sts):
    return (sst + paraphrase + sts) / 3
