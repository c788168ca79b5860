"""GradCache: a contrastive loss over more examples than memory holds at once."""

import torch
from torch import Tensor, nn

from multitask.data.collate import Chunks
from multitask.training.methods.standard import Backward, StandardLoss
from multitask.training.plan import MicroBatch


class GradCache(StandardLoss):
    """Computes the gradients of a large batch with the memory of one chunk (Gao et al. 2021, section 3.2).

    Outputs of all chunks without graphs; the loss over all of them, and its gradient on the outputs; then
    each chunk once more, with the same dropout, to carry its part of that gradient back to the weights. A
    batch that is not `Chunks` has the standard loss. A parameter of the loss has to act through the outputs,
    as a learned temperature in the head does.
    """

    def __call__(self, model: nn.Module, micro_batch: MicroBatch, backward: Backward) -> Tensor:
        """Adds the micro-batch's gradients; returns its detached loss, without the micro-batch's weight.

        The random generators end where the first pass left them: the last chunk draws the same once more.
        """
        if not isinstance(micro_batch.batch, Chunks):
            return super().__call__(model, micro_batch, backward)
        batch, task = micro_batch.batch.to(model.device), micro_batch.task
        states, chunks = [], []
        with torch.no_grad():
            for part in batch.parts:
                states.append(random_state(model.device))
                chunks.append(model(task, part.inputs))
        outputs = torch.cat(chunks).requires_grad_()
        loss = model.loss_of(task, outputs, batch.targets)
        # Not scaled yet: the outputs are fp32, and `backward` scales what goes through the encoder.
        (gradient,) = torch.autograd.grad(loss * micro_batch.weight, outputs)
        cached = gradient.split([len(chunk) for chunk in chunks])
        for part, state, part_gradient in zip(batch.parts, states, cached, strict=True):
            set_random_state(state, model.device)
            backward((model(task, part.inputs) * part_gradient).sum(), task)
        return loss.detach()


def random_state(device: torch.device) -> list[Tensor]:
    """Returns the states of torch's generators: the CPU's, and the device's if it is another."""
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(torch.get_device_module(device).get_rng_state(*_index(device)))
    return states


def set_random_state(states: list[Tensor], device: torch.device) -> None:
    """Restores the states of torch's generators."""
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1], *_index(device))


def _index(device: torch.device) -> tuple[torch.device, ...]:
    """Returns the arguments that choose a device of its kind; Apple's functions take none."""
    return () if device.type == "mps" else (device,)
