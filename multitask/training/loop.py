"""The training loop: the only one. What it does is decided by what it is handed."""

from collections.abc import Callable, Iterable

from torch import Tensor
from torch.optim import Optimizer

from multitask.runtime.precision import Precision
from multitask.training.gradients import Gradients
from multitask.training.methods.standard import Plain, TrainableModel
from multitask.training.plan import Piece, Step


def train_loop(
    model: TrainableModel,
    plan: Iterable[Step],
    method: Plain,
    gradients: Gradients,
    precision: Precision,
    optimizer: Optimizer,
    report: Callable[[Step, Piece, Tensor], None],
    after_step: Callable[[Step], None],
) -> None:
    """Takes the plan's steps. Losses are reported as tensors; who reads them decides when to wait."""
    for step in plan:
        for piece in step.pieces:
            loss = method(model, piece, gradients.backward)
            report(step, piece, loss)
        gradients.finish()
        precision.step(optimizer)
        after_step(step)
