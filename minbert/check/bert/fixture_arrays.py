"""The part "model"'s references as inputs and as what is expected, and what of an output counts."""

import numpy as np

from minbert.check.fixtures import model_fixture
from minbert.check.stage import Array


def reference(name: str) -> Array:
    return model_fixture("model")[0][name]


def given(name: str) -> Array:
    """A reference as an input: what is a fraction, in fp32, writable."""
    value = reference(name)
    return value.astype(np.float32 if value.dtype.kind == "f" else value.dtype)


def additive_mask() -> Array:
    """(B, 1, 1, S), 0 at real tokens and -10000 at padding."""
    return np.where(reference("attention_mask"), 0, -10000).astype(np.float32)[:, None, None, :]


def mask_of_ones() -> Array:
    """(B, 1, 1, S), 1 at real tokens and 0 at padding."""
    return reference("attention_mask").astype(np.float32)[:, None, None, :]


def no_mask() -> Array:
    return np.zeros_like(additive_mask())


def first_of(name: str) -> Array:
    return given(f"layer.0.{name}")


def at_tokens(x: Array) -> Array:
    """(B, S, ...), or (B, H, S, ...) -> the same with zeros where padding asks; other shapes as they are."""
    tokens = reference("attention_mask") == 1
    if x.shape[:2] == tokens.shape:
        return np.where(tokens.reshape(tokens.shape + (1,) * (x.ndim - 2)), x, 0.0)
    if x.ndim >= 3 and (x.shape[0], x.shape[2]) == tokens.shape:
        return np.where(tokens.reshape(len(tokens), 1, -1, *(1,) * (x.ndim - 3)), x, 0.0)
    return x
