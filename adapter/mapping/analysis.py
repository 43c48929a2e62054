"""What an expression names, read off its syntax tree: elements of the focus, facts, functions, and what is wrong.

FHIRPath itself forgives everything: a misspelt element is silently empty. Here the type of every step is followed
as far as it can be known, so that a slip is a fault at load and not a rule that never speaks.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from adapter.facts.facts import FACT_TYPE_OF_FOCUS, FACT_TYPES
from adapter.mapping.fhirpath.model import child, choices, known_type
from adapter.mapping.fhirpath.parse import parse
from adapter.mapping.fhirpath.quantity import Quantity
from adapter.mapping.fhirpath.tree import (
    Binary,
    Call,
    Index,
    Literal,
    Member,
    Node,
    Polarity,
    Special,
    TypeTest,
    Variable,
    walk,
)

TIME = "dateTime"
_VISIT = {"start": TIME, "end": TIME}
RECORDS: Mapping[str, Mapping[str, str]] = {
    "visits": _VISIT,
    "coming": _VISIT,
    "took_place": _VISIT,
    "later": _VISIT,
    "orders": {"authored": TIME},
    "results": {"issued": TIME},
    "documents": {"date": TIME},
    "contacts": {"start": TIME, "sent": TIME},
    "answer": {"inforce": "boolean", "created": TIME},
    "attempt": {"outcome": "code", "created": TIME},
    "benefits": {"says": "code", "created": TIME, "coverage": "string"},
    "practitioner": {},
}
"""The fields of each fact's records, beside those that all have."""

_EVERY_RECORD = {"ref": "string", "status": "code", "changed": TIME}
_RESOURCE_FACTS = {"patient": "Patient", "coverage": "Coverage"}
CLOCK_FUNCTIONS = frozenset({"now", "today", "timeOfDay"})
_SAME_TYPE = frozenset(
    {
        "where",
        "first",
        "last",
        "tail",
        "skip",
        "take",
        "distinct",
        "single",
        "trace",
        "union",
        "combine",
        "intersect",
        "exclude",
        "repeat",
    }
)
_STANDARD_VARIABLES = frozenset({"context", "ucum", "sct", "loinc"})


@dataclass(frozen=True, slots=True)
class Slip:
    """One thing wrong in an expression; line and column count from 1 within it."""

    message: str
    remedy: str
    line: int
    column: int


@dataclass(slots=True)
class Usage:
    """What an expression names."""

    text: str
    elements: set[str] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    valuesets: dict[str, Node] = field(default_factory=dict)
    others: dict[str, set[str]] = field(default_factory=dict)
    slips: list[Slip] = field(default_factory=list)
    shifts_time: bool = False


def analyse(text: str, focus: str, parameters: Iterable[str]) -> Usage:
    """What an expression about a focus of a type names. It must parse."""
    usage = Usage(text)
    tree = parse(text)
    _Walk(focus, frozenset(parameters), usage).type_of(tree, focus, top=True)
    for node in walk(tree):
        _note(node, usage)
    return usage


class _Walk:
    """Follows types through a tree. A type is a type path, "@fact" for records, "" where it is not known."""

    def __init__(self, focus: str, parameters: frozenset[str], usage: Usage) -> None:
        self.focus = focus
        self.parameters = parameters
        self.usage = usage

    def type_of(self, node: Node, this: str, *, top: bool) -> str:
        """The type that a node yields. ``top``: names without a base start at the focus."""
        match node:
            case Variable(name=name):
                return self._variable(node, name)
            case Special(name="this"):
                return this
            case Member(base=None, name=name):
                return self._start(node, name, this, top)
            case Member(base=Node() as base, name=name):
                return self._member(node, self.type_of(base, this, top=top), name, base)
            case Call():
                return self._call(node, this, top)
            case Index(base=base, index=index):
                self.type_of(index, this, top=top)
                return self.type_of(base, this, top=top)
            case Polarity(operand=operand):
                return self.type_of(operand, this, top=top)
            case TypeTest(op=op, operand=operand, type=type):
                self.type_of(operand, this, top=top)
                return type.rpartition(".")[2] if op == "as" else "boolean"
            case Binary(left=left, right=right):
                self.type_of(left, this, top=top)
                self.type_of(right, this, top=top)
        return ""

    def _variable(self, node: Node, name: str) -> str:
        self.usage.variables.add(name)
        if name == "resource":
            return self.focus
        if name in _RESOURCE_FACTS:
            return _RESOURCE_FACTS[name]
        if name in RECORDS:
            fits = FACT_TYPE_OF_FOCUS.get(name)
            if fits is not None and self.focus not in fits:
                said = f"%{name} says nothing about a focus of type {self.focus}"
                self._slip(node, said, f"it fits {', '.join(sorted(fits))}")
            return f"@{name}"
        return TIME if name in FACT_TYPES else ""

    def _start(self, node: Node, name: str, this: str, top: bool) -> str:
        if not top:
            return self._member(node, this, name, None)
        if name == self.focus:
            return self.focus
        return self._element(node, self.focus, name)

    def _member(self, node: Node, above: str, name: str, base: Node | None) -> str:
        if above.startswith("@"):
            fields = {**_EVERY_RECORD, **RECORDS[above[1:]]}
            if name not in fields:
                said = f"records of %{above[1:]} have no '{name}'"
                self._slip(node, said, _suggest(name, fields))
            return fields.get(name, "")
        if isinstance(base, Variable) and base.name in _RESOURCE_FACTS and name in ("ref", "changed"):
            return _EVERY_RECORD[name]
        return self._element(node, above, name) if above else ""

    def _element(self, node: Node, path: str, name: str) -> str:
        if not path or not (path.split(".")[0] in ("BackboneElement",) or known_type(path.split(".")[0])):
            return ""
        if path == self.focus:
            self.usage.elements.add(name)
        elif path in _RESOURCE_FACTS.values():
            self.usage.others.setdefault(path, set()).add(name)
        if path == "boolean" or name in ("resourceType",):
            return ""
        chosen = choices(path, name)
        if chosen:
            return next(iter(chosen.values())) if len(chosen) == 1 else ""
        found = child(path, name)
        if found is None or _is_choice_key(path, name):
            self._slip(node, f"{path} has no element '{name}'", _suggest_element(path, name))
        return found or ""

    def _call(self, node: Call, this: str, top: bool) -> str:
        above = self.type_of(node.base, this, top=top) if node.base else (self.focus if top else this)
        self.usage.functions.add(node.name)
        if node.name in ("ofType", "as", "is"):
            named = node.args[0] if node.args else None
            return named.name if isinstance(named, Member) else ""
        inner = {"where", "exists", "all", "select", "repeat", "iif", "any", "trace"}
        results = [
            self.type_of(arg, above or "?", top=top and not (node.base and node.name in inner))
            for arg in node.args
        ]
        if node.name in _SAME_TYPE:
            return above
        return results[0] if node.name == "select" and results else ""

    def _slip(self, node: Node, message: str, remedy: str) -> None:
        self.usage.slips.append(Slip(message, remedy, node.line, node.column))


def _is_choice_key(path: str, name: str) -> bool:
    """Whether a name is a choice as JSON writes it: occurrencePeriod. FHIRPath says occurrence."""
    ends = [place for place, letter in enumerate(name) if letter.isupper()]
    return any(name in choices(path, name[:end]) for end in ends)


def _suggest_element(path: str, name: str) -> str:
    ends = [place for place, letter in enumerate(name) if letter.isupper()]
    stem = next((name[:end] for end in ends if name in choices(path, name[:end])), "")
    return f"write '{stem}'" if stem else "compare with the R4 page of the type; case counts"


def _suggest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(names)}"


def _note(node: Node, usage: Usage) -> None:
    if isinstance(node, Call):
        _note_call(node, usage)
    if isinstance(node, Binary):
        if (
            node.op in ("+", "-")
            and isinstance(node.right, Literal)
            and isinstance(node.right.value, Quantity)
        ):
            usage.shifts_time = True
        if node.op in ("=", "!=", "~", "!~", "in", "contains"):
            _note_comparison(node, usage)


def _note_call(node: Call, usage: Usage) -> None:
    if node.name in CLOCK_FUNCTIONS:
        remedy = "say time in opens, due, ends or escalate, or ask %coming"
        usage.slips.append(Slip(f"{node.name}() is not allowed in rules", remedy, node.line, node.column))
    if node.name == "memberOf" and node.args:
        named = node.args[0]
        if isinstance(named, Literal) and isinstance(named.value, str):
            usage.valuesets[named.value] = named
        else:
            slip = Slip("a value set is named by a text", "write memberOf('name')", named.line, named.column)
            usage.slips.append(slip)
    if node.name == "marked" and not all(
        isinstance(arg, Literal) and isinstance(arg.value, str) for arg in node.args
    ):
        remedy = "write marked('task-code', 'value')"
        usage.slips.append(Slip("marked wants two texts", remedy, node.line, node.column))


def _note_comparison(node: Binary, usage: Usage) -> None:
    for side in (node.left, node.right):
        if isinstance(side, Member) and side.name == "reference":
            said = "references are not compared as texts: absolute, versioned and logical ones would miss"
            usage.slips.append(Slip(said, "use a fact: its records have ref", side.line, side.column))


def variables_for(parameters: Iterable[str]) -> frozenset[str]:
    """The names that expressions may use as variables."""
    return frozenset({"resource", "ref", *FACT_TYPES, *parameters}) | _STANDARD_VARIABLES
