"""The syntax tree of an expression: what was written and where, nothing about what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """Any part of an expression. ``line`` and ``column`` count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant: bool, int, Decimal, str, :class:`Moment`, :class:`Quantity`, or None for ``{}``."""

    value: Any


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """``%name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Special(Node):
    """``$this``, ``$index`` or ``$total``; ``name`` is without the sign."""

    name: str


@dataclass(frozen=True, slots=True)
class Member(Node):
    """``base.name``; without a base it starts at the focus."""

    base: Node | None
    name: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """``base.name(args)``; without a base it is called on the focus."""

    base: Node | None
    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Index(Node):
    """``base[index]``."""

    base: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Polarity(Node):
    """``+x`` or ``-x``."""

    sign: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """``left op right``."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class TypeTest(Node):
    """``operand is type`` or ``operand as type``."""

    op: str
    operand: Node
    type: str


def parts(node: Node) -> tuple[Node, ...]:
    """The nodes directly below one."""
    match node:
        case Member(base=base):
            return (base,) if base else ()
        case Call(base=base, args=args):
            return ((base,) if base else ()) + args
        case Index(base=base, index=index):
            return (base, index)
        case Polarity(operand=operand) | TypeTest(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return (left, right)
    return ()


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    for part in parts(node):
        yield from walk(part)
