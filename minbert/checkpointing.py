"""Gradient checkpointing: what a layer computes inside is computed again in the backward pass, not kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minbert.adapters import adapted_modules


def checkpointed(model: nn.Module, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function`, a part of `model`, that keeps its inputs only and runs again for its gradients.

    The second run has the random state of the first, so dropout falls on the same elements, and the adapters
    that are in use now: by the time of the backward pass another task's may be.
    """
    modules = adapted_modules(model)
    names = [module.active for module in modules]

    @contextmanager
    def same_adapters() -> Iterator[None]:
        later = [module.active for module in modules]
        _put_to_use(modules, names)
        try:
            yield
        finally:
            _put_to_use(modules, later)

    # Not the reentrant kind: it computes no gradients at all where the input needs none, as under LoRA.
    return lambda *inputs: checkpoint(
        function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), same_adapters())
    )


def _put_to_use(modules: list[nn.Module], names: list[str | None]) -> None:
    for module, name in zip(modules, names, strict=True):
        module.active = name
