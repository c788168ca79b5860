"""GradCache: a contrastive loss over more examples than memory holds at once."""

import torch
from torch import Tensor, nn

from minbert import Batch
from multitask.data.collate import Chunks
from multitask.runtime.device import random_state, set_random_state
from multitask.training.methods.standard import Backward, StandardLoss
from multitask.training.parallel import Engine
from multitask.training.plan import MicroBatch


class GradCache(StandardLoss):
    """Computes the gradients of a large batch with the memory of one chunk (Gao et al. 2021, section 3.2).

    Outputs of all chunks without graphs; the loss over all of them, and its gradient on the outputs; then
    each chunk once more, with the same dropout, to carry its part of that gradient back to the weights. A
    batch that is not `Chunks` has the standard loss. A parameter of the loss has to act through the outputs,
    as a learned temperature in the head does.
    """

    def __call__(self, engine: Engine, micro_batch: MicroBatch, backward: Backward) -> Tensor:
        """Adds the micro-batch's gradients; returns its detached loss times the micro-batch's weight.

        The random generators end where the first pass left them: the last chunk draws the same once more.
        """
        if not isinstance(micro_batch.batch, Chunks):
            return super().__call__(engine, micro_batch, backward)
        model, task = engine.model, micro_batch.task
        batch = micro_batch.batch.to(model.device)
        states, chunks = [], []
        with torch.no_grad():
            for part in batch.parts:
                states.append(random_state(model.device))
                chunks.append(model(task, part.inputs))
        outputs = torch.cat(chunks).requires_grad_()
        loss = model.loss_of(task, outputs, batch.targets) * micro_batch.weight
        # Not scaled yet: the outputs are fp32, and `backward` scales what goes through the encoder.
        (gradient,) = torch.autograd.grad(loss, outputs)
        cached = gradient.split([len(chunk) for chunk in chunks])
        for number, (part, state, part_gradient) in enumerate(zip(batch.parts, states, cached, strict=True)):
            set_random_state(state, model.device)
            reduces = micro_batch.ends_step and number == len(chunks) - 1
            backward(engine(_carried_back, task, part.inputs, part_gradient, reduces=reduces), task)
        return loss.detach()


def _carried_back(model: nn.Module, task: str, inputs: Batch, gradient: Tensor) -> Tensor:
    """Computes the scalar whose gradient carries that of a chunk's outputs on to the weights."""
    return (model(task, inputs) * gradient).sum()
