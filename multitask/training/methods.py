"""Methods: what is done with one piece of a step. Others wrap Plain; the loop knows none of them."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from multitask.training.plan import Piece


class TrainableModel(Protocol):
    """What a method asks of a model: the loss of a task's batch, weighted as the task is."""

    def loss(self, task: str, batch) -> Tensor: ...


class Plain:
    """Forward, loss, backward."""

    def __call__(self, model: TrainableModel, piece: Piece, backward: Callable[[Tensor], None]) -> Tensor:
        """Adds the piece's gradients; returns its loss, detached, as it was before the piece's weight."""
        loss = model.loss(piece.task, piece.batch)
        backward(loss * piece.weight)
        return loss.detach()
