"""LoRA in fp64 (Hu et al. 2021, section 4.1): W x + b + alpha / rank B A x, its gradients, the merged weight.

Gradients are those of the sum of outputs times a fixed direction, worked out by hand.
"""

from typing import Any

import numpy as np

LAYERS = {  # name: (in, out, rank, alpha); alpha / rank is no whole number
    "square": (6, 6, 2, 5.0),
    "wide": (6, 4, 3, 4.0),
}

Arrays = dict[str, np.ndarray]


def exact(values: np.ndarray) -> np.ndarray:
    """Rounded to what fp32 holds."""
    return values.astype(np.float32)


def inputs(seed: int, size_in: int, size_out: int, rank: int) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes = {
        "weight": (size_out, size_in),
        "bias": (size_out,),
        "lora_A": (rank, size_in),
        "lora_B": (size_out, rank),
        "x": (2, 3, size_in),
        "direction": (2, 3, size_out),
    }
    return {name: exact(rng.normal(0, 0.7, shape)) for name, shape in shapes.items()}


def adapted(given: Arrays, rank: int, alpha: float) -> Arrays:
    """Output (B, S, out), gradients, merged weight (out, in) and bias (out,)."""
    W, b, A, B, x, direction = (
        given[name].astype(np.float64) for name in ("weight", "bias", "lora_A", "lora_B", "x", "direction")
    )
    scale = alpha / rank
    return {
        "output": x @ W.T + b + scale * (x @ A.T @ B.T),
        "gradient of lora_A": scale * np.einsum("bso,or,bsi->ri", direction, B, x),
        "gradient of lora_B": scale * np.einsum("bso,bsi,ri->or", direction, x, A),
        "gradient of the input": direction @ (W + scale * (B @ A)),
        "merged weight": W + scale * (B @ A),
        "merged bias": b,
    }


def fixture() -> tuple[Arrays, dict[str, Any]]:
    """For each layer L: "L/NAME" of inputs and "L/expected/OUTPUT"; settings: its rank and alpha."""
    tensors: Arrays = {}
    settings = {}
    for seed, (layer, (size_in, size_out, rank, alpha)) in enumerate(LAYERS.items()):
        given = inputs(seed, size_in, size_out, rank)
        tensors |= {f"{layer}/{name}": value for name, value in given.items()}
        expected = adapted(given, rank, alpha)
        tensors |= {f"{layer}/expected/{name}": value for name, value in expected.items()}
        settings[layer] = {"rank": rank, "alpha": alpha}
    return tensors, settings
