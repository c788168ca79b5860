"""Mistakes in metrics: for each metric a table of rows with the step that is done wrong."""

from collections import Counter

import numpy as np

from minbert.check import TOLERANCE, Mistake, Outputs, distance
from multitask.check import metric_formulas as right
from multitask.check.metric_formulas import Step
from multitask.check.mistakes import wrong

# fmt: off
ACCURACY = {
    "number instead of share": wrong("The right predictions are counted, and not divided by N.",
        "Divide by the number of examples.", share=np.sum),
    "share of wrong predictions": wrong("The error rate is returned.",
        "Return the share of equal entries: 1 - error rate.", share=lambda equal: 1 - equal.mean()),
    "in percent": wrong("The share is multiplied by 100.", "Return a share between 0 and 1.",
        share=lambda equal: 100 * equal.mean()),
    "lists compared as a whole": wrong(
        "predictions == labels of two lists is one False, not one truth value for each entry.",
        "Make arrays of them first: np.asarray(predictions) == np.asarray(labels).",
        equal=lambda predictions, labels: predictions == labels),
}


def covariance(x: np.ndarray, y: np.ndarray) -> float:
    return np.mean(right.centred(x) * right.centred(y))


def kendall(x: np.ndarray, y: np.ndarray) -> float:
    of_x, of_y = (np.sign(values[:, None] - values) for values in (np.asarray(x), np.asarray(y)))
    return (of_x * of_y).sum() / np.sqrt((of_x**2).sum() * (of_y**2).sum())


SAME_DIVISOR = "Use N in both or N - 1 in both, or np.corrcoef."
OF_R = {
    "covariance over N - 1, deviations over N": wrong(
        "The covariance divides by N - 1 (np.cov), the deviations by N (np.std): N / (N - 1) times r.",
        SAME_DIVISOR, correlation=lambda x, y: right.correlation(x, y) * len(x) / (len(x) - 1)),
    "covariance over N, deviations over N - 1": wrong(
        "The covariance divides by N, the deviations by N - 1 (torch.std): (N - 1) / N times r.",
        SAME_DIVISOR, correlation=lambda x, y: right.correlation(x, y) * (len(x) - 1) / len(x)),
    "square of r": wrong("r^2, the share of variance explained, is returned.", "Return r.",
        correlation=lambda x, y: right.correlation(x, y) ** 2),
    "1 - r": wrong("The correlation distance is returned.", "Return r.",
        correlation=lambda x, y: 1 - right.correlation(x, y)),
    "sign of r dropped": wrong("The absolute value is returned.",
        "Return r with its sign: it lies between -1 and 1.",
        correlation=lambda x, y: abs(right.correlation(x, y))),
    "Kendall's tau": wrong(
        "Pairs in the same and in the other order are counted, which is Kendall's tau (b).",
        "Spearman's is Pearson's correlation of the ranks, Pearson's that of the values.",
        correlation=kendall),
}
BY_DEVIATIONS = "Divide by the product of both standard deviations."
PEARSON = {
    "means not subtracted": wrong("The cosine of the two lists is returned: their means were not subtracted.",
        "Subtract each list's mean first: r = sum (x - mean x) (y - mean y) / (...).",
        correlation=lambda x, y: right.cosine(np.asarray(x), np.asarray(y))),
    "root of the sums of squares missing": wrong(
        "The products' sum is divided by both sums of squares, not by their root.",
        "Divide by sqrt(sum (x - mean x)^2 * sum (y - mean y)^2).",
        correlation=lambda x, y: covariance(x, y) / (len(x) * np.var(x) * np.var(y))),
    "divided by the variances": wrong(
        "The covariance is divided by both variances, not by both standard deviations.",
        "Divide by the standard deviations, the roots of the variances.",
        correlation=lambda x, y: covariance(x, y) / (np.var(x) * np.var(y))),
    "covariance instead of correlation": wrong("The covariance is not divided by the deviations.",
        BY_DEVIATIONS, correlation=covariance),
    "covariance over N - 1 instead of correlation": wrong(
        "The covariance (np.cov) is not divided by the deviations.", BY_DEVIATIONS,
        correlation=lambda x, y: np.cov(x, y)[0, 1]),
    "ranks instead of values": wrong("The values are ranked first, which is Spearman's correlation.",
        "Correlate the values.",
        correlation=lambda x, y: right.correlation(right.mean_ranks(x), right.mean_ranks(y))),
} | OF_R
RANKS = "Give equal values the mean of their ranks (scipy.stats.rankdata)."
SPEARMAN = {
    "ties in the order of appearance": wrong(
        "Equal values get different ranks, as argsort of argsort gives them.", RANKS,
        ranks=lambda x: np.argsort(np.argsort(x, kind="stable"), kind="stable")),
    "ties at their lowest rank": wrong("Equal values get the first of their ranks (method='min').", RANKS,
        ranks=right.lowest_ranks),
    "ties at their highest rank": wrong("Equal values get the last of their ranks (method='max').", RANKS,
        ranks=right.highest_ranks),
    "ties without gaps": wrong(
        "Equal values share a rank and the next value gets the next (method='dense', np.unique's inverse).",
        RANKS, ranks=lambda x: np.unique(x, return_inverse=True)[1]),
    "argsort taken for ranks": wrong(
        "argsort gives the places of the sorted values, not the rank of each value.",
        "Rank the values (scipy.stats.rankdata).", ranks=lambda x: np.argsort(x, kind="stable")),
    "values instead of ranks": wrong("The values are not ranked, which is Pearson's correlation.",
        "Rank the values first, then take Pearson's correlation of the ranks.", ranks=np.asarray),
    "formula for ranks without ties": wrong(
        "1 - 6 sum d^2 / (N (N^2 - 1)) was used, which holds only where no values are equal.",
        "Take Pearson's correlation of the ranks.",
        correlation=lambda x, y: 1 - 6 * ((x - y) ** 2).sum() / (len(x) * (len(x) ** 2 - 1))),
    "one list ranked from the top": wrong(
        "One list is ranked in falling order, so that the sign is reversed.",
        "Rank both lists in rising order.", correlation=lambda x, y: -right.correlation(x, y)),
} | OF_R

OF_COUNTS = {
    "precision instead of F1": wrong("The hits are divided by the predictions of the class only.",
        "F1 = 2 P R / (P + R), with recall R too.", score=lambda counts: counts.precision),
    "recall instead of F1": wrong("The hits are divided by the true cases of the class only.",
        "F1 = 2 P R / (P + R), with precision P too.", score=lambda counts: counts.recall),
    "arithmetic mean of precision and recall": wrong("Precision and recall are averaged as (P + R) / 2.",
        "Take the harmonic mean: 2 P R / (P + R).",
        score=lambda counts: (counts.precision + counts.recall) / 2),
    "geometric mean of precision and recall": wrong("sqrt(P R) is returned.",
        "Take the harmonic mean: 2 P R / (P + R).",
        score=lambda counts: np.sqrt(counts.precision * counts.recall)),
    "factor 2 missing": wrong("P R / (P + R) is returned, half of F1.", "F1 = 2 P R / (P + R).",
        score=lambda counts: right.f1_of(counts) / 2),
    "intersection over union": wrong("TP / (TP + FP + FN) is returned, in which hits count once.",
        "F1 = 2 TP / (2 TP + FP + FN).",
        score=lambda counts: counts.hits / (counts.predicted + counts.true - counts.hits)),
}
OF_CLASSES = {
    "accuracy instead of F1": wrong(
        "The share of equal entries is returned; the micro-averaged F1 of all classes is the same number.",
        "F1 = 2 TP / (2 TP + FP + FN), for each class on its own.",
        average=lambda counts, score: score(right.Counts(*map(sum, zip(*counts, strict=True))))),
    "mean weighted by the classes' sizes": wrong(
        "The classes' F1 are weighted by how often each is true (average='weighted').",
        "Weigh all classes alike (macro), or take class 1 alone (binary).",
        average=lambda counts, score: np.average(
            [score(of_class) for of_class in counts], weights=[of_class.true for of_class in counts]
        ),
    ),
} | OF_COUNTS
F1 = {
    "F1 of class 0": wrong("Class 0 is taken for the positive one.",
        "Count hits, misses and false alarms of class 1.", average=lambda counts, score: score(counts[0])),
    "mean over both classes": wrong("F1 of class 0 is averaged in (average='macro').",
        "Return the F1 of class 1 alone (average='binary').", average=right.mean_of_classes),
} | OF_CLASSES
MACRO_F1 = {
    "F1 of class 1 alone": wrong("Only class 1 is counted.", "Take the mean over all classes.",
        average=lambda counts, score: score(counts[1])),
    "classes that are never predicted left out": wrong(
        "A class without predictions is dropped, or its 0 / 0 is skipped as NaN.",
        "A class that is true somewhere and never predicted counts with F1 = 0.",
        average=lambda counts, score:
            np.mean([score(of_class) for of_class in counts if of_class.predicted])),
    "F1 of mean precision and mean recall": wrong(
        "Precision and recall are averaged over the classes before F1 is taken of them.",
        "Take each class's F1 first, then their mean.",
        average=lambda counts, score: right.harmonic_mean(
            np.mean([of_class.precision for of_class in counts]),
            np.mean([of_class.recall for of_class in counts]),
        ),
    ),
} | OF_CLASSES


def by(place: int, ours: Counter, theirs: Counter) -> list[tuple[Counter, Counter]]:
    """Splits both sides' entities by the entry at `place`: 0 the sentence, 1 the type."""

    def of(key: object, counted: Counter) -> Counter:
        return Counter({entity: count for entity, count in counted.items() if entity[place] == key})

    return [(of(key, ours), of(key, theirs)) for key in sorted({entity[place] for entity in ours | theirs})]


def mean_f1(place: int) -> Step:
    """Returns the step that averages the F1 of each sentence (`place` 0) or of each type (1)."""

    def average(ours: Counter, theirs: Counter, score: Step) -> float:
        sides = by(place, ours, theirs)
        return np.mean([score(right.Counts((a & b).total(), a.total(), b.total())) for a, b in sides])

    return average


def f1_of_sets(ours: Counter, theirs: Counter, score: Step) -> float:
    """Compares the entities without their sentences, each counted once."""
    a, b = ({entity[1:] for entity in counted} for counted in (ours, theirs))
    return score(right.Counts(len(a & b), len(a), len(b)))


def named_outside(tags: list[str]) -> list[str]:
    """Makes O a type: a run of O becomes an entity of its own."""
    return ["I-" if tag == "O" else tag for tag in tags]


def without_lone_inside(tags: list[str]) -> list[str]:
    """Makes O of every I- that continues no entity of its type."""
    kept: list[str] = []
    for tag in tags:
        before = kept[-1] if kept else "O"
        lone = tag[0] == "I" and (before == "O" or before[2:] != tag[2:])
        kept.append("O" if lone else tag)
    return kept


SPANS = "Count an entity as found where its type, first and last word are all right."
ENTITY_F1 = {
    "words instead of entities": wrong(
        "Every word with a tag counts for itself, so that half an entity is half right.", SPANS,
        entities=lambda tags: [(tag, place, place) for place, tag in enumerate(tags) if tag != "O"]),
    "types of words instead of entities": wrong(
        "Every word with a type counts for itself, whether its tag is B- or I-.", SPANS,
        entities=lambda tags: [(tag[2:], place, place) for place, tag in enumerate(tags) if tag != "O"]),
    "entity at a sentence's end lost": wrong(
        "An entity is kept only when another tag follows, so that one which ends the sentence is dropped.",
        "After the last tag, keep the entity that is still open.",
        entities=lambda tags: [entity for entity in right.entities(tags) if entity[2] < len(tags) - 1]),
    "O counted": wrong("The words outside of entities count as well, which is the accuracy of the tags.",
        "Count entities only, each once.",
        entities=lambda tags: [(tag, place, place) for place, tag in enumerate(tags)]),
    "runs of O counted as entities": wrong(
        "Runs of words outside of entities are compared as if O were a type.", "Leave the tag O out.",
        entities=lambda tags: right.entities(named_outside(tags))),
    "entity types not compared": wrong(
        "An entity counts as found where its words are right, whatever its type.", "Compare the type too.",
        kept=lambda sentence, type, first, last: (sentence, first, last)),
    "spans not compared": wrong("Only the entities' types in each sentence are compared.",
        "Compare the first and last word too.", kept=lambda sentence, type, first, last: (sentence, type)),
    "last words not compared": wrong("An entity counts as found where its type and first word are right.",
        "Compare the last word too.", kept=lambda sentence, type, first, last: (sentence, type, first)),
    "B- not heeded": wrong("Entities of one type that stand side by side are read as one.",
        "Begin a new entity at every B-.",
        entities=lambda tags:
            right.entities(tags, lambda tag, before: before == "O" or before[2:] != tag[2:])),
    "sentences not told apart": wrong(
        "Entities of the same type and place in different sentences are taken for one, in one set.",
        "Keep the number of the sentence with each entity, or count sentence by sentence.",
        average=f1_of_sets),
    "mean over sentences": wrong("F1 is taken of each sentence, and then averaged.",
        "Count the entities of all sentences, and take one F1.", average=mean_f1(0)),
    "mean over types": wrong("F1 is taken of each type, and then averaged (macro).",
        "Count the entities of all types together, and take one F1 (micro).", average=mean_f1(1)),
    "precision instead of F1": OF_COUNTS["precision instead of F1"]._replace(
        cause="The entities found are divided by the predicted ones only."
    ),
    "recall instead of F1": OF_COUNTS["recall instead of F1"]._replace(
        cause="The entities found are divided by the true ones only."
    ),
    "share of sentences without a mistake": wrong("A sentence counts as right where all of its tags are.",
        "Count entities, not sentences.",
        average=lambda ours, theirs, score: np.mean([a == b for a, b in by(0, ours, theirs)])),
}
LOOSE_ENTITY_F1 = {
    "I- without B- dropped": wrong("An I- that continues no entity of its type is left out.",
        "Let it begin an entity, as CoNLL's scorer does.",
        entities=lambda tags: right.entities(without_lone_inside(tags))),
    "I- of another type continues the entity": wrong(
        "An I- is added to the entity before it without a look at its type.",
        "Begin a new entity where the type changes.",
        entities=lambda tags: right.entities(tags, lambda tag, before: tag[0] == "B" or before == "O")),
}

SUM = {"sum of the tasks": wrong("The three scores are added up.", "Divide by 3.", mean=sum)}
MOVED = "Use (sts + 1) / 2."
OVERALL_2024 = {
    "correlation as it is": wrong(
        "The correlation goes into the mean without being moved from [-1, 1] to [0, 1].", MOVED,
        scores=lambda sst, paraphrase, sts: (sst, paraphrase, sts)),
    "1 not added to the correlation": wrong("The correlation goes into the mean as sts / 2.", MOVED,
        scores=lambda sst, paraphrase, sts: (sst, paraphrase, sts / 2)),
    "correlation plus 1 not halved": wrong("The correlation goes into the mean as sts + 1, between 0 and 2.",
        MOVED, scores=lambda sst, paraphrase, sts: (sst, paraphrase, sts + 1)),
    "whole mean moved": wrong("The mean of the raw scores is moved as (mean + 1) / 2.",
        "Move the correlation alone: (sst + paraphrase + (sts + 1) / 2) / 3.",
        scores=lambda *scores: [(score + 1) / 2 for score in scores]),
    "correlation taken for the first argument": wrong(
        "The first argument, sst, is moved as if it were the correlation.",
        "The order is sst, paraphrase, sts: move the last.",
        scores=lambda sst, paraphrase, sts: ((sst + 1) / 2, paraphrase, sts)),
} | SUM
MEAN_RAW = {
    "correlation moved to 0..1": wrong(
        "The correlation goes into the mean as (sts + 1) / 2, which is the rule since 2024.",
        "Use sts as it is.", scores=lambda sst, paraphrase, sts: (sst, paraphrase, (sts + 1) / 2)),
} | SUM
# fmt: on

MISTAKES = {
    "accuracy": ACCURACY,
    "pearson": PEARSON,
    "spearman": SPEARMAN,
    "f1": F1,
    "macro_f1": MACRO_F1,
    "entity_f1": ENTITY_F1,
    "loose_entity_f1": LOOSE_ENTITY_F1,
    "overall_2024": OVERALL_2024,
    "mean_raw": MEAN_RAW,
}


def with_p_value(function: str) -> Mistake:
    """Returns the mistake of giving scipy's result whole, r with its p-value."""

    def first_are_right(given: Outputs, expected: Outputs) -> bool:
        return all(
            given[name].shape == (2,) and distance(given[name][0], np.asarray(right)) <= TOLERANCE
            for name, right in expected.items()
        )

    return Mistake(
        f"p-value returned too ({function})",
        "scipy's result, r together with its p-value, is returned whole.",
        f"Return its first entry, r: scipy.stats.{function}r(x, y)[0].",
        recognise=first_are_right,
    )
