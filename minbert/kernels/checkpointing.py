"""Activation checkpointing (Chen et al. 2016): keeps a function's inputs, and runs it again for gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minbert.adapters.registry import adapted_modules
from minbert.kernels.registry import in_use, use


def checkpointed(model: nn.Module, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns `function`, a part of `model`, such that it keeps its inputs only and runs again for gradients.

    The second run has the random state of the first, so dropout falls on the same elements, and its kernels
    and adapters: by the time of the backward pass others may be in use.
    """
    modules, kernels = adapted_modules(model), in_use()
    names = [module.active for module in modules]

    def activate(names: list[str | None]) -> None:
        for module, name in zip(modules, names, strict=True):
            module.active = name

    @contextmanager
    def as_in_the_first_run() -> Iterator[None]:
        later = [module.active for module in modules]
        activate(names)
        try:
            with use(kernels):
                yield
        finally:
            activate(later)

    # Not the reentrant kind: it computes no gradients at all where the input needs none, as under LoRA.
    return lambda *inputs: checkpoint(
        function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), as_in_the_first_run())
    )
