"""kept_property: a value computed once for each object, in a way that torch.compile can trace."""

from functools import cached_property
from typing import Any, TypeVar

T = TypeVar("T")


class kept_property(cached_property[T]):
    """functools.cached_property without the lock that Python 3.11 has in it, which breaks a graph."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self.attrname] = self.func(instance)
        return value
