"""Reading elements of JSON that other people wrote: what has the wrong shape is absent, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapter.model import Json

CRD_COVERAGE_INFORMATION = "ext-coverage-information"  # Da Vinci CRD; its canonical's last segment
ERROR = "entered-in-error"


_OBJECTS = frozenset({dict})


def objects(value: Any) -> tuple[Json, ...]:
    """The objects of a repeating element. A lone object counts as a list of one (seen in real basedOn)."""
    kind = type(
        value
    )  # what a parser makes comes first: asking for any Mapping is slow, and asked everywhere
    if kind is list:
        if len(value) == 1 and type(value[0]) is dict:
            return (value[0],)
        if _OBJECTS.issuperset(map(type, value)):
            return tuple(value)
        return tuple([part for part in value if type(part) is dict or isinstance(part, Mapping)])
    if kind is dict:
        return (value,)
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return (value,)
    return tuple(part for part in value if isinstance(part, Mapping)) if isinstance(value, list) else ()


def object_of(value: Any) -> Json:
    """The object, or an empty one."""
    if type(value) is dict:
        return value
    return value if isinstance(value, Mapping) else {}


def text_of(value: Any) -> str:
    """The text, or ""."""
    return value if isinstance(value, str) else ""


def status_of(resource: Json) -> str:
    """The status code, or ""; "unknown" counts as absent."""
    status = resource.get("status")
    return status if type(status) is str and status != "unknown" else ""


def codings(value: Any) -> list[Json]:
    """Every Coding of a Coding, a CodeableConcept, or a list of either."""
    found: list[Json] = []
    for part in objects(value):
        inner = objects(part.get("coding"))
        if inner:
            found.extend(inner)
        elif isinstance(part.get("code"), str):
            found.append(part)
    return found


def coding_key(coding: Json) -> str:
    """ "system|code"; "|code" where no system is given; "" where no code is."""
    code, system = coding.get("code"), coding.get("system")
    if type(code) is not str or not code:
        return ""
    return f"{system}|{code}" if type(system) is str else f"|{code}"


def coding_keys(value: Any) -> frozenset[str]:
    """The keys of every Coding in ``value``."""
    if not value:
        return _NONE
    return frozenset([key for key in map(coding_key, codings(value)) if key])


_NONE: frozenset[str] = frozenset()


def identifiers(value: Any) -> frozenset[str]:
    """ "system|value" of each Identifier. One without a system matches nobody and is left out (F47)."""
    if not value:
        return _NONE
    return frozenset([key for key in map(identifier_key, objects(value)) if key])


def identifier_key(identifier: Json) -> str:
    """ "system|value", or "" where either is missing."""
    system, value = identifier.get("system"), identifier.get("value")
    return f"{system}|{value}" if type(system) is str and type(value) is str and system and value else ""


def coverage_information(resource: Json) -> tuple[Json, ...]:
    """The CRD coverage-information extensions of an order or visit."""
    return tuple(e for e in objects(resource.get("extension")) if is_coverage_information(e))


def is_coverage_information(extension: Json) -> bool:
    """Whether an extension is CRD's; its base differs between versions of the guide, its name does not."""
    return text_of(extension.get("url")).rpartition("/")[2].partition("|")[0] == CRD_COVERAGE_INFORMATION
