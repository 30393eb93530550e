"""Attributes that are computed when they are first used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from bpe.locks import building

T = TypeVar("T")


class lazy_property(Generic[T]):  # named like `property`
    """A property whose value is computed once, by one thread, and then stored in the instance.

    Unlike functools.cached_property, it is safe in a process that is forked while another thread computes the value.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> lazy_property[T]: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> T | lazy_property[T]:
        """Compute and store the value."""
        if instance is None:
            return self
        with building:
            if self.name not in instance.__dict__:
                instance.__dict__[self.name] = self.function(instance)
        value: T = instance.__dict__[self.name]
        return value
