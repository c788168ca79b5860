import numpy as np


def accuracy(predictions, labels):
    return float((np.array(predictions) == np.array(labels)).mean())


def pearson(x, y):
    return float(np.corrcoef(x, y)[0, 1])


def spearman(x, y):
    def rank(a):
        # ties share the mean of their ranks
        _, inverse, counts = np.unique(np.array(a), return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        return (last - (counts - 1) / 2)[inverse]

    return pearson(rank(x), rank(y))


def f1(predictions, labels, positive=1):
    p, y = np.array(predictions), np.array(labels)
    tp = np.sum((p == positive) & (y == positive))
    fp = np.sum((p == positive) & (y != positive))
    fn = np.sum((p != positive) & (y == positive))
    if tp == 0:
        return 0.0
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return float(2 * precision * recall / (precision + recall))


def macro_f1(predictions, labels):
    scores = []
    for c in np.unique(np.concatenate([np.array(predictions), np.array(labels)])):
        scores.append(f1(predictions, labels, c))
    return float(np.mean(scores))


def get_entities(tags):
    entities = set()
    begin, etype = -1, None
    for pos, tag in enumerate(tags):
        label = tag[2:] if tag != "O" else None
        if tag.startswith("I-") and label == etype:
            continue  # still inside
        if etype is not None:
            entities.add((begin, pos - 1, etype))
        begin, etype = pos, label
    return entities


def entity_f1(predicted, tags):
    tp = n_pred = n_true = 0
    for p_sent, t_sent in zip(predicted, tags):
        p, t = get_entities(p_sent), get_entities(t_sent)
        tp += len(p.intersection(t))
        n_pred += len(p)
        n_true += len(t)
    if tp == 0:
        return 0.0
    prec = tp / n_pred
    rec = tp / n_true
    return 2 * prec * rec / (prec + rec)


def overall_2024(sst, paraphrase, sts):
    return sum([sst, paraphrase, 0.5 * (sts + 1)]) / 3


def mean_raw(sst, paraphrase, sts):
    return (sst + paraphrase + sts) / 3
