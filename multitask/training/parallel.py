"""How the processes of a run share its gradients: engines of torch around one module.

A method of training calls functions of the model through an engine, `engine(function, *arguments)`, which
returns function(model, *arguments), a scalar. All uses of a parameter inside of one call, the several
forwards of R-Drop and SMART among them, are one forward for torch's engine.
"""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Engine:
    """One process: calls the function, and leaves gradients where they are.

    Also for methods that need the gradients of each task by itself, and sum them over the processes
    themselves. `model` is the MultitaskModel.
    """

    def __init__(self, model: nn.Module):
        self.model = model

    def __call__(self, function: Callable[..., Tensor], *arguments: Any, reduces: bool = True) -> Tensor:
        """Returns function(model, *arguments). Its backward sums the gradients, all since the last sum.

        `reduces` is False for a call that others of the same step follow: they stay in the process then.
        """
        return function(self.model, *arguments)


class Replicated(Engine):
    """Each process holds the whole model: gradients are summed by DistributedDataParallel.

    Every process makes the same calls. Parameters that the calls of a step do not use keep their gradient
    None. When other tensors are to be trained, the model is wrapped anew, so that in each step, in a resumed
    run too, the same gradients are summed in the same buckets.
    """

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self._wrapped: DistributedDataParallel | None = None
        self._trained: list[bool] = []

    def __call__(self, function: Callable[..., Tensor], *arguments: Any, reduces: bool = True) -> Tensor:
        trained = [parameter.requires_grad for parameter in self.model.parameters()]
        if trained != self._trained:
            self._wrapped, self._trained = _replicated(self.model), trained
        with nullcontext() if reduces else self._wrapped.no_sync():
            return self._wrapped(function, *arguments)


class _Call(nn.Module):
    """A function of the model as the forward of one module.

    `anchor`, a zero that every outcome depends on, has a gradient where nothing else has one: a call of a
    task whose tensors are all frozen takes part in the sum too.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.anchor = nn.Parameter(torch.zeros((), device=model.device))

    def forward(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        return function(self.model, *arguments) + self.anchor


def _replicated(model: nn.Module) -> DistributedDataParallel:
    # Most steps leave heads of other tasks unused; torch warns of the first one that does not.
    warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
    wrapped = DistributedDataParallel(
        _Call(model), broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
    )
    wrapped.register_comm_hook(None, _sum)
    return wrapped


def _sum(group: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Sums a bucket over the processes; without a hook the engine divides by their number."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])
