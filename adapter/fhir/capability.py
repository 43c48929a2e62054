"""What a server says it can do, read from its CapabilityStatement, and what that means for Baton.

A statement is no entitlement: sign-in and scope may allow less. And what is not declared is taken as not
offered, since a capability that is tried in vain costs a write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from adapter.errors import NotFhir

Json = Mapping[str, Any]

WRITTEN = ("Task", "CarePlan", "Device")

# Which search parameter can hold a moving window, where a type has no _lastUpdated: its own time first.
_WINDOWS: Mapping[str, tuple[str, ...]] = {
    "Appointment": ("date",),
    "CoverageEligibilityResponse": ("created",),
    "DiagnosticReport": ("date", "issued"),
    "DocumentReference": ("date",),
    "Encounter": ("date",),
    "ServiceRequest": ("authored", "occurrence"),
    "Task": ("modified", "authored-on"),
    "CarePlan": ("date",),
}
_CREATES_SILENTLY = ("HAPI FHIR", "Smile CDR")
_PLAIN_NOTE = "When the resource version last changed"  # the standard's own words say nothing of this server
_VERSION = re.compile(r"\d{1,3}(?:\.\d{1,3}){0,2}(?:-[a-z]{1,9}\d{0,3})?")
_R4_BASE = "name the base URL of its R4 endpoint: many servers have one for each version"
_NO_BASE = "is base_url the FHIR root of this server?"
_PERSONS = ("patient", "subject", "beneficiary", "actor", "practitioner", "location")


class WriteRung(StrEnum):
    """How resources of one type can come into the EHR, best first."""

    OWN_ID = "own-id"
    CONDITIONAL = "conditional"
    CREATE_ONLY = "create"
    UPDATE_ONLY = "update-only"
    NONE = "none"


class PollWay(StrEnum):
    """How changes of one type can be found, best first."""

    LAST_UPDATED = "last-updated"
    HISTORY = "history"
    DATE_WINDOW = "date-window"
    ROSTER = "roster"
    NONE = "none"


_RUNG_WORDS = {
    WriteRung.OWN_ID: "can be created under an id of our own, which never doubles, and updated",
    WriteRung.CONDITIONAL: "can be created where none has our identifier, with a look after it, and updated",
    WriteRung.CREATE_ONLY: "can be created after a search for our identifier, and updated",
    WriteRung.UPDATE_ONLY: "cannot be created here, only updated where the EHR has made one itself",
    WriteRung.NONE: "cannot be created and updated here, so Baton does not write it",
}
_WAY_WORDS = {
    PollWay.LAST_UPDATED: "can be polled by last update",
    PollWay.HISTORY: "can be polled by its history",
    PollWay.DATE_WINDOW: "has no search by last update: polled in a moving window of dates, "
    "and what is open is read again",
    PollWay.ROSTER: "can be searched only for one patient, practitioner or location at a time",
    PollWay.NONE: "cannot be searched: only what is known by id can be read",
}


class Capability:
    """A CapabilityStatement, asked instead of searched. Badly formed parts count as absent.

    Raises:
        NotFhir: where the resource is no CapabilityStatement of R4 (4.0.x) or R4B (4.3.x).
    """

    def __init__(self, statement: Json) -> None:
        require_version(statement)
        self.fhir_version = str(statement["fhirVersion"])
        self.software = _software(statement)
        self.formats = tuple(one for one in _list(statement.get("format")) if isinstance(one, str))
        rests = [r for r in _objects(statement.get("rest")) if r.get("mode", "server") == "server"]
        self._common = frozenset(_names(p for rest in rests for p in _objects(rest.get("searchParam"))))
        self._system = frozenset(_codes(i for rest in rests for i in _objects(rest.get("interaction"))))
        self._types: dict[str, list[Json]] = {}
        for rest in rests:
            for resource in _objects(rest.get("resource")):
                self._types.setdefault(str(resource.get("type", "")), []).append(resource)

    @property
    def types(self) -> frozenset[str]:
        """The resource types that the server names."""
        return frozenset(self._types) - {""}

    def supports(self, type: str, interaction: str) -> bool:
        """Whether a type offers an interaction: "read", "search-type", "create", "history-type", …"""
        found = (i for r in self._of(type) for i in _objects(r.get("interaction")))
        return interaction in set(_codes(found))

    def supports_system(self, interaction: str) -> bool:
        """Whether the base offers an interaction: "transaction", "batch", "history-system"."""
        return interaction in self._system

    def search_params(self, type: str) -> frozenset[str]:
        """The names of a type's search parameters, with those that hold for all types."""
        if type not in self._types:
            return frozenset()
        return self._common | frozenset(
            _names(p for r in self._of(type) for p in _objects(r.get("searchParam")))
        )

    def search_note(self, type: str, parameter: str) -> str:
        """What the server writes about a parameter; US Core has it say there what _lastUpdated sees."""
        for resource in self._of(type):
            for one in _objects(resource.get("searchParam")):
                if one.get("name") == parameter and isinstance(one.get("documentation"), str):
                    return " ".join(one["documentation"].split())
        return ""

    def update_create(self, type: str) -> bool:
        """Whether a PUT to an id that does not exist creates it.

        HAPI does so and does not say it (8.8.0 leaves updateCreate out), so there silence counts as yes.
        """
        said = self._said(type, "updateCreate")
        silent_yes = not said and self.software.startswith(_CREATES_SILENTLY)
        return (any(said) or silent_yes) and self.supports(type, "update")

    def conditional_create(self, type: str) -> bool:
        """Whether a create can be bound to If-None-Exist."""
        return any(self._said(type, "conditionalCreate")) and self.supports(type, "create")

    def read_history(self, type: str) -> bool:
        """Whether older versions can be read."""
        return any(self._said(type, "readHistory")) or self.supports(type, "vread")

    def supported_profiles(self, type: str) -> frozenset[str]:
        """The canonical URLs of profiles that the server lists for a type."""
        said = [one for r in self._of(type) for one in (*_list(r.get("supportedProfile")), r.get("profile"))]
        return frozenset(one for one in said if isinstance(one, str))

    def write_rung(self, type: str) -> WriteRung:
        """The best way by which a resource of a type can be written."""
        if not self.supports(type, "update"):
            return WriteRung.NONE
        if self.update_create(type):
            return WriteRung.OWN_ID
        if self.conditional_create(type):
            return WriteRung.CONDITIONAL
        return WriteRung.CREATE_ONLY if self.supports(type, "create") else WriteRung.UPDATE_ONLY

    def poll_way(self, type: str) -> PollWay:
        """The best way by which a type's changes can be found."""
        if self.supports(type, "search-type"):
            params = self.search_params(type)
            if "_lastUpdated" in params:
                return PollWay.LAST_UPDATED
            if self.supports(type, "history-type"):
                return PollWay.HISTORY
            if params.intersection(_WINDOWS.get(type, ())):
                return PollWay.DATE_WINDOW
            return PollWay.ROSTER if params.intersection(_PERSONS) else PollWay.NONE
        return PollWay.HISTORY if self.supports(type, "history-type") else PollWay.NONE

    def explain(self, types: Iterable[str]) -> list[str]:
        """One finding, in plain words, for each thing a person should know before going live."""
        findings = [finding for type in types for finding in self._explain(type)]
        if self.formats and not any("json" in one for one in self.formats):
            findings.append("the server does not say that it speaks JSON")
        return findings

    def _explain(self, type: str) -> Iterator[str]:
        if type not in self._types:
            yield f"{type}: not offered by this server"
            return
        if type in WRITTEN:
            yield f"{type}: {_RUNG_WORDS[self.write_rung(type)]}"
        way = self.poll_way(type)
        yield f"{type}: {_WAY_WORDS[way]}"
        if not self.supports(type, "read"):
            yield f"{type}: cannot be read by id, so a deletion cannot be confirmed"
        note = self.search_note(type, "_lastUpdated") if way is PollWay.LAST_UPDATED else ""
        if note and note != _PLAIN_NOTE:
            yield f"{type}: the server says of its last update: {note[:300]}"

    def _of(self, type: str) -> list[Json]:
        return self._types.get(type, [])

    def _said(self, type: str, name: str) -> list[bool]:
        values = (resource.get(name) for resource in self._of(type))
        return [value for value in values if isinstance(value, bool)]


def require_version(statement: Json) -> None:
    """Refuse what is no CapabilityStatement of R4 or R4B.

    Raises:
        NotFhir: with the version that it names instead.
    """
    kind, version = statement.get("resourceType"), statement.get("fhirVersion")
    if kind == "Conformance":  # what DSTU2 called it
        raise NotFhir("the server speaks FHIR DSTU2; Baton needs R4 (4.0) or R4B (4.3)", remedy=_R4_BASE)
    if kind != "CapabilityStatement":
        raise NotFhir("the server's metadata is no CapabilityStatement", remedy=_NO_BASE)
    if not isinstance(version, str) or not version:
        raise NotFhir("the server's CapabilityStatement names no FHIR version", remedy=_NO_BASE)
    if version.split(".")[:2] not in (["4", "0"], ["4", "3"]):
        said = version if _VERSION.fullmatch(version) else "of another version"
        raise NotFhir(f"the server speaks FHIR {said}; Baton needs R4 (4.0) or R4B (4.3)", remedy=_R4_BASE)


def _software(statement: Json) -> str:
    software = statement.get("software")
    parts = [software.get("name"), software.get("version")] if isinstance(software, Mapping) else []
    return " ".join(part for part in parts if isinstance(part, str))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: Any) -> Iterator[Json]:
    return (one for one in _list(value) if isinstance(one, Mapping))


def _codes(found: Iterable[Json]) -> Iterator[str]:
    return (one["code"] for one in found if isinstance(one.get("code"), str))


def _names(found: Iterable[Json]) -> Iterator[str]:
    return (one["name"] for one in found if isinstance(one.get("name"), str))
