"""The metrics' formulas in fp64: they make the fixture, and with one step replaced a known mistake.

Each formula takes its steps as keyword arguments.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Step = Callable[..., Any]

TYPES = ("PER", "LOC", "ORG")
# sst, paraphrase, sts
DEVELOPMENT = [(0.5125, 0.84375, 0.375), (0.4375, 0.78125, -0.125)]


def accuracy(
    predictions: Sequence,
    labels: Sequence,
    *,
    equal: Step = lambda predictions, labels: np.asarray(predictions) == np.asarray(labels),
    share: Step = np.mean,
) -> float:
    return share(equal(predictions, labels))


def centred(x: Sequence[float]) -> np.ndarray:
    return np.asarray(x) - math.fsum(x) / len(x)


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    return cosine(centred(x), centred(y))


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return math.fsum(x * y) / math.sqrt(math.fsum(x * x) * math.fsum(y * y))


def lowest_ranks(x: Sequence[float]) -> np.ndarray:
    return np.array([1 + sum(other < value for other in x) for value in x])


def highest_ranks(x: Sequence[float]) -> np.ndarray:
    return np.array([sum(other <= value for other in x) for value in x])


def mean_ranks(x: Sequence[float]) -> np.ndarray:
    """Returns each value's rank from 1: the mean of the places that its equals take."""
    return (lowest_ranks(x) + highest_ranks(x)) / 2


def pearson(x: Sequence[float], y: Sequence[float], *, correlation: Step = correlation) -> float:
    return correlation(x, y)


def spearman(
    x: Sequence[float], y: Sequence[float], *, ranks: Step = mean_ranks, correlation: Step = correlation
) -> float:
    return correlation(ranks(x), ranks(y))


class Counts(NamedTuple):
    """The number of right predictions of a class, of its predictions, and of its true cases."""

    hits: int
    predicted: int
    true: int

    @property
    def precision(self) -> float:
        return self.hits / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.true


def f1_of(counts: Counts) -> float:
    """2 P R / (P + R), with P the precision and R the recall."""
    return harmonic_mean(counts.precision, counts.recall) if counts.hits else 0.0


def harmonic_mean(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall)


def f1(
    predictions: Sequence[int],
    labels: Sequence[int],
    *,
    score: Step = f1_of,
    average: Step = lambda counts, score: score(counts[1]),
) -> float:
    """The F1 of class 1; `average` gets the Counts of each class, from 0 up."""
    pairs = list(zip(predictions, labels, strict=True))
    counts = [
        Counts(
            sum(a == b == of for a, b in pairs),
            sum(a == of for a, _ in pairs),
            sum(b == of for _, b in pairs),
        )
        for of in sorted({*predictions, *labels})
    ]
    return average(counts, score)


def mean_of_classes(counts: list[Counts], score: Step) -> float:
    return sum(map(score, counts)) / len(counts)


def macro_f1(
    predictions: Sequence[int], labels: Sequence[int], *, average: Step = mean_of_classes, **steps: Step
) -> float:
    """The mean of the classes' F1, over those predicted or true."""
    return f1(predictions, labels, average=average, **steps)


def begins(tag: str, before: str) -> bool:
    return tag[0] == "B" or before == "O" or before[2:] != tag[2:]


def entities(tags: list[str], begins: Step = begins) -> list[tuple[str, int, int]]:
    """Returns (type, first word, last word), an entity being a run of one type that no B- interrupts."""
    found: list[tuple[str, int, int]] = []
    for place, (before, tag) in enumerate(pairwise(["O", *tags])):
        if tag != "O" and begins(tag, before):
            found.append((tag[2:], place, place))
        elif tag != "O" and found and found[-1][2] == place - 1:
            found[-1] = (*found[-1][:2], place)
    return found


def count_all(ours: Counter, theirs: Counter, score: Step) -> float:
    return score(Counts((ours & theirs).total(), ours.total(), theirs.total()))


def entity_f1(
    predicted: list[list[str]],
    tags: list[list[str]],
    *,
    entities: Step = entities,
    kept: Step = lambda sentence, type, first, last: (sentence, type, first, last),
    score: Step = f1_of,
    average: Step = count_all,
) -> float:
    """Tjong Kim Sang and De Meulder 2003, section 2.3: F1 over all entities of all sentences."""
    ours, theirs = (
        Counter(kept(number, *entity) for number, tags in enumerate(sentences) for entity in entities(tags))
        for sentences in (predicted, tags)
    )
    return average(ours, theirs, score)


def mean_raw(
    sst: float,
    paraphrase: float,
    sts: float,
    *,
    scores: Step = lambda sst, paraphrase, sts: (sst, paraphrase, sts),
    mean: Step = lambda scores: sum(scores) / 3,
) -> float:
    return mean(scores(sst, paraphrase, sts))


def overall_2024(
    sst: float,
    paraphrase: float,
    sts: float,
    *,
    scores: Step = lambda sst, paraphrase, sts: (sst, paraphrase, (sts + 1) / 2),
    **steps: Step,
) -> float:
    return mean_raw(sst, paraphrase, sts, scores=scores, **steps)


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
    for type, first, last in entities(tags):
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


FORMULAS = {
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
    scores = {
        name: np.array([function(*case) for case in cases[name]]) for name, function in FORMULAS.items()
    }
    return scores, cases
