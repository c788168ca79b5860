"""Losses in fp64, from their papers' formulas, with gradients. N examples, C classes, vectors (D,).

Gradients are complex-step derivatives (Squire and Trapp 1998): f'(x) is the imaginary part of f(x + ih) / h,
exact to rounding, as nothing is subtracted. So the formulas keep to functions that take complex numbers.
"""

from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]
STEP = 1e-30
EXAMPLES, CLASSES, SIZE = (
    6,
    4,
    6,
)  # as many vectors as components: a cosine of the wrong axis has a shape that fits
# The number that a loss takes: the usual one, and another that shows whether it is heeded.
NUMBERS = {
    "focal": [2.0, 0.5],
    "simcse": [0.05, 0.2],
    "mnrl": [20.0, 5.0],
    "mnrl_with_negatives": [20.0, 5.0],
    "cosent": [20.0, 5.0],
}


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.real.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def of_labels(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, C), (N,) -> (N,)."""
    return values[np.arange(len(labels)), labels]


def cosines(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """All pairs: (N, D), (M, D) -> (N, M)."""
    lengths_u = np.sqrt((u * u).sum(axis=-1))
    lengths_v = np.sqrt((v * v).sum(axis=-1))
    return (u @ v.T) / lengths_u[:, None] / lengths_v


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -of_labels(log_softmax(logits), labels).mean()


def binary_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log sigmoid(x) = log(1 + e^-x) for label 1, -log(1 - sigmoid(x)) = log(1 + e^x) for label 0."""
    of_one, of_zero = np.log(1 + np.exp(-logits)), np.log(1 + np.exp(logits))
    return (labels * of_one + (1 - labels) * of_zero).mean()


def focal(logits: np.ndarray, labels: np.ndarray, gamma: float) -> np.ndarray:
    """-(1 - p)^gamma log p (Lin et al. 2017, equation 4)."""
    log_p = of_labels(log_softmax(logits), labels)
    return -((1 - np.exp(log_p)) ** gamma * log_p).mean()


def mean_squared_error(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return ((predictions - labels) ** 2).mean()


def cosine_similarity_loss(u: np.ndarray, v: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Reimers and Gurevych 2019, section 3: the regression objective."""
    return ((np.diagonal(cosines(u, v)) - labels) ** 2).mean()


def simcse(first: np.ndarray, second: np.ndarray, temperature: float) -> np.ndarray:
    """-log(e^(sim(i, i) / t) / sum over j of e^(sim(i, j) / t)) (Gao et al. 2021, equation 1)."""
    return cross_entropy(cosines(first, second) / temperature, np.arange(len(first)))


def mnrl(anchors: np.ndarray, positives: np.ndarray, scale: float) -> np.ndarray:
    """Henderson et al. 2017, section 4.4, on scaled cosines."""
    return cross_entropy(scale * cosines(anchors, positives), np.arange(len(anchors)))


def mnrl_with_negatives(
    anchors: np.ndarray, positives: np.ndarray, negatives: np.ndarray, scale: float
) -> np.ndarray:
    """The hard negatives of all rows are further candidates (Gao et al. 2021, equation 5)."""
    candidates = np.concatenate([positives, negatives])
    return cross_entropy(scale * cosines(anchors, candidates), np.arange(len(anchors)))


def cosent(cosines: np.ndarray, labels: np.ndarray, scale: float) -> np.ndarray:
    """log(1 + sum over label_i > label_j of e^(scale (cos_j - cos_i))) (Su 2022)."""
    total = sum(
        np.exp(scale * (cosines[j] - cosines[i]))
        for i in range(len(labels))
        for j in range(len(labels))
        if labels[i] > labels[j]
    )
    return np.log(1 + total)


def symmetric_kl(p_logits: np.ndarray, q_logits: np.ndarray) -> np.ndarray:
    """(KL(p, q) + KL(q, p)) / 2 (Liang et al. 2021, equation 2)."""
    log_p, log_q = log_softmax(p_logits), log_softmax(q_logits)
    forward = (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    backward = (np.exp(log_q) * (log_q - log_p)).sum(axis=-1)
    return ((forward + backward) / 2).mean()


def gradient(function: Callable[..., np.ndarray], inputs: Arrays, name: str, *numbers: float) -> np.ndarray:
    """Of `function(*inputs, *numbers)` with respect to the input of that name."""
    found = np.empty(inputs[name].shape)
    for index in np.ndindex(found.shape):
        moved = inputs[name].astype(np.complex128)
        moved[index] += STEP * 1j
        found[index] = function(*(inputs | {name: moved}).values(), *numbers).imag / STEP
    return found


def inputs(random: np.random.Generator) -> dict[str, Arrays]:
    """The inputs of each loss, in the order of its arguments, by its name; all hold fp32 values."""

    def normal(*shape: int, size: float = 1.0) -> np.ndarray:
        return (size * random.normal(size=shape)).astype(np.float32).astype(np.float64)

    def near(vectors: np.ndarray) -> np.ndarray:
        """Half like the given vectors, and of other lengths."""
        lengths = random.uniform(0.6, 1.8, (len(vectors), 1))
        return ((vectors + normal(*vectors.shape)) * lengths).astype(np.float32).astype(np.float64)

    classes = np.array([2, 0, 3, 1, 0, 2])
    first, anchors, u, p_logits = (normal(EXAMPLES, SIZE) for _ in range(4))
    v = near(u)
    v[1], v[4] = -v[1], -v[4]
    twin, positives = near(first), near(anchors)
    return {
        "cross_entropy": {"logits": normal(EXAMPLES, CLASSES, size=1.5), "labels": classes},
        "binary_cross_entropy": {
            "logits": normal(EXAMPLES, size=1.5),
            "labels": np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
        },
        "focal": {"logits": normal(EXAMPLES, CLASSES, size=1.5), "labels": classes},
        "mean_squared_error": {
            "predictions": normal(EXAMPLES, size=2.0),
            "labels": np.array([0.5, 1.0, 2.25, -1.0, 1.5, 2.0]),
        },
        "cosine_similarity_loss": {
            "u": u,
            "v": v,
            "labels": np.array([0.75, 0.25, 1.0, 0.5, 0.0, 0.125]),
        },
        "simcse": {"first": first, "second": twin},
        "mnrl": {"anchors": anchors, "positives": positives},
        "mnrl_with_negatives": {"anchors": anchors, "positives": positives, "negatives": near(anchors)},
        "cosent": {
            "cosines": np.array([0.25, 0.5, 0.375, 0.8125, 0.125, 0.6875]),
            "labels": np.array([0.0, 2.0, 2.0, 4.0, 1.0, 3.0]),
        },
        "symmetric_kl": {
            "p_logits": p_logits[:, :CLASSES],
            "q_logits": normal(EXAMPLES, CLASSES),
        },
    }


LARGE = {
    "cross_entropy": {
        "logits": np.array([[200.0, -30.0, 0.0], [0.0, 150.0, 40.0], [-250.0, 10.0, 60.0]]),
        "labels": np.array([1, 1, 0]),
    },
    "binary_cross_entropy": {
        "logits": np.array([60.0, -40.0, 50.0, -120.0]),
        "labels": np.array([0.0, 0.0, 1.0, 1.0]),
    },
}
LOSSES = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "focal": focal,
    "mean_squared_error": mean_squared_error,
    "cosine_similarity_loss": cosine_similarity_loss,
    "simcse": simcse,
    "mnrl": mnrl,
    "mnrl_with_negatives": mnrl_with_negatives,
    "cosent": cosent,
    "symmetric_kl": symmetric_kl,
}


def fixture() -> tuple[Arrays, dict]:
    """NAME.ARGUMENT, NAME.loss (one, or one for each of NUMBERS), NAME.gradient.ARGUMENT (of the first)."""
    tensors: Arrays = {}
    for name, arguments in inputs(np.random.default_rng(20170807)).items():
        function = LOSSES[name]
        calls = [[number] for number in NUMBERS.get(name, [])] or [[]]
        tensors |= {f"{name}.{argument}": stored(value) for argument, value in arguments.items()}
        losses = [function(*arguments.values(), *numbers) for numbers in calls]
        tensors[f"{name}.loss"] = np.array(losses)
        for argument in arguments:
            if argument != "labels":
                tensors[f"{name}.gradient.{argument}"] = gradient(function, arguments, argument, *calls[0])
    for name, arguments in LARGE.items():
        tensors |= {f"large_{name}.{argument}": stored(value) for argument, value in arguments.items()}
        tensors[f"large_{name}.loss"] = np.array([LOSSES[name](*arguments.values())])
    return tensors, {"numbers": NUMBERS}


def stored(values: np.ndarray) -> np.ndarray:
    """Whole numbers as they are, others in fp32."""
    return values if np.issubdtype(values.dtype, np.integer) else values.astype(np.float32)
