"""The training loop, the only one; its arguments decide what it does."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.optim import Optimizer

from multitask.runtime.precision import Precision
from multitask.training.gradients import Gradients
from multitask.training.methods.standard import StandardLoss
from multitask.training.plan import MicroBatch, Step


def train_loop(
    model: nn.Module,
    plan: Iterable[Step],
    method: StandardLoss,
    gradients: Gradients,
    precision: Precision,
    optimizer: Optimizer,
    report: Callable[[Step, MicroBatch, Tensor], None],
    after_step: Callable[[Step], None],
) -> None:
    """Takes the plan's steps with a MultitaskModel. Who reads the losses, tensors, decides when to wait."""
    for step in plan:
        for micro_batch in step.micro_batches:
            loss = method(model, micro_batch, gradients.backward)
            report(step, micro_batch, loss)
        gradients.finish()
        precision.step(optimizer)
        after_step(step)
