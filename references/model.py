"""BERT in fp64: embeddings, attention, layer norm, GELU, feed-forward, pooler, and all weights' gradients.

From the formulas of Vaswani et al. 2017 (section 3), Ba et al. 2016 (equation 4), Hendrycks and Gimpel 2016
and Devlin et al. 2018 (section 3). B sentences, S columns, D hidden size, H heads, K = D / H. Weights have
the names that transformers gives them, and a linear layer is `x W^T + b`.
"""

import math

import numpy as np

CONFIG = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-3,  # large, so that the place where it stands shows
    "hidden_act": "gelu",
    "initializer_range": 0.02,
    "pad_token_id": 0,
}
MASKED = -10000.0  # added to the scores of padding columns
INPUT_IDS = np.array(
    [
        [2, 9, 28, 41, 3, 0, 0],
        [2, 17, 31, 5, 44, 31, 3],
        [2, 36, 3, 0, 0, 0, 0],
    ]
)
TOKEN_TYPE_IDS = np.array(
    [
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 1, 1],
        [0, 1, 1, 0, 0, 0, 0],
    ]
)
# Word and position whose embeddings nearly cancel: their sum has a variance like epsilon.
NEARLY_CONSTANT = ((44, 4), (28, 2), (36, 1))

Arrays = dict[str, np.ndarray]
erf = np.vectorize(math.erf, otypes=[np.float64])


def linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x), Phi the normal distribution function (1 + erf(x / sqrt 2)) / 2."""
    return x * (1 + erf(x / math.sqrt(2))) / 2


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def standardize(x: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """(x - mean) / sqrt(variance + epsilon) over the last axis, and that root."""
    centered = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + epsilon)
    return centered / deviation, deviation


def layer_norm(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    standard, _ = standardize(x, CONFIG["layer_norm_eps"])
    return standard * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def split_heads(x: np.ndarray) -> np.ndarray:
    """(B, S, D) -> (B, H, S, K)."""
    heads = CONFIG["num_attention_heads"]
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def merge_heads(x: np.ndarray) -> np.ndarray:
    """(B, H, S, K) -> (B, S, D)."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def embed(weights: Arrays, input_ids: np.ndarray, token_type_ids: np.ndarray) -> Arrays:
    """The sum of the three embeddings and its layer norm, both (B, S, D)."""
    total = (
        weights["embeddings.word_embeddings.weight"][input_ids]
        + weights["embeddings.position_embeddings.weight"][: input_ids.shape[1]]
        + weights["embeddings.token_type_embeddings.weight"][token_type_ids]
    )
    return {
        "embeddings.sum": total,
        "embeddings.output": layer_norm(total, weights, "embeddings.LayerNorm"),
    }


def layer(weights: Arrays, name: str, hidden: np.ndarray, attention_mask: np.ndarray) -> Arrays:
    """All that one layer computes; hidden (B, S, D), attention_mask (B, S) of 0 and 1."""
    own = {"input": hidden}
    for part in ("query", "key", "value"):
        own[part] = split_heads(linear(hidden, weights, f"{name}.attention.self.{part}"))
    size = own["query"].shape[-1]
    own["scores"] = own["query"] @ own["key"].transpose(0, 1, 3, 2) / math.sqrt(size)
    own["masked"] = own["scores"] + MASKED * (1 - attention_mask[:, None, None, :])
    own["probabilities"] = softmax(own["masked"])
    own["context"] = own["probabilities"] @ own["value"]
    own["merged"] = merge_heads(own["context"])
    own["attention_output"] = linear(own["merged"], weights, f"{name}.attention.output.dense")
    own["attention_norm"] = layer_norm(
        hidden + own["attention_output"], weights, f"{name}.attention.output.LayerNorm"
    )
    own["intermediate"] = gelu(linear(own["attention_norm"], weights, f"{name}.intermediate.dense"))
    own["feed_forward"] = linear(own["intermediate"], weights, f"{name}.output.dense")
    own["output"] = layer_norm(
        own["attention_norm"] + own["feed_forward"], weights, f"{name}.output.LayerNorm"
    )
    return own


def run(
    weights: Arrays, input_ids: np.ndarray, attention_mask: np.ndarray, token_type_ids: np.ndarray
) -> Arrays:
    """The whole model; all three inputs (B, S)."""
    found = embed(weights, input_ids, token_type_ids)
    hidden = found["embeddings.output"]
    for number in range(CONFIG["num_hidden_layers"]):
        values = layer(weights, f"encoder.layer.{number}", hidden, attention_mask)
        found |= {f"layer.{number}.{key}": value for key, value in values.items()}
        hidden = values["output"]
    found["last_hidden_state"] = hidden
    found["pooler_output"] = np.tanh(linear(hidden[:, 0], weights, "pooler.dense"))
    return found


class Backward:
    """Gradients of the weights, from the output back; each method hands on the gradient of its input."""

    def __init__(self, weights: Arrays, found: Arrays):
        self.weights = weights
        self.found = found
        self.gradients: Arrays = {}

    def linear(self, name: str, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        flat_x, flat = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        self.gradients[f"{name}.weight"] = flat.T @ flat_x
        self.gradients[f"{name}.bias"] = flat.sum(axis=0)
        return gradient @ self.weights[f"{name}.weight"]

    def layer_norm(self, name: str, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        standard, deviation = standardize(x, CONFIG["layer_norm_eps"])
        self.gradients[f"{name}.weight"] = (gradient * standard).sum(axis=(0, 1))
        self.gradients[f"{name}.bias"] = gradient.sum(axis=(0, 1))
        inner = gradient * self.weights[f"{name}.weight"]
        along = (inner * standard).mean(axis=-1, keepdims=True) * standard
        return (inner - inner.mean(axis=-1, keepdims=True) - along) / deviation

    def layer(self, number: int, gradient: np.ndarray) -> np.ndarray:
        name, own = f"encoder.layer.{number}", f"layer.{number}"
        after = self.found[f"{own}.attention_norm"]
        gradient = self.layer_norm(
            f"{name}.output.LayerNorm", after + self.found[f"{own}.feed_forward"], gradient
        )
        gradient = gradient + self.feed_forward(name, own, after, gradient)
        hidden = self.found[f"{own}.input"]
        gradient = self.layer_norm(
            f"{name}.attention.output.LayerNorm", hidden + self.found[f"{own}.attention_output"], gradient
        )
        return gradient + self.attention(name, own, hidden, gradient)

    def feed_forward(self, name: str, own: str, after: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        gradient = self.linear(f"{name}.output.dense", self.found[f"{own}.intermediate"], gradient)
        x = linear(after, self.weights, f"{name}.intermediate.dense")
        density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        slope = (1 + erf(x / math.sqrt(2))) / 2 + x * density
        return self.linear(f"{name}.intermediate.dense", after, gradient * slope)

    def attention(self, name: str, own: str, hidden: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        query, key, value = (self.found[f"{own}.{part}"] for part in ("query", "key", "value"))
        probabilities = self.found[f"{own}.probabilities"]
        gradient = self.linear(f"{name}.attention.output.dense", self.found[f"{own}.merged"], gradient)
        of_context = split_heads(gradient)
        of_probabilities = of_context @ value.transpose(0, 1, 3, 2)
        mean = (of_probabilities * probabilities).sum(axis=-1, keepdims=True)
        of_scores = probabilities * (of_probabilities - mean) / math.sqrt(query.shape[-1])
        of_heads = {
            "query": of_scores @ key,
            "key": of_scores.transpose(0, 1, 3, 2) @ query,
            "value": probabilities.transpose(0, 1, 3, 2) @ of_context,
        }
        return sum(
            self.linear(f"{name}.attention.self.{part}", hidden, merge_heads(of_head))
            for part, of_head in of_heads.items()
        )

    def embeddings(self, input_ids: np.ndarray, token_type_ids: np.ndarray, gradient: np.ndarray) -> None:
        gradient = self.layer_norm("embeddings.LayerNorm", self.found["embeddings.sum"], gradient)
        positions = np.broadcast_to(np.arange(input_ids.shape[1]), input_ids.shape)
        tables = (("word", input_ids), ("position", positions), ("token_type", token_type_ids))
        for table, rows in tables:
            name = f"embeddings.{table}_embeddings.weight"
            self.gradients[name] = np.zeros_like(self.weights[name])
            np.add.at(self.gradients[name], rows, gradient)


def gradients_of(
    weights: Arrays,
    input_ids: np.ndarray,
    token_type_ids: np.ndarray,
    found: Arrays,
    of_hidden: np.ndarray,
    of_pooler: np.ndarray,
) -> Arrays:
    """Of sum(last_hidden_state * of_hidden) + sum(pooler_output * of_pooler), for every weight.

    `found` is what `run` gave for these inputs.
    """
    backward = Backward(weights, found)
    slope = 1 - found["pooler_output"] ** 2
    gradient = of_hidden.copy()
    gradient[:, 0] += backward.linear("pooler.dense", found["last_hidden_state"][:, 0], of_pooler * slope)
    for number in reversed(range(CONFIG["num_hidden_layers"])):
        gradient = backward.layer(number, gradient)
    backward.embeddings(input_ids, token_type_ids, gradient)
    return backward.gradients


def random_weights(random: np.random.Generator) -> Arrays:
    """Weights that keep activations of order 1 and give scores of deviation 2; fp32 values in fp64."""
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    linears = {"pooler.dense": (hidden, hidden, 0.2)}
    norms = ["embeddings.LayerNorm"]
    for number in range(CONFIG["num_hidden_layers"]):
        name = f"encoder.layer.{number}"
        linears |= {f"{name}.attention.self.{part}": (hidden, hidden, 0.32) for part in ("query", "key")}
        linears[f"{name}.attention.self.value"] = (hidden, hidden, 0.25)
        linears[f"{name}.attention.output.dense"] = (hidden, hidden, 0.25)
        linears[f"{name}.intermediate.dense"] = (inner, hidden, 0.35)
        linears[f"{name}.output.dense"] = (hidden, inner, 0.2)
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]

    weights = {
        f"embeddings.{table}_embeddings.weight": random.normal(size=(CONFIG[rows], hidden)) * size
        for table, rows, size in (
            ("word", "vocab_size", 1.0),
            ("position", "max_position_embeddings", 0.7),
            ("token_type", "type_vocab_size", 0.5),
        )
    }
    for name, (rows, columns, size) in linears.items():
        weights[f"{name}.weight"] = random.normal(size=(rows, columns)) * size
        weights[f"{name}.bias"] = random.uniform(-0.3, 0.3, rows)
    for name in norms:
        weights[f"{name}.weight"] = random.uniform(0.7, 1.3, hidden)
        weights[f"{name}.bias"] = random.uniform(-0.3, 0.3, hidden)
    words, positions, types = tables = [
        weights[f"embeddings.{table}_embeddings.weight"] for table in ("word", "position", "token_type")
    ]
    for word, position in NEARLY_CONSTANT:
        words[word] = 0.04 * random.normal(size=hidden) - positions[position] - types[0]
    for table in tables:  # a coarse grid, on which fp32 adds them without rounding
        table[:] = np.round(table * 2**12) / 2**12
    return {name: exact(value) for name, value in weights.items()}


def exact(values: np.ndarray) -> np.ndarray:
    """The nearest fp32 values, in fp64."""
    return values.astype(np.float32).astype(np.float64)


def fixture() -> tuple[Arrays, dict]:
    """The tensors and settings of model.safetensors: weights, inputs, all values on the way, gradients."""
    random = np.random.default_rng(20181011)
    weights = random_weights(random)
    attention_mask = (INPUT_IDS != CONFIG["pad_token_id"]).astype(np.int64)
    no_types = np.zeros_like(INPUT_IDS)
    found = run(weights, INPUT_IDS, attention_mask, no_types)
    typed = run(weights, INPUT_IDS, attention_mask, TOKEN_TYPE_IDS)
    of_hidden = exact(random.normal(size=found["last_hidden_state"].shape) * 0.1 * attention_mask[:, :, None])
    of_pooler = exact(random.normal(size=found["pooler_output"].shape) * 0.1)
    gradients = gradients_of(weights, INPUT_IDS, no_types, found, of_hidden, of_pooler)
    tensors = {
        "input_ids": INPUT_IDS,
        "attention_mask": attention_mask,
        "token_type_ids": TOKEN_TYPE_IDS,
        "direction.hidden": of_hidden.astype(np.float32),
        "direction.pooler": of_pooler.astype(np.float32),
    }
    tensors |= {f"weights.{name}": value.astype(np.float32) for name, value in weights.items()}
    tensors |= found
    for name in ("embeddings.output", "last_hidden_state", "pooler_output"):
        tensors[f"typed.{name}"] = typed[name]
    tensors |= {f"gradient.{name}": value for name, value in gradients.items()}
    return tensors, {"config": CONFIG}
