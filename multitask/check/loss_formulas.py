"""The losses' formulas in fp64 numpy: they make the fixture, and with one step replaced a known mistake.

Each formula takes its steps as keyword arguments. N examples, C classes, vectors (D,). The fixture's
gradients are complex-step derivatives (Squire and Trapp 1998): f'(x) is the imaginary part of f(x + ih) / h,
exact to rounding, as nothing is subtracted; the right steps keep to functions that take complex numbers.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Arrays = dict[str, Array]
Step = Callable[..., Array]
STEP = 1e-30
# As many vectors as components, so that a cosine along the wrong axis has a shape that fits.
EXAMPLES, CLASSES, SIZE = 6, 4, 6
# The number that a loss takes: the usual one, and another that shows whether it is heeded.
NUMBERS = {
    "focal": [2.0, 0.5],
    "simcse": [0.05, 0.2],
    "mnrl": [20.0, 5.0],
    "mnrl_with_negatives": [20.0, 5.0],
    "cosent": [20.0, 5.0],
}


def softmax(x: Array, axis: int = -1) -> Array:
    return np.exp(log_softmax(x, axis))


def log_softmax(x: Array, axis: int = -1) -> Array:
    shifted = x - x.real.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def of_labels(values: Array, labels: Array) -> Array:
    """Picks each row's value at its label, (N, C), (N,) -> (N,)."""
    return values[np.arange(len(labels)), labels]


def class_losses(logits: Array, labels: Array) -> Array:
    return -of_labels(log_softmax(logits), labels)


def binary_losses(logits: Array, labels: Array) -> Array:
    """-log sigmoid(x) = log(1 + e^-x) for label 1, -log(1 - sigmoid(x)) = log(1 + e^x) for label 0."""
    return labels * np.log(1 + np.exp(-logits)) + (1 - labels) * np.log(1 + np.exp(logits))


def focal_losses(losses: Array, gamma: float) -> Array:
    """(1 - p)^gamma times -log p, the cross-entropy of an example (Lin et al. 2017, equation 4)."""
    return (1 - np.exp(-losses)) ** gamma * losses


def squared_errors(predictions: Array, labels: Array) -> Array:
    return (predictions - labels) ** 2


def cosines(u: Array, v: Array) -> Array:
    """Returns the cosines of all pairs, (N, D), (M, D) -> (N, M)."""
    return (u @ v.T) / lengths(u)[:, None] / lengths(v)


def lengths(vectors: Array, axis: int = -1, keepdims: bool = False) -> Array:
    return np.sqrt((vectors * vectors).sum(axis=axis, keepdims=keepdims))


def own_cosines(u: Array, v: Array) -> Array:
    """Returns the cosine of each u with its v, (N, D), (N, D) -> (N,)."""
    return np.diagonal(cosines(u, v))


def score_candidates(anchors: Array, candidates: Array, score: Step) -> Array:
    return score(anchors, candidates)


def choose_own(scores: Array) -> Array:
    """Returns the cross-entropy of each row of scores (N, M); row i's class is i."""
    return class_losses(scores, np.arange(len(scores)))


def divergence(p_logits: Array, q_logits: Array) -> Array:
    return kl(log_softmax(p_logits), log_softmax(q_logits))


def kl(log_p: Array, log_q: Array) -> Array:
    """Returns KL(p, q) of each row, (N, C), (N, C) -> (N,)."""
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def cross_entropy(
    logits: Array, labels: Array, *, losses: Step = class_losses, mean: Step = np.mean
) -> Array:
    return mean(losses(logits, labels))


def binary_cross_entropy(
    logits: Array, labels: Array, *, losses: Step = binary_losses, mean: Step = np.mean
) -> Array:
    return mean(losses(logits, labels))


def focal(
    logits: Array,
    labels: Array,
    gamma: float,
    *,
    losses: Step = class_losses,
    weighted: Step = focal_losses,
    mean: Step = np.mean,
) -> Array:
    return mean(weighted(losses(logits, labels), gamma))


def mean_squared_error(
    predictions: Array, labels: Array, *, errors: Step = squared_errors, mean: Step = np.mean
) -> Array:
    return mean(errors(predictions, labels))


def cosine_similarity_loss(
    u: Array,
    v: Array,
    labels: Array,
    *,
    similarity: Step = own_cosines,
    errors: Step = squared_errors,
    mean: Step = np.mean,
) -> Array:
    """Reimers and Gurevych 2019, section 3: the regression objective."""
    return mean(errors(similarity(u, v), labels))


def in_batch(
    anchors: Array,
    candidates: Array,
    number: float,
    *,
    scaled: Step,
    similarity: Step = cosines,
    scores: Step = score_candidates,
    losses: Step = choose_own,
    mean: Step = np.mean,
) -> Array:
    """Cross-entropy of the scaled cosines of N anchors with M candidates; anchor i's own is candidate i."""
    return mean(losses(scores(anchors, candidates, lambda a, b: scaled(similarity(a, b), number))))


def simcse(
    first: Array, second: Array, temperature: float, *, scaled: Step = np.divide, **steps: Step
) -> Array:
    """-log(e^(sim(i, i) / t) / sum over j of e^(sim(i, j) / t)) (Gao et al. 2021, equation 1)."""
    return in_batch(first, second, temperature, scaled=scaled, **steps)


def mnrl(
    anchors: Array, positives: Array, scale: float, *, scaled: Step = np.multiply, **steps: Step
) -> Array:
    """Henderson et al. 2017, section 4.4, on scaled cosines."""
    return in_batch(anchors, positives, scale, scaled=scaled, **steps)


def mnrl_with_negatives(
    anchors: Array,
    positives: Array,
    negatives: Array,
    scale: float,
    *,
    joined: Step = lambda positives, negatives: np.concatenate([positives, negatives]),
    **steps: Step,
) -> Array:
    """The hard negatives of all rows are further candidates (Gao et al. 2021, equation 5)."""
    return mnrl(anchors, joined(positives, negatives), scale, **steps)


def cosent(
    cosines: Array,
    labels: Array,
    scale: float,
    *,
    pairs: Step = np.greater,
    scaled: Step = np.multiply,
    gathered: Step = lambda powers, labels: np.log(1 + sum(powers)),
) -> Array:
    """log(1 + sum over label_i > label_j of e^(scale (cos_j - cos_i))) (Su 2022)."""
    excess = (cosines[None, :] - cosines[:, None])[pairs(labels[:, None], labels[None, :])]
    return gathered(np.exp(scaled(excess, scale)), labels)


def symmetric_kl(
    p_logits: Array,
    q_logits: Array,
    *,
    divergence: Step = divergence,
    both: Step = lambda forward, backward: (forward + backward) / 2,
    mean: Step = np.mean,
) -> Array:
    """(KL(p, q) + KL(q, p)) / 2 (Liang et al. 2021, equation 2)."""
    return mean(both(divergence(p_logits, q_logits), divergence(q_logits, p_logits)))


def gradient(function: Callable[..., Array], inputs: Arrays, name: str, *numbers: float) -> Array:
    """Of `function(*inputs, *numbers)` with respect to the input of that name."""
    found = np.empty(inputs[name].shape)
    for index in np.ndindex(found.shape):
        moved = inputs[name].astype(np.complex128)
        moved[index] += STEP * 1j
        found[index] = function(*(inputs | {name: moved}).values(), *numbers).imag / STEP
    return found


def inputs(random: np.random.Generator) -> dict[Step, Arrays]:
    """Returns the inputs of each loss in the order of its arguments, fp32 values in fp64."""

    def normal(*shape: int, size: float = 1.0) -> Array:
        return (size * random.normal(size=shape)).astype(np.float32).astype(np.float64)

    def near(vectors: Array) -> Array:
        """Half like the given vectors, and of other lengths."""
        lengths = random.uniform(0.6, 1.8, (len(vectors), 1))
        return ((vectors + normal(*vectors.shape)) * lengths).astype(np.float32).astype(np.float64)

    classes = np.array([2, 0, 3, 1, 0, 2])
    first, anchors, u, p_logits = (normal(EXAMPLES, SIZE) for _ in range(4))
    v = near(u)
    v[1], v[4] = -v[1], -v[4]
    twin, positives = near(first), near(anchors)
    return {
        cross_entropy: {"logits": normal(EXAMPLES, CLASSES, size=1.5), "labels": classes},
        binary_cross_entropy: {
            "logits": normal(EXAMPLES, size=1.5),
            "labels": np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
        },
        focal: {"logits": normal(EXAMPLES, CLASSES, size=1.5), "labels": classes},
        mean_squared_error: {
            "predictions": normal(EXAMPLES, size=2.0),
            "labels": np.array([0.5, 1.0, 2.25, -1.0, 1.5, 2.0]),
        },
        cosine_similarity_loss: {"u": u, "v": v, "labels": np.array([0.75, 0.25, 1.0, 0.5, 0.0, 0.125])},
        simcse: {"first": first, "second": twin},
        mnrl: {"anchors": anchors, "positives": positives},
        mnrl_with_negatives: {"anchors": anchors, "positives": positives, "negatives": near(anchors)},
        cosent: {
            "cosines": np.array([0.25, 0.5, 0.375, 0.8125, 0.125, 0.6875]),
            "labels": np.array([0.0, 2.0, 2.0, 4.0, 1.0, 3.0]),
        },
        symmetric_kl: {"p_logits": p_logits[:, :CLASSES], "q_logits": normal(EXAMPLES, CLASSES)},
    }


LARGE = {
    cross_entropy: {
        "logits": np.array([[200.0, -30.0, 0.0], [0.0, 150.0, 40.0], [-250.0, 10.0, 60.0]]),
        "labels": np.array([1, 1, 0]),
    },
    binary_cross_entropy: {
        "logits": np.array([60.0, -40.0, 50.0, -120.0]),
        "labels": np.array([0.0, 0.0, 1.0, 1.0]),
    },
}


def fixture() -> tuple[Arrays, dict]:
    """NAME.ARGUMENT, NAME.loss (one, or one for each of NUMBERS), NAME.gradient.ARGUMENT (of the first)."""
    tensors: Arrays = {}
    for function, arguments in inputs(np.random.default_rng(20170807)).items():
        name = function.__name__
        calls = [[number] for number in NUMBERS.get(name, [])] or [[]]
        tensors |= {f"{name}.{argument}": stored(value) for argument, value in arguments.items()}
        tensors[f"{name}.loss"] = np.array([function(*arguments.values(), *numbers) for numbers in calls])
        for argument in arguments:
            if argument != "labels":
                tensors[f"{name}.gradient.{argument}"] = gradient(function, arguments, argument, *calls[0])
    for function, arguments in LARGE.items():
        name = f"large_{function.__name__}"
        tensors |= {f"{name}.{argument}": stored(value) for argument, value in arguments.items()}
        tensors[f"{name}.loss"] = np.array([function(*arguments.values())])
    return tensors, {"numbers": NUMBERS}


def stored(values: Array) -> Array:
    """Whole numbers as they are, others in fp32."""
    return values if np.issubdtype(values.dtype, np.integer) else values.astype(np.float32)
