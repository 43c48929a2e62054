"""``is``, ``as``, ``ofType`` and ``type()``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from adapter.mapping.fhirpath import model
from adapter.mapping.fhirpath.faults import EvaluationError, ExpressionError
from adapter.mapping.fhirpath.navigation import path_of
from adapter.mapping.fhirpath.tree import Member, Node
from adapter.mapping.fhirpath.values import Run, Typed, type_name


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as an expression names it. ``namespace`` is "" where it was not said."""

    namespace: str
    name: str

    def fits(self, item: Any, run: Run) -> bool:
        """Whether an item is of this type or of one that descends from it."""
        path = path_of(item)
        if path is not None:
            return self.namespace != "System" and model.is_a(path, self.name)
        if isinstance(item, Mapping) and not run.standard:
            raise EvaluationError("the record of a fact has no FHIR type")
        return self.namespace != "FHIR" and type_name(item) == self.name

    def exactly(self, item: Any, run: Run) -> bool:
        """As :meth:`fits`, but a primitive has to be of the very type: a code is not taken for a string."""
        if type(item) is Typed and self.name[:1].islower():
            return self.namespace != "System" and item.type == self.name
        return self.fits(item, run)


def type_named(text: str, node: Node) -> TypeName:
    """The type that a specifier means.

    Raises:
        ExpressionError: where neither R4 nor FHIRPath has it.
    """
    namespace, _, name = text.rpartition(".")
    if namespace not in ("", "FHIR", "System"):
        raise ExpressionError(f"no namespace {namespace!r}", node.line, node.column, "FHIR or System")
    if namespace == "System" or (not namespace and name in model.SYSTEM_TYPES):
        return TypeName("" if name == "Quantity" and not namespace else "System", name)
    if model.known_type(name):
        return TypeName("FHIR", name)
    near = get_close_matches(name, model.types() | model.SYSTEM_TYPES, 1)
    remedy = f"perhaps {near[0]}" if near else ""
    raise ExpressionError(f"R4 has no type {name!r}", node.line, node.column, remedy)


def specifier(node: Node) -> str:
    """The type specifier that an argument is: ``Quantity``, ``FHIR.Patient``.

    Raises:
        ExpressionError: where it is anything else.
    """
    if isinstance(node, Member):
        if node.base is None:
            return node.name
        if isinstance(node.base, Member) and node.base.base is None:
            return f"{node.base.name}.{node.name}"
    raise ExpressionError("a type's name is wanted here", node.line, node.column)


def info(item: Any) -> dict[str, str]:
    """What ``type()`` says of an item."""
    space = "System" if path_of(item) is None and not isinstance(item, Mapping) else "FHIR"
    return {"namespace": space, "name": type_name(item)}
