"""The training loop, the only one; its arguments decide what it does."""

from collections.abc import Callable, Iterable

from torch import Tensor
from torch.optim import Optimizer

from multitask.runtime.precision import Precision
from multitask.training.gradients import Gradients
from multitask.training.methods.standard import StandardLoss
from multitask.training.parallel import Engine
from multitask.training.plan import MicroBatch, Step


def train_loop(
    engine: Engine,
    plan: Iterable[Step],
    method: StandardLoss,
    gradients: Gradients,
    precision: Precision,
    optimizer: Optimizer,
    report: Callable[[Step, MicroBatch, Tensor], None],
    after_step: Callable[[Step], None],
) -> None:
    """Takes the plan's steps with the engine's model. Who reads the losses, tensors, decides when to wait."""
    for step in plan:
        for micro_batch in step.micro_batches:
            loss = method(engine, micro_batch, gradients.backward)
            report(step, micro_batch, loss)
        gradients.finish()
        precision.step(optimizer)
        after_step(step)
