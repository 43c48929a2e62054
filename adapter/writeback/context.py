"""What rendering needs beside a row, and how it names other resources: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

from adapter.model import Json
from adapter.references import NO_BASES, Bases, parse_reference
from adapter.writeback import codes


@dataclass(frozen=True, slots=True)
class RenderContext:
    """What rendering needs beside the row.

    ``roles`` maps a role to the "Type/id" of who that is at this source; ``refused`` are references that the
    server cannot resolve: they become logical. ``identifiers`` gives the identifier that a logical reference
    carries, by ref. ``plan_identifier`` is the value of the care plan's identifier. ``tags`` and ``security``
    are codings beside Baton's own (a test label, the evidence's confidentiality). ``keep`` names elements
    that an update leaves as they were read although they are Baton's.
    """

    namespace: str
    source_key: str
    now: datetime
    device: str = ""
    zone: tzinfo = UTC
    roles: Mapping[str, str] = field(default_factory=dict)
    references: str = "literal"
    refused: frozenset[str] = frozenset()
    plan_identifier: str = ""
    tags: tuple[Json, ...] = ()
    security: tuple[Json, ...] = ()
    identifiers: Mapping[str, Json] = field(default_factory=dict)
    bases: Bases = NO_BASES
    contact: str = ""
    keep: frozenset[str] = frozenset()


def reference(ref: str, ctx: RenderContext, **more: str) -> dict[str, Any]:
    """A Reference to "Type/id", or the logical form of it where the source wants that or refused the literal
    one.

    A logical one carries the resource's identifier, else "Type/id" under a system of Baton's, so that a
    person and Baton can still tell what is meant.
    """
    if ctx.references != "logical" and ref not in ctx.refused:
        return {"reference": ref, **more}
    kind, _, id = ref.partition("/")
    known = ctx.identifiers.get(ref)
    identifier = dict(known) if known else {"system": codes.REFERENCES, "value": ref}
    return {"type": kind, "identifier": identifier, "display": more.get("display") or f"{kind} {id}"}


def meaning_of(element: Any, bases: Bases = NO_BASES) -> str:
    """The "Type/id" that a reference of Baton's means, literal or logical; "" where it cannot be told."""
    found = parse_reference(element, bases)
    return found.local or found.identifier.removeprefix(f"{codes.REFERENCES}|").partition("|")[0]


def bare(ref: str) -> str:
    """A reference without the version that evidence carries ("Appointment/4@3")."""
    return ref.partition("@")[0]
