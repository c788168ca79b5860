import numpy as np


def accuracy(predictions, labels):
    right = sum(1 for p, y in zip(predictions, labels) if p == y)
    return right / len(labels)


def pearson(x, y):
    x = np.array(x, dtype=np.float64)
    y = np.array(y, dtype=np.float64)
    cov = np.mean((x - x.mean()) * (y - y.mean()))
    return float(cov / (x.std() * y.std()))


def ranks(values):
    values = list(values)
    order = sorted(range(len(values)), key=lambda i: values[i])
    result = [0.0] * len(values)
    i = 0
    while i < len(order):
        j = i
        while j + 1 < len(order) and values[order[j + 1]] == values[order[i]]:
            j += 1
        for k in range(i, j + 1):
            result[order[k]] = (i + j) / 2 + 1
        i = j + 1
    return result


def spearman(x, y):
    return pearson(ranks(x), ranks(y))


def f1(predictions, labels, positive=1):
    tp = fp = fn = 0
    for p, y in zip(predictions, labels):
        if p == positive and y == positive:
            tp += 1
        elif p == positive:
            fp += 1
        elif y == positive:
            fn += 1
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def macro_f1(predictions, labels):
    result = 0.0
    labels = list(labels)
    for c in set(labels):
        share = labels.count(c) / len(labels)
        result += share * f1(list(predictions), labels, c)
    return float(result)


def spans(tags):
    out = []
    start = kind = None
    for i, tag in enumerate(tags):
        if tag == "O":
            if kind is not None:
                out.append((kind, start, i))
            start = kind = None
        elif tag[0] == "B" or tag[2:] != kind:
            if kind is not None:
                out.append((kind, start, i))
            start, kind = i, tag[2:]
    if kind is not None:
        out.append((kind, start, len(tags)))
    return out


def entity_f1(predicted, tags):
    a = {(n, *s) for n, sent in enumerate(predicted) for s in spans(sent)}
    b = {(n, *s) for n, sent in enumerate(tags) for s in spans(sent)}
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0


def overall_2024(sst, paraphrase, sts):
    # correlation from [-1, 1] to [0, 1]
    return (sst + paraphrase + (sts + 1) / 2) / 3


def mean_raw(sst, paraphrase, sts):
    scores = [sst, paraphrase, sts]
    return sum(scores) / len(scores)
