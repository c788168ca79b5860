"""Methods: how the loop turns a micro-batch into gradients.

A method computes a loss through the engine and passes it to `backward(loss, task)`. StandardLoss does just
that; Smart and RDrop add a regularizer to the loss; GradCache, in its own file, cuts the micro-batch. Losses
and divergences of the MultitaskModel have the task's weight as a factor. T token rows, D hidden size.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from multitask.config.run_config import SmartConfig
from multitask.runtime.device import unchanged_random_state
from multitask.training.methods.teacher import MomentumTeacher
from multitask.training.parallel import Engine
from multitask.training.plan import MicroBatch

Backward = Callable[[Tensor, str], None]


class StandardLoss:
    """Forward, loss, backward. A method with another loss overrides `loss`."""

    def __call__(self, engine: Engine, micro_batch: MicroBatch, backward: Backward) -> Tensor:
        """Adds the micro-batch's gradients; returns its detached loss times the micro-batch's weight."""
        unused = not micro_batch.weight
        with unchanged_random_state(engine.model.device) if unused else nullcontext():
            loss = engine(self.weighted_loss, micro_batch, reduces=micro_batch.ends_step)
        backward(loss, micro_batch.task)
        return loss.detach()

    def weighted_loss(self, model: nn.Module, micro_batch: MicroBatch) -> Tensor:
        """Computes the micro-batch's part of the step's loss; 0, whatever comes out, at weight 0."""
        loss = self.loss(model, micro_batch.task, micro_batch.batch) * micro_batch.weight
        return loss if micro_batch.weight else torch.where(torch.zeros_like(loss, dtype=torch.bool), loss, 0)

    def loss(self, model: nn.Module, task: str, batch) -> Tensor:
        """Computes the scalar to minimize, the mean over the batch's examples."""
        return model.loss(task, batch)


class RDrop(StandardLoss):
    """R-Drop (Liang et al. 2021, equations 1 to 4): two passes whose dropout differs shall agree.

    The mean of both losses + weight (KL(p || q) + KL(q || p)) / 2, where p and q are the outputs of the two
    passes: half of the task's divergence, which is the sum of both directions. The paper adds the two losses;
    their mean, as its code has it, keeps the size of the gradient. Without dropout both passes are the same.
    """

    def __init__(self, weight: float):
        self.weight = weight

    def loss(self, model: nn.Module, task: str, batch) -> Tensor:
        batch = batch.to(model.device)
        first, second = model(task, batch.inputs), model(task, batch.inputs)
        losses = [model.loss_of(task, outputs, batch.targets) for outputs in (first, second)]
        return sum(losses) / 2 + self.weight * model.divergence(task, first, second) / 2


class Smart(StandardLoss):
    """SMART (Jiang et al. 2020): loss + weight * smoothness + bregman * distance to the teacher's outputs.

    Smoothness (equation 2): the divergence between the outputs and those with the worst noise of at most
    `radius` an entry on the embeddings, found as in algorithm 1: start from normal noise of deviation
    `noise`, then `steps` times step by `step_size` along the gradient of the divergence, each token's row
    divided by its largest entry, and clamp to the radius. A pair in two towers has noise on both texts.
    The distance to the teacher (equations 4 to 6) is the same divergence. Gradients flow into both of its
    arguments but into no teacher; the noise is a constant for them.

    The clean pass serves the loss and both regularizers. Each noisy pass draws dropout anew, as the authors'
    code does, so that at a small radius the outputs differ by their dropout more than by the noise.
    """

    def __init__(self, config: SmartConfig, teacher: MomentumTeacher | None = None):
        assert teacher is not None or not config.bregman, "the Bregman term needs a teacher"
        self.config = config
        self.teacher = teacher

    def loss(self, model: nn.Module, task: str, batch) -> Tensor:
        batch = batch.to(model.device)
        outputs = model(task, batch.inputs)
        regularizers = []
        if self.config.weight:
            noise = self.worst_noise(model, task, batch.inputs, outputs.detach())
            noisy = model(task, batch.inputs, noise)
            regularizers.append(self.config.weight * model.divergence(task, noisy, outputs))
        if self.config.bregman:
            before = self.teacher(task, batch.inputs)
            regularizers.append(self.config.bregman * model.divergence(task, outputs, before))
        return sum(regularizers, model.loss_of(task, outputs, batch.targets))

    def worst_noise(self, model: nn.Module, task: str, inputs, outputs: Tensor) -> Tensor:
        """Returns the noise (T, D) of algorithm 1, against the clean `outputs`, which are constants here."""
        weight = model.encoder.embeddings.word.weight
        shape = (len(inputs.token_ids), model.encoder.config.hidden_size)
        noise = torch.randn(shape, dtype=weight.dtype, device=weight.device) * self.config.noise
        for _ in range(self.config.steps):
            noise.requires_grad_()
            noisy = model(task, inputs, noise)
            (ascent,) = torch.autograd.grad(model.divergence(task, noisy, outputs), noisy)
            # Its size does not matter, but tiny numbers would vanish on the way back through an fp16 encoder.
            (ascent,) = torch.autograd.grad(noisy, noise, ascent / _largest(ascent.flatten()))
            direction = (ascent / _largest(ascent)).nan_to_num(0.0, 0.0, 0.0)
            noise = (noise.detach() + self.config.step_size * direction).clamp(
                -self.config.radius, self.config.radius
            )
        return noise


def _largest(values: Tensor) -> Tensor:
    """Returns the largest magnitude of each row, (..., D) -> (..., 1), but not 0, so that it may divide."""
    return values.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
