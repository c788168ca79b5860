"""Mistakes in losses: for each loss a table of rows with the step that is done wrong.

Rows that several losses share stand in a table of their own. N examples, C classes.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from minbert.check import TOLERANCE, Mistake, Outputs, distance
from multitask.check import loss_formulas as right
from multitask.check.mistakes import picked, wrong


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def unit(vectors: np.ndarray, axis: int = -1) -> np.ndarray:
    return vectors / right.lengths(vectors, axis, keepdims=True)


# fmt: off
DIVIDE = "Divide by the number of examples: loss = sum_i loss_i / N."
MEANS = {
    "sum instead of mean": wrong("The examples' losses are added up.", DIVIDE, mean=np.sum),
    "divided by N - 1": wrong("The sum is divided by one less than the number of examples.", DIVIDE,
        mean=lambda losses: losses.sum() / (len(losses) - 1)),
    "one loss for each example": wrong(
        "The losses are returned as a vector; the mean over the examples is missing.",
        "Return the mean: loss = sum_i loss_i / N.", mean=lambda losses: losses),
}
BASE_TWO = wrong(
    "The logarithm is to base 2, so the loss is 1 / ln 2 = 1.44 times too large.",
    "Take the natural logarithm (torch.log).",
    mean=lambda losses: losses.mean() / np.log(2),
)
LOGARITHM_MEANS = MEANS | {"logarithm to base 2": BASE_TWO}
LIKELIHOOD_MEANS = {
    "minus missing": wrong("The log-likelihood is returned as it is, so that training would make it smaller.",
        "Put a minus before it: loss = -log p.", mean=lambda losses: -losses.mean()),
} | LOGARITHM_MEANS
IGNORED = (
    "The usual value is written into the code, and the one that the caller gives is not used.",
    "Use the argument; another gamma, temperature or scale has to give another loss.",
)

LOGITS = "Give F.cross_entropy the logits as they are; it takes log softmax(logits) itself."
NO_LOGARITHM = (
    "The loss is -p of the label; F.nll_loss gives this when it is given softmax(logits).",
    "Take the logarithm: loss = -log p.",
)
CROSS_ENTROPY = {
    "softmax before a loss of logits": wrong(
        "The logits go through a softmax, and the loss takes the softmax of that once more.", LOGITS,
        losses=lambda logits, labels: right.class_losses(right.softmax(logits), labels)),
    "sigmoid before a loss of logits": wrong(
        "The logits go through a sigmoid before the loss takes their softmax.", LOGITS,
        losses=lambda logits, labels: right.class_losses(sigmoid(logits), labels)),
    "sigmoid instead of softmax": wrong(
        "The label's probability is the sigmoid of its own logit; the other classes' logits are not used.",
        "Take the softmax over the classes: p = e^logit / sum of all e^logit.",
        losses=lambda logits, labels: -right.of_labels(np.log(sigmoid(logits)), labels)),
    "logits taken for log-probabilities": wrong(
        "The label's logit is used as if it were log p; F.nll_loss does so when it is given logits.",
        "Take log softmax(logits) first, or use F.cross_entropy.",
        losses=lambda logits, labels: -right.of_labels(logits, labels)),
    "probability instead of its logarithm": wrong(*NO_LOGARITHM,
        losses=lambda logits, labels: -right.of_labels(right.softmax(logits), labels)),
    "softmax over the examples": wrong(
        "The softmax runs along the batch (dim=0), so that each class sums to one over the examples.",
        "Take it over the classes: softmax(logits, dim=-1).",
        losses=lambda logits, labels: -right.of_labels(right.log_softmax(logits, axis=0), labels)),
    "labels counted from 1": wrong(
        "One is subtracted from the labels, so that each example has the class before its own.",
        "Use the labels as they are: classes are counted from 0.",
        losses=lambda logits, labels: right.class_losses(logits, labels - 1)),
    "mean over classes too": wrong(
        "The mean is taken over all N times C entries of one-hot labels times log p.",
        "Sum over the classes, and take the mean over the N examples only.",
        losses=lambda logits, labels: -right.log_softmax(logits) * np.eye(logits.shape[1])[labels]),
    "label smoothing left on": wrong(
        "A tenth of the target is spread over all classes (label_smoothing=0.1).",
        "Leave label_smoothing at 0: loss = -log p of the label.",
        losses=lambda logits, labels:
            0.9 * right.class_losses(logits, labels) - 0.1 * right.log_softmax(logits).mean(1)),
} | LIKELIHOOD_MEANS

BINARY_CROSS_ENTROPY = {
    "sigmoid before a loss of logits": wrong(
        "The logits go through a sigmoid, and the loss takes the sigmoid of that once more.",
        "Give F.binary_cross_entropy_with_logits the logits as they are.",
        losses=lambda logits, labels: right.binary_losses(sigmoid(logits), labels)),
    "term of label 0 missing": wrong("Only examples of label 1 add to the loss.",
        "Add the other term: -(y log p + (1 - y) log(1 - p)).",
        losses=lambda logits, labels: -labels * np.log(sigmoid(logits))),
    "labels the wrong way round": wrong("Examples of label 1 are pulled to 0, and those of label 0 to 1.",
        "Take -log p for label 1 and -log(1 - p) for label 0.",
        losses=lambda logits, labels: right.binary_losses(logits, 1 - labels)),
    "(N,) and (N, 1) broadcast": wrong(
        "One of logits and labels is a column, so that every logit meets the labels of all examples.",
        "Give both the shape (N,), by squeeze(-1), before they meet.",
        losses=lambda logits, labels: right.binary_losses(logits, labels[:, None])),
    "probability instead of its logarithm": wrong(*NO_LOGARITHM,
        losses=lambda logits, labels: -labels * sigmoid(logits) - (1 - labels) * sigmoid(-logits)),
} | LIKELIHOOD_MEANS

FOCAL = {
    **picked(CROSS_ENTROPY, "softmax before a loss of logits", "sigmoid instead of softmax"),
    **picked(CROSS_ENTROPY, "softmax over the examples", "labels counted from 1"),
    "probability instead of its logarithm": wrong(*NO_LOGARITHM,
        weighted=lambda losses, gamma: -((1 - np.exp(-losses)) ** gamma) * np.exp(-losses)),
    "last argument ignored": wrong(*IGNORED, weighted=lambda losses, gamma: right.focal_losses(losses, 2.0)),
    "factor (1 - p)^gamma missing": wrong("The loss is the plain cross-entropy.",
        "Weigh each example: -(1 - p)^gamma log p (Lin et al. 2017, equation 4).",
        weighted=lambda losses, gamma: losses),
    "p^gamma instead of (1 - p)^gamma": wrong("Easy examples, those of large p, are given the most weight.",
        "Weigh by (1 - p)^gamma, with p the probability of the label.",
        weighted=lambda losses, gamma: np.exp(-losses) ** gamma * losses),
    "gamma with the wrong sign": wrong("The factor is (1 - p)^-gamma, which grows for easy examples.",
        "Use the positive power: (1 - p)^gamma.",
        weighted=lambda losses, gamma: right.focal_losses(losses, -gamma)),
    "gamma as a factor": wrong("1 - p is multiplied by gamma.", "Raise it to the power: (1 - p)^gamma.",
        weighted=lambda losses, gamma: gamma * right.focal_losses(losses, 1)),
    "one factor for the whole batch": wrong(
        "p is exp(-loss) of the batch's mean loss, so that all examples get the same weight.",
        "Take the losses with reduction='none', weigh each by its own (1 - p)^gamma, then take the mean.",
        weighted=lambda losses, gamma: (1 - np.exp(-losses.mean())) ** gamma * losses),
    "alpha = 0.25 left in": wrong(
        "The loss is multiplied by alpha = 0.25, the class weight of the paper's equation 5.",
        "Leave alpha out: -(1 - p)^gamma log p (equation 4).",
        weighted=lambda losses, gamma: 0.25 * right.focal_losses(losses, gamma)),
} | LIKELIHOOD_MEANS

SQUARES = {
    "half the squared error": wrong("The squares are multiplied by 1/2.",
        "Take the mean of (prediction - label)^2 as it is.",
        errors=lambda predictions, labels: right.squared_errors(predictions, labels) / 2),
    "root of the mean squared error": wrong("The root of the mean is returned.",
        "Return the mean of the squares without the root.", mean=lambda losses: np.sqrt(losses.mean())),
    "absolute instead of squared error": wrong("The differences are not squared (F.l1_loss).",
        "Square them: mean of (prediction - label)^2.",
        errors=lambda predictions, labels: np.abs(predictions - labels)),
} | MEANS
MEAN_SQUARED_ERROR = {
    "(N, 1) and (N,) broadcast": wrong(
        "One of predictions and labels is a column, so that every prediction meets all labels.",
        "Give both the shape (N,), by squeeze(-1), before they are subtracted.",
        errors=lambda predictions, labels: right.squared_errors(predictions[:, None], labels)),
    "square of the mean difference": wrong(
        "The differences are averaged before they are squared, so that errors of both signs cancel.",
        "Square each difference, then take the mean.",
        errors=lambda predictions, labels: (predictions - labels).mean() ** 2),
    "predictions through a sigmoid": wrong(
        "The predictions go through a sigmoid, so that none can be above 1.",
        "Compare the predictions as they are.",
        errors=lambda predictions, labels: right.squared_errors(sigmoid(predictions), labels)),
} | SQUARES

UNSTRETCHED = "Compare with the labels as they are: (cos - label)^2."
BOTH_LENGTHS = "Divide by both lengths: cos(u, v) = u v / (|u| |v|)."
COSINE_SIMILARITY = {
    "dot product instead of cosine": wrong("The vectors' lengths are not divided out.", BOTH_LENGTHS,
        similarity=lambda u, v: (u * v).sum(axis=-1)),
    "only one vector of unit length": wrong(
        "The product is divided by the length of the first vector, not of the second.", BOTH_LENGTHS,
        similarity=lambda u, v: (unit(u) * v).sum(axis=-1)),
    "cosine of the wrong axis": wrong(
        "The sums run over the examples (dim=0), which gives a cosine for each component.",
        "Sum over the components: F.cosine_similarity(u, v, dim=-1).",
        similarity=lambda u, v: right.own_cosines(u.T, v.T)),
    "cosines of all pairs": wrong(
        "Every u is compared with the v of all examples, and the matrix is broadcast against the labels.",
        "Take the N cosines of u_i and v_i only.", similarity=right.cosines),
    "labels stretched to -1..1": wrong("The labels are compared as 2 label - 1.", UNSTRETCHED,
        errors=lambda cosine, labels: right.squared_errors(cosine, 2 * labels - 1)),
    "labels divided by 5": wrong("The labels are divided by 5, as if they were still between 0 and 5.",
        UNSTRETCHED, errors=lambda cosine, labels: right.squared_errors(cosine, labels / 5)),
    "1 - cosine compared with the labels": wrong(
        "The labels are compared with the cosine distance, so that equal vectors go with label 0.",
        "Compare them with the cosine: (cos - label)^2.",
        errors=lambda cosine, labels: right.squared_errors(1 - cosine, labels)),
    "mean of 1 - cosine": wrong("The cosine distance is the loss; labels and square are missing.",
        "Take the mean of (cos - label)^2.", errors=lambda cosine, labels: 1 - cosine),
    "cosine moved to 0..1": wrong("The labels are compared with (cos + 1) / 2.",
        "Compare them with the cosine as it is: (cos - label)^2.",
        errors=lambda cosine, labels: right.squared_errors((cosine + 1) / 2, labels)),
    "negative cosines cut off": wrong("Cosines below 0 are raised to 0, where no gradient flows.",
        "Compare the cosine as it is: (cos - label)^2.",
        errors=lambda cosine, labels: right.squared_errors(np.maximum(cosine, 0), labels)),
    "labels not used": wrong("Every pair is pulled together, as if its label were 1.",
        "Compare with the labels: (cos - label)^2.",
        errors=lambda cosine, labels: right.squared_errors(cosine, 1)),
} | SQUARES


def without_diagonal(scores: np.ndarray) -> np.ndarray:
    """Sets the scores on the diagonal to -inf, so that the candidates there do not count."""
    return np.where(np.eye(*scores.shape), -np.inf, scores)


def both_sides(anchors: np.ndarray, candidates: np.ndarray, score: Callable) -> np.ndarray:
    """Returns the scores of all 2 N vectors with one another, the own counterpart on the diagonal."""
    both = np.concatenate([anchors, candidates])
    return np.roll(without_diagonal(score(both, both)), len(anchors), axis=1)


def log_total(scores: np.ndarray) -> np.ndarray:
    return np.log(np.exp(scores).sum(axis=1))


IN_BATCH = {
    "dot product instead of cosine": wrong("The vectors' lengths are not divided out.",
        "Normalize both sides first: F.normalize(vectors, dim=-1).",
        similarity=lambda anchors, candidates: anchors @ candidates.T),
    "only the anchors of unit length": wrong("The candidates are not normalized, so that long ones win.",
        "Normalize both sides: F.normalize(vectors, dim=-1).",
        similarity=lambda anchors, candidates: unit(anchors) @ candidates.T),
    "normalized along the wrong axis": wrong("The lengths are those of the batch's columns (dim=0).",
        "Normalize each vector: F.normalize(vectors, dim=-1).",
        similarity=lambda anchors, candidates: unit(anchors, axis=0) @ unit(candidates, axis=0).T),
    "candidates normalized along the wrong axis": wrong(
        "They were transposed first, so that F.normalize divides by the lengths of the columns.",
        "Normalize before transposing: F.normalize(candidates, dim=-1).T.",
        similarity=lambda anchors, candidates: unit(anchors) @ unit(candidates, axis=0).T),
    "distance instead of cosine": wrong("The scores are negative Euclidean distances.",
        "Take cosines: F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T.",
        similarity=lambda anchors, candidates: -right.lengths(anchors[:, None] - candidates)),
    "no temperature or scale": wrong(
        "The cosines are used as they are, so that the softmax stays nearly flat.",
        "Divide the cosines by the temperature, or multiply them by the scale.",
        scaled=lambda cosine, number: cosine),
    "own positive missing in the denominator": wrong(
        "The diagonal is left out of the sum, as if it held negatives only.",
        "Sum over all candidates, the own positive included.",
        losses=lambda scores: log_total(without_diagonal(scores)) - np.diagonal(scores)),
    "other anchors among the candidates": wrong(
        "The anchors' cosines with one another are in the denominator (as in SimCLR).",
        "Let the candidates be the other side only.",
        scores=lambda anchors, candidates, score:
            np.concatenate([score(anchors, candidates), without_diagonal(score(anchors, anchors))], axis=1)),
    "no softmax over the candidates": wrong(
        "The loss is minus the score of the own positive; nothing pushes others away.",
        "Take the cross-entropy over all candidates: -score_ii + log sum_j e^score_ij.",
        losses=lambda scores: -np.diagonal(scores)),
    "first candidate as everyone's class": wrong("The class of every row is 0.",
        "Row i has class i: torch.arange(N).",
        losses=lambda scores: right.class_losses(scores, np.zeros(len(scores), dtype=int))),
    "softmax before a loss of logits": wrong(
        "The scores go through a softmax, and the cross-entropy takes the softmax of that once more.",
        "Give F.cross_entropy the scores as they are.",
        losses=lambda scores: right.choose_own(right.softmax(scores))),
} | LIKELIHOOD_MEANS
DIRECTIONS = {
    "both directions averaged": wrong("The loss of candidates that look for their anchor is averaged in.",
        "Take the direction from anchor to candidate only: the softmax over the rows of the scores.",
        losses=lambda scores: (right.choose_own(scores) + right.choose_own(scores.T)) / 2),
    "the other direction": wrong("The softmax runs over the anchors: each positive looks for its anchor.",
        "Let each anchor choose among the candidates: the softmax over dim=1 of anchors @ candidates.T.",
        losses=lambda scores: right.choose_own(scores.T)),
    "both sides as one batch": wrong(
        "All 2 N vectors are anchors, and all others their candidates (NT-Xent, as in SimCLR).",
        "Let the N vectors of the first side choose among the N of the second.", scores=both_sides),
}
SIMCSE = {
    **IN_BATCH,
    **DIRECTIONS,
    "last argument ignored": wrong(*IGNORED, scaled=lambda cosine, temperature: cosine / 0.05),
    "multiplied by the temperature": wrong(
        "The cosines are multiplied by the temperature, which makes them smaller still.",
        "Divide by it: cos / temperature.", scaled=lambda cosine, temperature: cosine * temperature),
    "divided by the temperature twice": wrong(
        "The temperature is divided out of both vectors, or of both vectors and scores.",
        "Divide once: cos / temperature.", scaled=lambda cosine, temperature: cosine / temperature**2),
}
SCALE_IGNORED = {"last argument ignored": wrong(*IGNORED, scaled=lambda scores, scale: 20.0 * scores)}
SCALED = {
    "divided by the scale": wrong("The cosines are divided by the scale, as if it were a temperature.",
        "Multiply by it: scale * cos; the scale is 1 / temperature.",
        scaled=lambda cosine, scale: cosine / scale)
} | SCALE_IGNORED


def counted(of_positives: Callable, of_negatives: Callable) -> Callable:
    """Returns the losses where only the candidates count whose (N, N) entry is not 0."""

    def losses(scores: np.ndarray) -> np.ndarray:
        shape = (len(scores), len(scores))
        counts = np.concatenate([of_positives(*shape), of_negatives(*shape)], axis=1)
        return right.choose_own(np.where(counts, scores, -np.inf))

    return losses


def all_rows(*shape: int) -> np.ndarray:
    return np.ones(shape)


MNRL_WITH_NEGATIVES = {
    "only the own hard negative": wrong("The hard negatives of the batch's other rows are left out.",
        "All N hard negatives are candidates of every anchor.", losses=counted(all_rows, np.eye)),
    "hard negatives not used": wrong("The candidates are the positives only.",
        "Append them: candidates = torch.cat([positives, negatives]).",
        joined=lambda positives, negatives: positives),
    "other rows' positives missing": wrong("The candidates are the own positive and the hard negatives.",
        "The positives of all rows are candidates: torch.cat([positives, negatives]).",
        losses=counted(np.eye, all_rows)),
    "no in-batch candidates": wrong(
        "Each anchor chooses between its own positive and its own hard negative only.",
        "The positives and hard negatives of all rows are candidates of every anchor.",
        losses=counted(np.eye, np.eye)),
    "hard negatives in the place of positives": wrong(
        "The hard negatives come first among the candidates, so that row i's class i is its hard negative.",
        "Put the positives first: torch.cat([positives, negatives]).",
        joined=lambda positives, negatives: np.concatenate([negatives, positives])),
    **IN_BATCH,
    **SCALED,
}

WHOLE = "Return log(1 + sum) as it is: it is a loss of the whole batch."
ONE_LOGARITHM = "Sum the powers first and take one logarithm: log(1 + sum)."
ORDERED = "Take only pairs with label_i > label_j."
COSENT = {
    "pairs the wrong way round": wrong(
        "Pairs with label_i < label_j are taken, so that the loss wants the order reversed.",
        "Sum e^(scale (cos_j - cos_i)) over the pairs with label_i > label_j.", pairs=np.less),
    "pairs of equal labels included": wrong(
        "Pairs with label_i = label_j, each example with itself too, are in the sum.", ORDERED,
        pairs=np.greater_equal),
    "all pairs in the sum": wrong("The labels' order is not used; every pair (i, j) is in the sum.", ORDERED,
        pairs=lambda of_i, of_j: np.full(np.broadcast_shapes(of_i.shape, of_j.shape), True)),
    "scale missing": wrong("The differences of cosines are not multiplied by the scale.",
        "Multiply: e^(scale (cos_j - cos_i)).", scaled=lambda excess, scale: excess),
    "divided by the scale": wrong(
        "The differences of cosines are divided by the scale, as if it were a temperature.",
        "Multiply: e^(scale (cos_j - cos_i)); the scale is 1 / temperature.",
        scaled=lambda excess, scale: excess / scale),
    "1 in the logarithm missing": wrong(
        "The logarithm is taken of the sum alone, which falls below 0 without end.",
        "Add 1: log(1 + sum), by a zero among the arguments of logsumexp.",
        gathered=lambda powers, labels: np.log(powers.sum())),
    "mean over pairs in the logarithm": wrong("The powers are averaged over the pairs.",
        "Add them up: log(1 + sum).", gathered=lambda powers, labels: np.log(1 + powers.mean())),
    "divided by the number of examples": wrong("The logarithm is divided by N.", WHOLE,
        gathered=lambda powers, labels: np.log(1 + powers.sum()) / len(labels)),
    "divided by the number of pairs": wrong("The logarithm is divided by the number of pairs.", WHOLE,
        gathered=lambda powers, labels: np.log(1 + powers.sum()) / len(powers)),
    "logarithm of each pair": wrong("log(1 + e^x) of each pair is added up (as RankNet does).", ONE_LOGARITHM,
        gathered=lambda powers, labels: np.log(1 + powers).sum()),
    "mean logarithm of the pairs": wrong("log(1 + e^x) of each pair is averaged (F.softplus, then mean).",
        ONE_LOGARITHM, gathered=lambda powers, labels: np.log(1 + powers).mean()),
    "logarithm to base 2": BASE_TWO._replace(
        steps={"gathered": lambda powers, labels: np.log2(1 + powers.sum())}
    ),
} | SCALE_IGNORED

BOTH = "Take both: (KL(p, q) + KL(q, p)) / 2."
LOG_FIRST = "Its first argument is log_softmax(logits, dim=-1)."
SYMMETRIC_KL = {
    "KL(p, q) only": wrong("The divergence is taken in one direction only.", BOTH,
        both=lambda forward, backward: forward),
    "KL(q, p) only": wrong("One direction only is taken; F.kl_div(log p, q) is KL(q, p), not KL(p, q).", BOTH,
        both=lambda forward, backward: backward),
    "half missing": wrong("Both divergences are added and not halved, as SMART does.",
        "Take (KL(p, q) + KL(q, p)) / 2, as R-Drop does.", both=np.add),
    "mean over classes too": wrong(
        "The terms are averaged over examples and classes (F.kl_div with reduction='mean').",
        "Sum over the classes, and take the mean over the examples: reduction='batchmean'.",
        divergence=lambda p, q: right.kl(right.log_softmax(p), right.log_softmax(q)) / p.shape[1]),
    "cross-entropy instead of divergence": wrong(
        "The entropy of the first distribution is not subtracted, so equal ones do not give 0.",
        "KL(p, q) = sum p (log p - log q).",
        divergence=lambda p, q: -(right.softmax(p) * right.log_softmax(q)).sum(axis=1)),
    "logits taken for log-probabilities": wrong("F.kl_div was given logits as its first argument.", LOG_FIRST,
        divergence=lambda p, q: right.kl(right.log_softmax(p), q)),
    "probabilities taken for log-probabilities": wrong(
        "F.kl_div was given softmax(logits) as its first argument.", LOG_FIRST,
        divergence=lambda p, q: right.kl(right.log_softmax(p), right.softmax(q))),
    "divergence from the mean distribution": wrong(
        "Both are compared with (p + q) / 2, which is the Jensen-Shannon divergence.",
        "Compare them with one another: (KL(p, q) + KL(q, p)) / 2.",
        divergence=lambda p, q:
            right.kl(right.log_softmax(p), np.log((right.softmax(p) + right.softmax(q)) / 2))),
    "softmax over the examples": CROSS_ENTROPY["softmax over the examples"]._replace(
        steps={
            "divergence": lambda p, q: right.kl(right.log_softmax(p, axis=0), right.log_softmax(q, axis=0))
        }
    ),
} | LOGARITHM_MEANS
# fmt: on

MISTAKES = {
    right.cross_entropy: CROSS_ENTROPY,
    right.binary_cross_entropy: BINARY_CROSS_ENTROPY,
    right.focal: FOCAL,
    right.mean_squared_error: MEAN_SQUARED_ERROR,
    right.cosine_similarity_loss: COSINE_SIMILARITY,
    right.simcse: SIMCSE,
    right.mnrl: {**IN_BATCH, **DIRECTIONS, **SCALED},
    right.mnrl_with_negatives: MNRL_WITH_NEGATIVES,
    right.cosent: COSENT,
    right.symmetric_kl: SYMMETRIC_KL,
}

CUT = "cut off from the gradient"


def gradient_mistakes(
    function: str, expected: Callable[[], Outputs], inputs: Mapping[str, np.ndarray], numbers: list[float]
) -> tuple[Mistake, ...]:
    """Returns mistakes that only gradients show; `expected` gives the right ones, "gradient of INPUT"."""
    names = [name for name in inputs if name != "labels"]
    cuts = [[name] for name in names if len(names) > 1] + [names[1:]] * (len(names) > 2)
    # fmt: off
    rows = [
        ("no gradient flows",
         "The loss left torch on its way, by item(), detach(), numpy() or torch.no_grad().",
         "Compute the loss with torch operations from the inputs to the scalar.",
         partial(_without, expected, names)),
        *((f"{subject} {CUT}",
           f"The gradient ends at {subject}, which was detached or computed under torch.no_grad().",
           "Let the gradient flow into all vectors or logits: both sides learn.",
           partial(_without, expected, cut)) for cut in cuts for subject in [" and ".join(cut)]),
    ]
    if function == "focal":
        rows.append((f"factor {CUT}", "(1 - p)^gamma was detached, so that it counts as a constant.",
                     "Let the gradient flow through the factor too: it is part of the loss.",
                     partial(_of_constant_factor, **inputs, gamma=numbers[0])))
    if function == "symmetric_kl":
        rows.append((f"targets {CUT}", "The second argument of each F.kl_div, the target, was detached.",
                     "Let the gradient flow through both arguments of both divergences.",
                     partial(_of_constant_targets, **inputs)))
    # fmt: on
    return tuple(Mistake(f"{title} ({function})", *row) for title, *row in rows)


def _without(expected: Callable[[], Outputs], names: list[str]) -> Outputs:
    cut = {f"gradient of {name}" for name in names}
    return {key: value * (key not in cut) for key, value in expected().items()}


def _of_constant_factor(logits: np.ndarray, labels: np.ndarray, gamma: float) -> Outputs:
    p, one_hot = right.softmax(logits.astype(np.float64)), np.eye(logits.shape[1])[labels]
    factor = (1 - right.of_labels(p, labels)[:, None]) ** gamma
    return {"gradient of logits": factor * (p - one_hot) / len(p)}


def _of_constant_targets(p_logits: np.ndarray, q_logits: np.ndarray) -> Outputs:
    """Returns the gradients of the cross-entropy with the other distribution as its target."""
    p, q = right.softmax(p_logits.astype(np.float64)), right.softmax(q_logits.astype(np.float64))
    gradient = (p - q) / 2 / len(p)
    return {"gradient of p_logits": gradient, "gradient of q_logits": -gradient}


TINY = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16)  # what people add or cut off at
TORCH_CUT = -100.0  # F.binary_cross_entropy cuts logarithms off here


def large_logits_mistakes(
    function: str, inputs: Callable[[], Mapping[str, np.ndarray]]
) -> tuple[Mistake, ...]:
    """Returns mistakes of probabilities rounded before their logarithm; `inputs` gives logits, labels."""
    # fmt: off
    kept_finite, remedy = {
        "cross_entropy": (_of_classes,
            "Use F.cross_entropy or log_softmax on logits; they subtract the largest one first."),
        "binary_cross_entropy": (_of_two,
            "Use F.binary_cross_entropy_with_logits: max(x, 0) - x y + log(1 + e^-|x|)."),
    }[function]
    # fmt: on

    def overflows(given: Outputs, _: Outputs) -> bool:
        return given["loss"].shape == () and not np.isfinite(given["loss"])

    def is_kept_finite(given: Outputs, _: Outputs) -> bool:
        losses = (loss for dtype in (np.float32, np.float64) for loss in kept_finite(**inputs(), dtype=dtype))
        return any(distance(given["loss"], np.asarray(loss, np.float64)) <= TOLERANCE for loss in losses)

    return (
        Mistake(
            f"power that overflows or probability that rounds to 0 or 1 ({function})",
            "e^logit becomes infinite, or log is taken of a probability that was rounded to 0.",
            remedy,
            recognise=overflows,
        ),
        Mistake(
            f"probability kept away from 0 ({function})",
            "A small number is added to the probability, or it or its logarithm is cut off.",
            remedy,
            recognise=is_kept_finite,
        ),
    )


def _of_classes(logits: np.ndarray, labels: np.ndarray, dtype: type) -> Iterator[np.ndarray]:
    p = right.of_labels(right.softmax(logits.astype(dtype)), labels)
    for tiny in map(dtype, TINY):
        yield -np.log(p + tiny).mean()
        yield -np.log(np.maximum(p, tiny)).mean()


def _of_two(logits: np.ndarray, labels: np.ndarray, dtype: type) -> Iterator[np.ndarray]:
    with np.errstate(over="ignore", divide="ignore"):
        p = sigmoid(logits.astype(dtype))
        of_label = np.where(labels == 1, p, 1 - p)
        probabilities = [of_label]
        for tiny in map(dtype, TINY):
            cut = np.clip(p, tiny, 1 - tiny)
            probabilities += [of_label + tiny, np.where(labels == 1, cut, 1 - cut)]
        for kept in probabilities:
            yield -np.maximum(np.log(kept), TORCH_CUT).mean()
