"""Public names of a package that are loaded on first use, so that importing the package loads no torch."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def attach_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns `__getattr__`, `__dir__` and `__all__` (PEP 562) of a package.

    `modules` gives the public names of each submodule. Type checkers read the same names from imports under
    `if TYPE_CHECKING:`; a test compares the two.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get, lambda: sorted(homes), sorted(homes)
