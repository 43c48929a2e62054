"""What R4 says about its types: elements, choices and parents. From the tables that fhirpathpy brings along.

A *type path* is a type ("Period"), or a place inside one that has no type of its own ("Appointment.participant").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

SYSTEM_TYPES = frozenset(
    {"Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity", "Long"}
)
_TABLES = ("choiceTypePaths", "path2Type", "pathsDefinedElsewhere", "type2Parent")
_ANY = frozenset({"Resource", "DomainResource", "Element", "BackboneElement"})


@lru_cache(maxsize=8)
def _table(name: str) -> Any:
    # Not by the package fhirpathpy.models, whose import reads the tables of all four versions.
    return json.loads((files("fhirpathpy") / "models" / "r4" / f"{name}.json").read_text("utf-8"))


def tables() -> dict[str, Any]:
    """The tables as fhirpathpy takes them for its ``model``."""
    return {name: _table(name) for name in _TABLES}


@lru_cache(maxsize=1)
def _elements() -> Mapping[str, frozenset[str]]:
    """Type path → the names that follow it in the tables, choices as written in JSON."""
    found: dict[str, set[str]] = {}
    for path in (*_table("path2Type"), *_table("pathsDefinedElsewhere")):
        above, _, name = path.rpartition(".")
        while above:
            found.setdefault(above, set()).add(name)
            above, _, name = above.rpartition(".")
    return {path: frozenset(names) for path, names in found.items()}


@lru_cache(maxsize=1)
def choice_keys() -> Mapping[str, frozenset[str]]:
    """Choice element → every name it may bear in JSON: ``onset`` → onsetDateTime, onsetAge …"""
    found: dict[str, set[str]] = {}
    for path, types in _table("choiceTypePaths").items():
        name = path.rpartition(".")[2]
        found.setdefault(name, set()).update(name + type for type in types)
    return {name: frozenset(keys) for name, keys in found.items()}


def known_type(name: str) -> bool:
    """Whether R4 has a type of that name."""
    return name in _table("type2Parent") or name in _elements()


def types() -> frozenset[str]:
    """The names of all R4 types."""
    return frozenset(_table("type2Parent")) | {path for path in _elements() if "." not in path}


@lru_cache(maxsize=4096)
def child(path: str, name: str) -> str | None:
    """The type path of an element; None where the type has no such element (as JSON writes it)."""
    full = f"{path}.{name}"
    full = str(_table("pathsDefinedElsewhere").get(full, full))
    if full in _table("path2Type"):
        found: str = _table("path2Type")[full]
        return "string" if found == "System.String" else found
    if full in _elements():
        return full
    parent = _table("type2Parent").get(path) or ("BackboneElement" if "." in path else None)
    return child(parent, name) if parent else None


@lru_cache(maxsize=4096)
def choices(path: str, name: str) -> Mapping[str, str]:
    """The JSON names of a choice element with their types; empty where it is none."""
    types = _table("choiceTypePaths").get(f"{path}.{name}", ())
    return {name + type: choice_type(type) for type in types}


def choice_type(suffix: str) -> str:
    """The type that a choice's suffix names: ``DateTime`` is dateTime, ``Period`` itself."""
    lower = suffix[:1].lower() + suffix[1:]
    parents = _table("type2Parent")
    return lower if lower in parents and suffix not in parents else suffix


@lru_cache(maxsize=512)
def elements(path: str) -> frozenset[str]:
    """The names that may follow a type path in an expression: elements, and choices without their type."""
    names = set(_elements().get(path, frozenset()))
    for full, types in _table("choiceTypePaths").items():
        above, _, name = full.rpartition(".")
        if above == path:
            names -= {name + type for type in types}
            names.add(name)
    parent = _table("type2Parent").get(path) or ("BackboneElement" if "." in path else None)
    return frozenset(names) | (elements(parent) if parent else frozenset())


@lru_cache(maxsize=4096)
def is_a(path: str, ancestor: str) -> bool:
    """Whether a type is, or descends from, another."""
    while path:
        if path == ancestor:
            return True
        path = _table("type2Parent").get(path, "") or ("BackboneElement" if "." in path else "")
    return False


def open_ended(path: str) -> bool:
    """Types that may be anything, so that nothing can be said against an element of theirs."""
    return path in _ANY
