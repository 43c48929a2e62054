"""What is worked out once: a property that a look asks of a chart many times, and values that many looks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

_T = TypeVar("_T")
_K = TypeVar("_K")


def remember(held: dict[_K, _T], key: _K, value: _T, most: int) -> _T:
    """Keep a value that was worked out, and give it back; where ``most`` are held already, all begin anew."""
    if len(held) >= most:
        held.clear()
    held[key] = value
    return value


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
