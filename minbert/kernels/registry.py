"""The sets of kernels by name, and the one in use: `with kernels.use("reference"): ...`."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from torch import Tensor

from minbert.errors import InputError, did_you_mean
from minbert.kernels import fused, reference

KERNELS: dict[str, ModuleType] = {"reference": reference, "fused": fused}


class _InUse(threading.local):  # of each thread; torch.compile cannot read a ContextVar
    kernels: ModuleType = fused


_in_use = _InUse()


@contextmanager
def use(kernels: str | ModuleType) -> Iterator[None]:
    """Computes with the kernels of that name, or a set that `in_use` returned, inside the block.

    Both sets agree at every stage. A BertModel's forward runs under its own `kernels`. Raises InputError for
    a name that is not in KERNELS.
    """
    outside = _in_use.kernels
    _in_use.kernels = find_kernels(kernels) if isinstance(kernels, str) else kernels
    try:
        yield
    finally:
        _in_use.kernels = outside


def in_use() -> ModuleType:
    """Returns the module whose `linear`, `attention`, `layer_norm` and activations are in use."""
    return _in_use.kernels


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Returns the activation that a BertConfig names (`BertConfig.activation`), by the kernels in use."""
    return getattr(in_use(), name)


def find_kernels(name: str) -> ModuleType:
    """Returns the kernels called `name`. Raises InputError for a name that is not in KERNELS."""
    if name not in KERNELS:
        raise InputError(
            f"kernels {name!r} do not exist; choose from {', '.join(KERNELS)}{did_you_mean(name, KERNELS)}"
        )
    return KERNELS[name]
