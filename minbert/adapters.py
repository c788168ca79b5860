"""Adapters: what a module holds once for each task, by name, with one of them in use.

A module with adapters has `adapters`, an nn.ModuleDict, and `active`, the name of the one in use or None.
"""

from torch import nn

DEFAULT = "default"  # the one adapter of a model that has no more than one


def adapted_modules(model: nn.Module) -> list[nn.Module]:
    """The submodules that hold adapters."""
    return [
        module for module in model.modules() if isinstance(getattr(module, "adapters", None), nn.ModuleDict)
    ]


def use_adapter(model: nn.Module, name: str | None) -> None:
    """Puts the adapters called `name` to use; a module without that one uses its default, or none at all."""
    for module in adapted_modules(model):
        module.active = next((key for key in (name, DEFAULT) if key in module.adapters), None)
