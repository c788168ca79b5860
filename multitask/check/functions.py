"""Calls the functions of a user's file by name and returns their results as arrays."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minbert.check import AbsentFunction, InvalidOutput


class Functions:
    """Functions by name: a module's own, or ours under the names of the kit."""

    def __init__(self, functions: Mapping[str, Any]):
        self.functions = functions

    def __getitem__(self, name: str) -> Callable:
        """Raises AbsentFunction if the name is missing or not a function."""
        function = self.functions.get(name)
        if not callable(function):
            raise AbsentFunction(f"there is no function {name}")
        return function

    def call(self, name: str, *arguments: Any) -> np.ndarray:
        """Returns a function's number or tensor in fp64. Raises InvalidOutput for anything else."""
        result = self[name](*arguments)
        if hasattr(result, "detach"):
            result = result.detach().double().numpy()
        try:
            return np.asarray(result).astype(np.float64, casting="same_kind")
        except (TypeError, ValueError):
            kind = "None" if result is None else f"a {type(result).__name__}"
            raise InvalidOutput(f"{name} returned {kind}; it has to be one number") from None
