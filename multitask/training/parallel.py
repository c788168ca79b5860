"""How the processes of a run share its gradients: engines of torch around one module.

A method of training calls functions of the model through an engine, `engine(function, *arguments)`, which
returns function(model, *arguments), a scalar. All uses of a parameter inside of one call, the several
forwards of R-Drop and SMART among them, are one forward for torch's engine.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from multitask.inference.checkpoint import SavedShards
from multitask.runtime.process_group import ProcessGroup


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

    def whole_model(self) -> nn.Module | None:
        """Returns the model with all of its weights, for rank 0 to save; elsewhere maybe nothing."""
        return self.model


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


class Sharded(Engine):
    """Each process holds a part of every tensor, its gradient and its moments: torch's fully_shard (FSDP2).

    A layer's tensors are whole in each process only while the layer computes. Shards the model's tensors,
    which become DTensors, each a part of the rows. `whole_model` gathers them into a copy on rank 0's host.
    """

    def __init__(self, model: nn.Module, device: torch.device, group: ProcessGroup):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        super().__init__(model)
        self.group = group
        self._whole = copy.deepcopy(model) if group.is_main else None
        mesh = init_device_mesh(device.type, (group.size,))
        for part in (*model.encoder.encoder.layers, model):
            fully_shard(part, mesh=mesh)

    def __call__(self, function: Callable[..., Tensor], *arguments: Any, reduces: bool = True) -> Tensor:
        self.model.set_requires_gradient_sync(reduces)
        loss = function(self.model, *arguments)
        # fully_shard divides the sums by the number of processes.
        return loss + (self.group.size - 1) * (loss - loss.detach())

    def whole_model(self) -> nn.Module | None:
        self.model.reshard()  # after a forward without a backward
        if self._whole is not None:
            whole = dict(self._whole.named_parameters())
        for name, parameter in self.model.named_parameters():
            values = parameter.detach().full_tensor()  # by all processes, one tensor at a time
            if self._whole is not None:
                whole[name].data.copy_(values)
        return self._whole


class ShardedOptimizerState:
    """The state of an optimizer over sharded tensors: its moments are saved and loaded in shards too."""

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer
        self.state_dict = optimizer.state_dict

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        parameters = [tensor for group in self.optimizer.param_groups for tensor in group["params"]]
        moments = {
            index: {key: _own_shard(value, parameters[index]) for key, value in values.items()}
            for index, values in state["state"].items()
        }
        self.optimizer.load_state_dict({**state, "state": moments})


def _own_shard(value: Any, parameter: Tensor) -> Any:
    """Returns a saved tensor's part that belongs with this process's part of a parameter."""
    if not isinstance(value, SavedShards):
        return value
    from torch.distributed.tensor import DTensor

    mesh = parameter.device_mesh
    size = -(-len(parameter) // mesh.size())  # as fully_shard cuts, the last ones short or empty
    start = mesh.get_local_rank() * size
    rows = value.read(start, start + size).to(parameter.to_local())
    shape = {"shape": parameter.shape, "stride": parameter.stride()}
    return DTensor.from_local(rows, mesh, parameter.placements, run_check=False, **shape)


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
    # Buffers are the same everywhere and do not change. The option's name did in torch 2.13.
    has_new_name = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    no_sync = {"forward_sync_buffers" if has_new_name else "broadcast_buffers": False}
    wrapped = DistributedDataParallel(
        _Call(model), find_unused_parameters=True, gradient_as_bucket_view=True, **no_sync
    )
    wrapped.register_comm_hook(None, _sum)
    return wrapped


def _sum(group: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Sums a bucket over the processes; without a hook the engine divides by their number."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])
