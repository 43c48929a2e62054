"""What an expression names: variables, functions, and the elements that it reads, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapter.mapping.fhirpath import model
from adapter.mapping.fhirpath.compile import IN_ITEM, ROOTS, SUBSETS, constant_of
from adapter.mapping.fhirpath.tree import (
    Binary,
    Call,
    Index,
    Member,
    Node,
    Polarity,
    Special,
    TypeTest,
    Variable,
)

Path = tuple[str, tuple[str, ...]]
"""A variable's name ("" is the focus) and the elements that follow it."""

Place = tuple[int, int]

_COMPARING = frozenset({"=", "!=", "~", "!~", "in", "contains"})


@dataclass(slots=True)
class Named:
    """What was found. ``paths`` in order of appearance, each once, with the place of its last name; ``types``
    are those that stand for the focus (``Patient.name``)."""

    variables: dict[str, Place] = field(default_factory=dict)
    functions: dict[str, Place] = field(default_factory=dict)
    paths: dict[Path, Place] = field(default_factory=dict)
    types: dict[str, Place] = field(default_factory=dict)
    raw_reference: Place | None = None


def names_in(tree: Node) -> Named:
    """Everything that an expression names."""
    reader = _Reader()
    reader.read(tree, [("", ())])
    return reader.found


class _Reader:
    """Follows which element each part of the tree stands at; a part may stand at several, or at none known."""

    def __init__(self) -> None:
        self.found = Named()

    def read(self, node: Node, here: list[Path]) -> list[Path]:
        """The paths at which a node's items stand, when ``$this`` stands at ``here``."""
        match node:
            case Variable(name=name):
                return self._variable(node, name)
            case Special(name=name):
                return here if name == "this" else []
            case Member(base=base, name=name):
                return self._member(node, base, name, here)
            case Call():
                return self._call(node, here)
            case Index(base=base, index=index):
                self.read(index, here)
                return self.read(base, here)
            case TypeTest(op=op, operand=operand):
                found = self.read(operand, here)
                return found if op == "as" else []
            case Binary(op=op, left=left, right=right):
                return self._binary(node, op, left, right, here)
            case Polarity(operand=operand):
                self.read(operand, here)
        return []

    def _variable(self, node: Node, name: str) -> list[Path]:
        if name in ROOTS:
            return [("", ())]
        if constant_of(name):
            return []
        self.found.variables.setdefault(name, (node.line, node.column))
        self.found.paths.setdefault((name, ()), (node.line, node.column))
        return [(name, ())]

    def _member(self, node: Node, base: Node | None, name: str, here: list[Path]) -> list[Path]:
        if base is None and name[:1].isupper() and model.known_type(name):
            if ("", ()) in here:
                self.found.types.setdefault(name, (node.line, node.column))
            return here
        above = here if base is None else self.read(base, here)
        found = [(variable, (*names, name)) for variable, names in above]
        for path in found:
            self.found.paths.setdefault(path, (node.line, node.column))
        return found

    def _call(self, node: Call, here: list[Path]) -> list[Path]:
        self.found.functions.setdefault(node.name, (node.line, node.column))
        above = here if node.base is None else self.read(node.base, here)
        if node.name in ("is", "as", "ofType"):
            return above if node.name != "is" else []
        inside = above if node.name in IN_ITEM or (node.name == "iif" and node.base) else here
        found = [self.read(arg, inside) for arg in node.args]
        if node.name == "select":
            return found[0] if found else []
        if node.name == "iif":
            return [path for paths in found[1:] for path in paths]
        if node.name in ("union", "combine"):
            return above + [path for paths in found for path in paths]
        return above if node.name in SUBSETS else []

    def _binary(self, node: Node, op: str, left: Node, right: Node, here: list[Path]) -> list[Path]:
        mine, other = self.read(left, here), self.read(right, here)
        if op in _COMPARING and self.found.raw_reference is None and (_raw(mine) or _raw(other)):
            self.found.raw_reference = (node.line, node.column)
        return mine + other if op == "|" else []


def _raw(paths: list[Path]) -> bool:
    return any(names[-1:] == ("reference",) for _, names in paths)
