"""The fixture of the part "model": weights, a batch, every value on the way, and all weights' gradients."""

import numpy as np

from minbert.check.references.bert import FIRST_HALF, SECOND_HALF, Bert
from minbert.check.stage import Array, Arrays

CONFIG = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 3,
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
INPUT_IDS = np.array([[2, 9, 28, 41, 3, 0, 0], [2, 17, 31, 5, 44, 31, 3], [2, 36, 3, 0, 0, 0, 0]])
TOKEN_TYPE_IDS = np.array([[0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0, 0]])
# Word and position whose embeddings nearly cancel: their sum has a variance like epsilon.
NEARLY_CONSTANT = ((44, 4), (28, 2), (36, 1))


# A word that cancels the position of the last column, so that the variance is 0.
ZERO_SUM_IDS = np.array([[2, 9, 9, 9, 9, 9, 9, 9, 49]])


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
    words[ZERO_SUM_IDS[0, -1]] = -positions[ZERO_SUM_IDS.shape[1] - 1] - types[0]
    return {name: exact(value) for name, value in weights.items()}


def exact(values: Array) -> Array:
    """The nearest fp32 values, in fp64."""
    return values.astype(np.float32).astype(np.float64)


def layer_values(bert: Bert, number: int, hidden: Array, extended: Array) -> Arrays:
    """Everything that one layer computes of hidden (B, S, D) under the mask (B, 1, 1, S)."""
    key, query, value = bert.project(hidden, number)
    scores = bert.scaled(bert.products(query, key), query.shape[-1])
    masked = bert.masked(scores, extended)
    probabilities = bert.softmax(masked)
    context = bert.context(probabilities, value)
    merged = bert.merge_heads(context)
    attention_norm = bert.after_attention(hidden, merged, number)
    intermediate = bert.intermediate(attention_norm, number)
    return {
        "input": hidden,
        "query": query,
        "key": key,
        "value": value,
        "scores": scores,
        "masked": masked,
        "probabilities": probabilities,
        "context": context,
        "merged": merged,
        "attention_output": bert.apply(merged, number, FIRST_HALF[0]),
        "attention_norm": attention_norm,
        "intermediate": intermediate,
        "feed_forward": bert.apply(intermediate, number, SECOND_HALF[0]),
        "output": bert.after_feed_forward(attention_norm, intermediate, number),
    }


def all_values(bert: Bert, ids: Array, mask: Array) -> Arrays:
    """Everything that a model computes of ids and mask, both (B, S)."""
    found = {"embeddings.sum": bert.embedding_sum(ids), "embeddings.output": bert.embed(ids)}
    hidden = found["embeddings.output"]
    for number in range(bert.count):
        values = layer_values(bert, number, hidden, bert.extended(mask))
        found |= {f"layer.{number}.{key}": value for key, value in values.items()}
        hidden = values["output"]
    pooled = bert.pool(hidden, found["embeddings.output"], ids, mask)
    return found | {"last_hidden_state": hidden, "pooler_output": pooled}


class Typed(Bert):
    """With token types other than zero."""

    def token_types(self, ids: Array) -> Array:
        return TOKEN_TYPE_IDS


def fixture() -> tuple[Arrays, dict]:
    """The tensors and settings of model.safetensors."""
    random = np.random.default_rng(20181036)
    weights = random_weights(random)
    bert = Bert(weights, CONFIG)
    mask = (~bert.is_padding(INPUT_IDS)).astype(np.int64)
    found = all_values(bert, INPUT_IDS, mask)
    typed = all_values(Typed(weights, CONFIG), INPUT_IDS, mask)
    of_hidden = exact(random.normal(size=found["last_hidden_state"].shape) * 0.1 * mask[:, :, None])
    of_pooler = exact(random.normal(size=found["pooler_output"].shape) * 0.1)
    tensors = {
        "input_ids": INPUT_IDS,
        "attention_mask": mask,
        "token_type_ids": TOKEN_TYPE_IDS,
        "zero_sum_ids": ZERO_SUM_IDS,
        "direction.hidden": of_hidden.astype(np.float32),
        "direction.pooler": of_pooler.astype(np.float32),
    }
    tensors |= {f"weights.{name}": value.astype(np.float32) for name, value in weights.items()}
    tensors |= found
    for name in ("embeddings.output", "last_hidden_state", "pooler_output"):
        tensors[f"typed.{name}"] = typed[name]
    gradients = bert.gradients(INPUT_IDS, mask, of_hidden, of_pooler)
    tensors |= {f"gradient.{name}": value for name, value in gradients.items()}
    return tensors, {"config": CONFIG}
