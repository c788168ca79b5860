import numpy as np


def accuracy(predictions, labels):
    right = sum(1 for p, y in zip(predictions, labels) if p == y)
    return right / len(labels)


def pearson(x, y):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    cov = ((x - np.mean(x)) * (y - np.mean(y))).mean()
    return float(cov / (np.std(x, ddof=1) * np.std(y, ddof=1)))


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
    p, y = np.array(predictions), np.array(labels)
    tp = np.sum((p == positive) & (y == positive))
    fp = np.sum((p == positive) & (y != positive))
    fn = np.sum((p != positive) & (y == positive))
    if tp == 0:
        return 0.0
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return float(2 * precision * recall / (precision + recall))


def macro_f1(predictions, labels):
    classes = sorted(set(list(predictions)) | set(list(labels)))
    return sum(f1(predictions, labels, c) for c in classes) / len(classes)


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
    return (sst + paraphrase + sts) / 3
