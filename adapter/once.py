"""A property that is worked out once: what a look asks of a chart many times, and a lock of its own would slow down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

_T = TypeVar("_T")


class once(Generic[_T]):
    """As ``functools.cached_property``, which takes a lock for each first answer; for objects of one thread."""

    def __init__(self, ask: Callable[[Any], _T]) -> None:
        self._ask = ask
        self.__doc__ = ask.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once[_T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> _T: ...
    def __get__(self, instance: object | None, owner: type) -> once[_T] | _T:
        if instance is None:
            return self
        told = instance.__dict__[self._name] = self._ask(instance)
        return told
