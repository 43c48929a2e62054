"""Value sets: exact codes, prefixes and ranges, asked of Codings and CodeableConcepts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from adapter.errors import Fault
from adapter.facts.elements import codings, text_of
from adapter.mapping.schema import ValueSetModel, validated
from adapter.mapping.yaml_lines import Document
from adapter.model import Json

_RANGE = re.compile(r"([A-Z]{0,2})(\d{1,9})([A-Z]?)\s*-\s*([A-Z]{0,2})(\d{1,9})([A-Z]?)")
_CODE = re.compile(r"([A-Z]{0,2})(\d{1,9})([A-Z]?)")
_ANY, _NONE = "any", "none"


@dataclass(frozen=True, slots=True)
class Range:
    """Codes of one pattern (letters, digits, letter) between two numbers, both included: CPT 70010-79999."""

    head: str
    tail: str
    first: int
    last: int
    width: int

    def holds(self, code: str) -> bool:
        """Whether a code lies within."""
        found = _CODE.fullmatch(code)
        return (
            found is not None
            and (found[1], found[3]) == (self.head, self.tail)
            and len(found[2]) == self.width
            and self.first <= int(found[2]) <= self.last
        )


@dataclass(frozen=True, slots=True)
class Include:
    """Codes of one system; ``system`` "" is that of codings without one, None any."""

    system: str | None
    codes: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()

    def holds(self, system: str, code: str) -> bool:
        """Whether a code of a system belongs here."""
        return (self.system is None or self.system == system) and self.names(code)

    def names(self, code: str) -> bool:
        """Whether a bare code belongs here: the element that holds it implies its system."""
        return (
            code in self.codes
            or code.startswith(self.prefixes or ("\0",))
            or any(part.holds(code) for part in self.ranges)
        )


@dataclass(frozen=True, slots=True)
class ValueSets:
    """All value sets by name."""

    sets: Mapping[str, tuple[Include, ...]] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.sets

    def __iter__(self) -> Iterator[str]:
        return iter(self.sets)

    def member(self, valueset: str, coding: Json) -> bool:
        """Whether a Coding belongs to a value set; false where there is no such set, or no code."""
        code, system = text_of(coding.get("code")), text_of(coding.get("system"))
        return bool(code) and any(part.holds(system, code) for part in self.sets.get(valueset, ()))

    def member_of(self, items: Iterable[object], valueset: str) -> bool | None:
        """Whether any Coding of Codings, CodeableConcepts or bare codes belongs; None where there is no code."""
        asked = False
        for item in items:
            found = list(codings(item))
            asked = asked or bool(found) or isinstance(item, str)
            if any(self.member(valueset, coding) for coding in found):
                return True
            if isinstance(item, str) and any(part.names(item) for part in self.sets.get(valueset, ())):
                return True
        return False if asked else None


def read_valueset(document: Document) -> tuple[str, tuple[Include, ...], list[Fault]]:
    """A value set from its file: its name, its parts, and every fault."""
    model, faults = validated(ValueSetModel, document)
    if model is None:
        return "", (), faults
    parts = []
    for place, include in enumerate(model.include):
        if not (include.codes or include.prefixes or include.ranges):
            faults.append(document.fault(("include", place), "no codes, prefixes or ranges", "list some"))
        prefixes = [_prefix(text) for text in include.prefixes]
        ranges = [_range(text) for text in include.ranges]
        for number, (text, prefix) in enumerate(zip(include.prefixes, prefixes, strict=True)):
            if not prefix:
                path = ("include", place, "prefixes", number)
                faults.append(document.fault(path, f"'{text}' is no prefix", "write it as C50.*"))
        for number, (text, found) in enumerate(zip(include.ranges, ranges, strict=True)):
            if found is None:
                path = ("include", place, "ranges", number)
                faults.append(document.fault(path, f"'{text}' is no range", "write it as 70010-79999"))
        parts.append(
            Include(
                {_ANY: None, _NONE: ""}.get(include.system, include.system),
                frozenset(str(code) for code in include.codes),
                tuple(prefix for prefix in prefixes if prefix),
                tuple(found for found in ranges if found),
            )
        )
    return model.valueset, tuple(parts), faults


def _prefix(text: str) -> str:
    return text[:-1] if text.endswith("*") and "*" not in text[:-1] and len(text) > 1 else ""


def _range(text: str) -> Range | None:
    found = _RANGE.fullmatch(text.strip())
    if found is None or (found[1], found[3]) != (found[4], found[6]) or len(found[2]) != len(found[5]):
        return None
    first, last = int(found[2]), int(found[5])
    return Range(found[1], found[3], first, last, len(found[2])) if first <= last else None
