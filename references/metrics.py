"""Metrics in fp64, counted and summed one example at a time, as their definitions read."""

import math

import numpy as np

TYPES = ("PER", "LOC", "ORG")
# sst, paraphrase, sts
DEVELOPMENT = [(0.5125, 0.84375, 0.375), (0.4375, 0.78125, -0.125)]


def accuracy(predictions: list, labels: list) -> float:
    return sum(a == b for a, b in zip(predictions, labels, strict=True)) / len(labels)


def pearson(x: list[float], y: list[float]) -> float:
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    product = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    square_x = math.fsum((a - mean_x) ** 2 for a in x)
    square_y = math.fsum((b - mean_y) ** 2 for b in y)
    return product / math.sqrt(square_x * square_y)


def ranks(values: list[float]) -> list[float]:
    """Each value's rank from 1: the mean of the places that its equals take."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def spearman(x: list[float], y: list[float]) -> float:
    return pearson(ranks(x), ranks(y))


def f1(predictions: list[int], labels: list[int], of: int = 1) -> float:
    """2 P R / (P + R) of one class, with P the precision and R the recall."""
    hits = sum(a == of and b == of for a, b in zip(predictions, labels, strict=True))
    if not hits:
        return 0.0
    precision, recall = hits / predictions.count(of), hits / labels.count(of)
    return 2 * precision * recall / (precision + recall)


def macro_f1(predictions: list[int], labels: list[int]) -> float:
    """The mean of the classes' F1, over those predicted or true."""
    classes = sorted({*predictions, *labels})
    return sum(f1(predictions, labels, of) for of in classes) / len(classes)


def entities(tags: list[str]) -> set[tuple[str, int, int]]:
    """(type, first word, last word), an entity being a run of one type that no B- interrupts."""
    found, start = set(), None
    for place in range(len(tags) + 1):
        tag = tags[place] if place < len(tags) else "O"
        goes_on = start is not None and tag == f"I-{tags[start][2:]}"
        if start is not None and not goes_on:
            found.add((tags[start][2:], start, place - 1))
            start = None
        if tag != "O" and not goes_on:
            start = place
    return found


def entity_f1(predicted: list[list[str]], tags: list[list[str]]) -> float:
    """Tjong Kim Sang and De Meulder 2003, section 2.3: F1 over all entities of all sentences."""
    ours, theirs = (
        {(number, *entity) for number, sentence in enumerate(sentences) for entity in entities(sentence)}
        for sentences in (predicted, tags)
    )
    precision, recall = len(ours & theirs) / len(ours), len(ours & theirs) / len(theirs)
    return 2 * precision * recall / (precision + recall)


def overall_2024(sst: float, paraphrase: float, sts: float) -> float:
    return (sst + paraphrase + (sts + 1) / 2) / 3


def mean_raw(sst: float, paraphrase: float, sts: float) -> float:
    return (sst + paraphrase + sts) / 3


def binary_case(random: np.random.Generator) -> list[list[int]]:
    """Predictions and labels of two classes of different sizes."""
    labels = (random.random(41) < 0.3).astype(int)
    wrong = random.random(41) < np.where(labels == 1, 0.3, 0.2)
    return [np.where(wrong, 1 - labels, labels).tolist(), labels.tolist()]


def class_case(random: np.random.Generator) -> list[list[int]]:
    """Predictions and labels of four classes of different sizes; class 3 is never predicted."""
    labels = random.choice(4, size=53, p=[0.4, 0.3, 0.2, 0.1])
    guesses = random.choice(3, size=53, p=[0.5, 0.2, 0.3])
    right = (random.random(53) < 0.5) & (labels < 3)
    return [np.where(right, labels, guesses).tolist(), labels.tolist()]


def score_case(random: np.random.Generator, sign: int) -> list[list[float]]:
    """Two lists of scores without ties, which rise together (sign 1) or against each other (-1)."""
    x = random.permutation(np.arange(1, 41))[:13] / 8
    y = 4 + sign * x / 2 + random.permutation(np.arange(1, 81))[:13] / 32
    return [x.tolist(), y.tolist()]


def tied_case(random: np.random.Generator, sign: int) -> list[list[float]]:
    """The same with many ties. (np.argsort keeps the order of ties in lists of up to 16.)"""
    x = random.integers(1, 8, 15)
    return [x.astype(float).tolist(), ((8 + sign * x + random.integers(0, 7, 15)) / 2).tolist()]


def tag_case(random: np.random.Generator) -> list[list[list[str]]]:
    """Predicted and true tags of 12 sentences, in IOB2."""
    true = [sentence(random) for _ in range(12)]
    return [[misread(random, tags) for tags in true], true]


def loose_tag_case(random: np.random.Generator) -> list[list[list[str]]]:
    """The same with every other B- predicted as I-."""
    predicted, true = tag_case(random)
    loose = [
        [f"I{tag[1:]}" if tag[0] == "B" and random.random() < 0.5 else tag for tag in tags]
        for tags in predicted
    ]
    return [loose, true]


def sentence(random: np.random.Generator) -> list[str]:
    """One to four entities, some of them side by side."""
    tags = []
    for _ in range(random.integers(1, 5)):
        type = TYPES[random.integers(0, 2) if random.random() < 0.8 else 2]
        inside = random.integers(0, 3)
        tags += [*["O"] * random.integers(0, 3), f"B-{type}", *[f"I-{type}"] * inside]
    return [*tags, *["O"] * random.integers(0, 3)]


def misread(random: np.random.Generator, tags: list[str]) -> list[str]:
    """Valid tags with entities missed, of another type, cut short, or joined with the one before."""
    read = list(tags)
    for type, first, last in sorted(entities(tags), key=lambda entity: entity[1]):
        kind = random.choice(
            ["right", "missed", "other type", "short", "joined"], p=[0.5, 0.1, 0.15, 0.1, 0.15]
        )
        if kind == "missed":
            read[first : last + 1] = ["O"] * (last + 1 - first)
        elif kind == "other type":
            other = TYPES[(TYPES.index(type) + 1) % 3]
            read[first : last + 1] = [tag[:2] + other for tag in tags[first : last + 1]]
        elif kind == "short" and first < last:
            read[last] = "O"
        elif kind == "joined" and first and read[first - 1][2:] == type:
            read[first] = f"I-{type}"
    return read


def fixture() -> tuple[dict[str, np.ndarray], dict]:
    """The scores NAME (2,) of two cases, and the cases as settings: the arguments in their order."""
    random = np.random.default_rng(20030531)

    cases: dict[str, list] = {
        "pearson": [score_case(random, sign) for sign in (1, -1)],
        "spearman": [tied_case(random, sign) for sign in (1, -1)],
        "f1": [binary_case(random) for _ in range(2)],
        "macro_f1": [class_case(random) for _ in range(2)],
        "entity_f1": [tag_case(random) for _ in range(2)],
        "loose_entity_f1": [loose_tag_case(random) for _ in range(2)],
    }
    cases["accuracy"] = cases["macro_f1"]
    cases["overall_2024"] = cases["mean_raw"] = [list(scores) for scores in DEVELOPMENT]
    functions = {
        "accuracy": accuracy,
        "pearson": pearson,
        "spearman": spearman,
        "f1": f1,
        "macro_f1": macro_f1,
        "entity_f1": entity_f1,
        "loose_entity_f1": entity_f1,
        "overall_2024": overall_2024,
        "mean_raw": mean_raw,
    }
    scores = {
        name: np.array([function(*case) for case in cases[name]]) for name, function in functions.items()
    }
    return scores, cases
