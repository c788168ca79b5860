"""Adapters: what a module holds once for each task, by name, with one of them in use.

A module with adapters has `adapters`, an nn.ModuleDict, and `active`, the name of the one in use or None.
"""

from torch import nn

from minbert.errors import InputError

DEFAULT = "default"  # the one adapter of a model that has no more than one


def check_name(name: str) -> None:
    """Raises InputError for a name that an nn.ModuleDict cannot have."""
    if not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise InputError(f"an adapter cannot be called {name!r}, torch needs the name; choose another")


def adapted_modules(model: nn.Module) -> list[nn.Module]:
    """The submodules that hold adapters."""
    return [
        module for module in model.modules() if isinstance(getattr(module, "adapters", None), nn.ModuleDict)
    ]


def use_adapter(model: nn.Module, name: str | None) -> None:
    """Puts the adapters called `name` to use.

    Modules of a class in which none has that one use their default, or none at all; so a model can hold one
    kind of adapter for each task and another kind for all, and two adapters of one kind are never mixed.
    """
    modules = adapted_modules(model)
    present = {(type(module), key) for module in modules for key in module.adapters}
    for module in modules:
        wanted = name if (type(module), name) in present else DEFAULT
        module.active = wanted if wanted in module.adapters else None
