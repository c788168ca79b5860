"""Reads what `attention(key, query, value, mask)` computes inside, by values of our choice.

Where the values are the rows of the identity (S <= K), a head's context is its probabilities; and the
logarithms of these less the mean of their row are the scores less theirs. B sentences, H heads, S columns,
K head size, D = H K.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minbert.check.stage import Array, InvalidOutput, MissingImplementation

SMALLEST = 1e-30  # probabilities below it have no logarithm that fp32 would know
SUM_ERROR = 1e-3  # of the sum of a row of probabilities

Shape = tuple[int, int, int, int]  # B, H, S, K
Layout = Callable[[Array, Shape], Array | None]


def _merged(output: Array, shape: Shape, cells: tuple[int, ...], order: tuple[int, ...]):
    count, heads, columns, size = shape
    if output.shape != (count, columns, heads * size):
        return None
    return output.reshape(cells).transpose(order)


def side_by_side(output: Array, shape: Shape) -> Array | None:
    """The right layout: (B, S, D) -> (B, H, S, K)."""
    count, heads, columns, size = shape
    return _merged(output, shape, (count, columns, heads, size), (0, 2, 1, 3))


def _not_transposed(output: Array, shape: Shape) -> Array | None:
    return _merged(output, shape, shape, (0, 1, 2, 3))


def _interleaved(output: Array, shape: Shape) -> Array | None:
    count, heads, columns, size = shape
    return _merged(output, shape, (count, columns, size, heads), (0, 3, 1, 2))


def _not_merged(output: Array, shape: Shape) -> Array | None:
    return output if output.shape == shape else None


def _not_flattened(output: Array, shape: Shape) -> Array | None:
    count, heads, columns, size = shape
    return output.swapaxes(1, 2) if output.shape == (count, columns, heads, size) else None


LAYOUTS: tuple[Layout, ...] = (side_by_side, _not_transposed, _interleaved, _not_merged, _not_flattened)


def find_layout(candidate: Any, key: Array, query: Array) -> Layout:
    """Finds how a candidate's output holds the heads, so that a wrong layout is not a fault of the scores.

    Only feature h of head h has a value, so only it may be there in the output, whatever the probabilities.
    Raises MissingImplementation for an output from which the heads cannot be read.
    """
    shape = query.shape
    value = np.zeros(shape, dtype=np.float32)
    for head in range(shape[1]):
        value[:, head, :, head] = 1
    output = candidate.attention(key, query, value, np.zeros((shape[0], 1, 1, shape[2]), dtype=np.float32))
    expected = value != 0
    for layout in LAYOUTS:
        contexts = layout(output, shape)
        if contexts is not None and np.array_equal(contexts != 0, expected):
            return layout
    if side_by_side(output, shape) is None or np.count_nonzero(output) == expected.sum():
        raise MissingImplementation(
            f"attention's output, of shape {output.shape}, does not hold the heads side by side, so that "
            f"what is inside cannot be read; see the stage merged heads"
        )
    return side_by_side


def read_probabilities(
    candidate: Any, key: Array, query: Array, mask: Array, layout: Layout, training: bool = False
) -> Array:
    """The probabilities (B, H, S, S) by which a candidate weighs values."""
    count, heads, columns, size = query.shape
    value = np.broadcast_to(np.eye(columns, size, dtype=np.float32), query.shape)
    output = candidate.attention(key, query, value, mask, training=training)
    contexts = layout(output, query.shape)
    if contexts is None:
        raise InvalidOutput(
            f"attention returned shape {output.shape}; it has to be {(count, columns, heads * size)}"
        )
    return contexts[..., :columns]


def are_probabilities(rows: Array) -> bool:
    """Returns True if rows (..., S) have no negative value and sum to one each."""
    with np.errstate(all="ignore"):
        return bool((rows >= 0).all() and (np.abs(rows.sum(axis=-1) - 1) < SUM_ERROR).all())


def centered_logarithms(probabilities: Array) -> Array:
    """Of probabilities (..., S): the scores less the mean of their row, which softmax does not see."""
    logarithms = np.log(np.maximum(probabilities, SMALLEST))
    return logarithms - logarithms.mean(axis=-1, keepdims=True)


def are_equal(probabilities: Array) -> bool:
    """Returns True if every row is 1 / S throughout."""
    return bool(np.allclose(probabilities, 1 / probabilities.shape[-1], atol=1e-6))


def look_one_way(probabilities: Array) -> bool:
    """Returns True if tokens give nothing to those after them, or nothing to those before."""
    later, earlier = np.triu(probabilities, 1), np.tril(probabilities, -1)
    return not later.any() or not earlier.any()
