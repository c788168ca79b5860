"""The check that every loss makes first."""

from torch import Tensor

from minbert import InputError


def check_shapes(outputs: Tensor, targets: Tensor) -> None:
    """Raises InputError unless both have one shape; a loss that broadcasts averages the wrong numbers."""
    if outputs.shape != targets.shape:
        raise InputError(
            f"outputs have shape {tuple(outputs.shape)}, targets {tuple(targets.shape)}; they must be equal"
        )
