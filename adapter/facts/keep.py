"""What Baton keeps of a resource: the elements that rules and facts name, and nothing that it does not need.

The gate is wide: a strict model would refuse four in ten real eligibility responses. Refused is only
what Baton cannot use at all (:data:`REASONS`). References stay as received: :mod:`adapter.facts.links`
parses them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from adapter.errors import BatonError
from adapter.facts.elements import (
    ERROR,
    identifiers,
    is_coverage_information,
    object_of,
    objects,
    text_of,
)
from adapter.facts.history import NO_TRACE, Trace, trace_of
from adapter.facts.times import parse_stamp
from adapter.fhirjson import canonical, digest
from adapter.model import Json, SnapshotState
from adapter.references import Bases, parse_reference, patient_elements, patients_of, references_in


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


EXTRACTOR = 4  # raise it when keeping or reading of references changes: rows kept before are read again (F9)

REASONS: Mapping[str, str] = {
    "not-a-resource": "it is no JSON object with a resourceType",
    "too-deep": "it is nested too deeply, or holds text that cannot be stored",
    "wrong-type": "it is of another type than the one asked for",
    "no-id": "it has no id, or one that no FHIR server can have",
    "no-status": "its status is missing or is no code",
    "no-patient": "it names no patient, and its type needs one",
    "patient-elsewhere": "its patient is on another server or in a bundle",
    "patient-by-identifier": "its patient is named by an identifier only, and nobody known bears it",
    "patient-by-identifier-of-several": "its patient is named by an identifier that several Patients bear",
    "patient-contained": "its patient is contained in it and has no address",
    "patient-unaddressed": "its patient is named by a text only",
}

BASE_ELEMENTS: Mapping[str, frozenset[str]] = {
    "Appointment": _names(
        "status start end created serviceType participant basedOn supportingInformation reasonReference "
        "identifier cancelationReason cancellationReason"
    ),
    "ServiceRequest": _names(
        "status intent priority doNotPerform category code subject encounter authoredOn occurrence basedOn "
        "replaces requisition identifier insurance"
    ),
    "CoverageEligibilityResponse": _names("status patient created request outcome insurance preAuthRef"),
    "Encounter": _names("status class subject period basedOn appointment serviceType identifier"),
    "Coverage": _names(
        "status beneficiary period identifier subscriberId payor type relationship order dependent"
    ),
    "DiagnosticReport": _names("status issued effective basedOn encounter subject code category identifier"),
    "DocumentReference": _names("status docStatus date context subject type category identifier"),
    "Communication": _names("status sent received encounter subject basedOn about identifier"),
    "Patient": _names("active deceased link birthDate"),
    "Task": _names("status code focus for basedOn identifier businessStatus lastModified"),
}
BASE_EDITION = digest([EXTRACTOR, sorted((t, sorted(names)) for t, names in BASE_ELEMENTS.items())])[:8]
_CONTAINED_COVERAGE = BASE_ELEMENTS["Coverage"]
_NEVER: Mapping[str, frozenset[str]] = {
    "Patient": frozenset({"name", "telecom", "address", "photo", "contact", "text", "contained"}),
}
_NEEDS_STATUS = frozenset(
    {
        "Appointment",
        "ServiceRequest",
        "CoverageEligibilityResponse",
        "Encounter",
        "DiagnosticReport",
        "DocumentReference",
        "Task",
    }
)
_NEEDS_PATIENT = frozenset(
    {
        "ServiceRequest",
        "CoverageEligibilityResponse",
        "Coverage",
        "Encounter",
        "DiagnosticReport",
        "DocumentReference",
        "Communication",
    }
)
_OVER = frozenset({"completed", "revoked"})
_EXTENDED = frozenset({"Appointment", "ServiceRequest"})  # where CRD's extension is read
_CODE = re.compile(r"[^\s]+( [^\s]+)*")
_ID = re.compile(r"[A-Za-z0-9\-._]{1,128}")  # servers give out ids of 88 characters; the 64 of R4 do not hold
_TYPE = re.compile(r"[A-Z][A-Za-z]*")


class Unreadable(BatonError):
    """Baton cannot use this resource. ``reason`` is one of :data:`REASONS`, ``place`` an element path.

    Both are safe to print.
    """

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(f"{reason} at {place}" if place else reason)
        self.reason = reason
        self.place = place


class PatientByIdentifier(Unreadable):
    """Its patient is named by an identifier, so that only who knows the Patients can tell whose it is (F47).

    ``kept`` is what to store once that is known; its ``named`` says by which identifiers.
    """

    def __init__(self, reason: str, place: str, kept: Kept) -> None:
        super().__init__(reason, place)
        self.kept = kept


class Kept(NamedTuple):
    """A resource as it is stored.

    ``digest`` is over the whole as received; ``kept_digest``, which wakes, over the kept elements
    without ``meta`` and narrative (F44).
    """

    type: str
    id: str
    version: str | None
    last_updated: datetime | None
    state: SnapshotState
    body: Json
    digest: str
    kept_digest: str
    patients: tuple[str, ...]
    edition: str = ""
    packed: bytes = b""
    """``body`` as JSON, where the digest needed it written anyway; b"" where it did not."""
    named: tuple[frozenset[str], ...] = ()
    """Where no patient is named otherwise: the identifiers ("system|value") of each."""
    identifiers: frozenset[str] = frozenset()
    """Of a Patient: its own."""
    trace: Trace = NO_TRACE


class Keeper:
    """Trims resources to ``elements`` (what rules name at the top of their focus) and what facts need.

    ``full_types`` are kept whole: Baton's own Tasks always, every type where a source says ``store: full``.
    ``edition`` changes with the elements, the extractor and the URLs taken as our own.
    """

    def __init__(
        self,
        elements: Mapping[str, frozenset[str]],
        *,
        full_types: frozenset[str] = frozenset(),
        bases: Bases,
    ) -> None:
        self._named = elements
        self._full = full_types
        self._bases = bases
        self._elements = {
            type: (BASE_ELEMENTS.get(type, frozenset()) | elements.get(type, frozenset()))
            - _NEVER.get(type, frozenset())
            for type in {*BASE_ELEMENTS, *elements}
        }
        self._editions = {type: self._edition(type) for type in self._elements}
        self._ways: dict[str, dict[str, str]] = {}
        whole = [sorted(full_types), sorted(bases.urls), sorted(self._editions.items())]
        self.edition = f"{BASE_EDITION}.{digest(whole)[:12]}"

    def elements_by_edition(self) -> dict[str, frozenset[str]]:
        """What is kept of each type, by the edition that says so: for rows that wait to be read again (F9)."""
        return {edition: self._elements[type] for type, edition in self._editions.items()}

    def edition_of(self, type: str) -> str:
        """The edition of one type alone: it stays where only other types' elements change."""
        return self._editions.get(type) or self._edition(type)

    def keep(self, resource: Any, raw: bytes = b"", *, type: str = "") -> Kept:
        """What is stored of a resource; ``type`` is the one that was asked for, where one was.

        Raises:
            Unreadable: where Baton cannot use it.
            PatientByIdentifier: where it can, as soon as somebody knows whom an identifier means.
        """
        found, id = _named_type(resource, type), _id(resource)
        try:
            return self._kept(resource, raw, found, id)
        except (RecursionError, OverflowError, UnicodeError):
            raise Unreadable("too-deep") from None

    def _kept(self, resource: Json, raw: bytes, found: str, id: str) -> Kept:
        state = SnapshotState.ERROR if resource.get("status") == ERROR else SnapshotState.LIVE
        _check_status(resource, found)
        patients = patients_of(resource, self._bases)
        named = () if patients else self._named_patients(resource, found)
        if not (patients or named) and state is SnapshotState.LIVE:
            self._check_patient(resource, found)
        body = self._body(resource, found)
        counted = self._counted(body, found)
        written = canonical(counted)
        meta = object_of(resource.get("meta"))
        kept = Kept(
            found,
            id,
            text_of(meta.get("versionId")) or None,
            parse_stamp(meta.get("lastUpdated")),
            state,
            body,
            digest(raw or resource),
            digest(written),
            patients,
            self.edition,
            written if counted is body else b"",
            named,
            identifiers(resource.get("identifier")) if found == "Patient" else frozenset(),
            trace_of(found, body, self._bases),
        )
        if named and state is SnapshotState.LIVE:
            self._check_patient(resource, found, kept)
        return kept

    def _named_patients(self, resource: Json, type: str) -> tuple[frozenset[str], ...]:
        """The identifiers of each patient that is named by identifiers, or is contained and has some."""
        if type != "Appointment" and type not in _NEEDS_PATIENT:
            return ()
        found = [self._identifiers(resource, element, type) for element in patient_elements(resource)]
        return tuple(dict.fromkeys(some for some in found if some))

    def _identifiers(self, resource: Json, element: Any, type: str) -> frozenset[str]:
        said = parse_reference(element, self._bases)
        if said.contained:
            inner = _contained(resource, said.contained)
            is_patient = inner.get("resourceType") == "Patient"
            return identifiers(inner.get("identifier")) if is_patient else frozenset()
        # An actor may be anybody; a subject whose type is not told is a patient, or nobody's identifier.
        may_be = said.type == "Patient" or (not said.type and type != "Appointment")
        is_logical = said.identifier and not (said.local or said.foreign or said.urn)
        return frozenset({said.identifier}) if may_be and is_logical else frozenset()

    def _body(self, resource: Json, type: str) -> Json:
        return resource if type in self._full else self._trimmed(resource, type)

    def _counted(self, body: Json, type: str) -> Json:
        """Of what a full store keeps, the part that counts; of our own Tasks all but the narrative."""
        counted = self._trimmed(body, type) if type in self._full and type != "Task" else body
        if "meta" not in counted and "text" not in counted:
            return counted
        return {key: value for key, value in counted.items() if key not in ("meta", "text")}

    def _trimmed(self, resource: Json, type: str) -> dict[str, Any]:
        ways = self._ways.setdefault(type, {})
        body: dict[str, Any] = {}
        for key, value in resource.items():
            way = ways.get(key) or self._way(type, key)
            if way is _NAMELESS:
                body[key] = _without_display(value, key) if key != "insurance" else _insurances(value)
            elif way is _WHOLE:
                body[key] = value
        body["resourceType"], body["id"] = type, resource["id"]
        labels = _labels(resource.get("meta"))
        if labels:
            body["meta"] = labels
        self._add_special(body, resource, type)
        return body

    def _way(self, type: str, key: str) -> str:
        """How a member of a type is kept, remembered: every resource of a type has the same few members."""
        wanted = self._elements.get(type, frozenset({"status"}))
        kept = _is_element(key, wanted)
        way = (
            (_WHOLE if _is_element(key, self._named.get(type, frozenset())) else _NAMELESS) if kept else _LEFT
        )
        ways = self._ways.setdefault(type, {})
        if len(ways) < _MOST_MEMBERS:  # a bound for nonsense
            ways[key] = way
        return way

    def _add_special(self, body: dict[str, Any], resource: Json, type: str) -> None:
        if type in _EXTENDED and "extension" not in body:
            told = [e for e in objects(resource.get("extension")) if is_coverage_information(e)]
            body.update({"extension": _without_display(told)} if told else {})
        if type == "CoverageEligibilityResponse" and "contained" not in body:
            coverages = _contained_coverages(resource)
            body.update({"contained": coverages} if coverages else {})

    def _edition(self, type: str) -> str:
        elements = sorted(self._elements.get(type, frozenset({"status"})))
        named = sorted(self._named.get(type, frozenset()))
        parts = [elements, named, type in self._full, sorted(self._bases.urls)]
        return f"{BASE_EDITION}.{digest(parts)[:12]}"

    def _check_patient(self, resource: Json, type: str, kept: Kept | None = None) -> None:
        """Refuse what names no patient of ours; ``kept`` is given where it names one by identifiers."""
        elements = [element for element in patient_elements(resource) if element]
        if type == "Appointment":
            reason = self._unaddressed_visitor(resource, elements)
        elif type in _NEEDS_PATIENT:
            reason = self._why_no_patient(resource, elements)
        else:
            return
        if reason == "patient-unaddressed" and type == "ServiceRequest" and resource.get("status") in _OVER:
            return  # kept, and nobody's: there is nothing left that a person would do about it
        if reason:
            place = f"{type}.{'participant' if type == 'Appointment' else 'subject'}"
            raise PatientByIdentifier(reason, place, kept) if kept else Unreadable(reason, place)

    def _why_no_patient(self, resource: Json, elements: list[Any]) -> str:
        if not any(isinstance(element, Mapping) for element in elements):
            return "no-patient"
        reasons = [self._unaddressed(resource, element) for element in elements]
        return next((reason for reason in reasons if reason), "")

    def _unaddressed(self, resource: Json, element: Any) -> str:
        """Why one Reference leads to no Patient of ours; "" where it leads to something else by right."""
        said = parse_reference(element, self._bases)
        if said.type and said.type != "Patient":
            return ""  # an order for a group or a place: kept, and nobody's
        if said.contained:
            inner = _contained(resource, said.contained)
            return "patient-contained" if inner.get("resourceType", "Patient") == "Patient" else ""
        if said.foreign or said.urn:
            return "patient-elsewhere"
        return "patient-by-identifier" if said.identifier else "patient-unaddressed"

    def _unaddressed_visitor(self, visit: Json, actors: list[Any]) -> str:
        """An Appointment may be nobody's (a block, a meeting); one that names a patient may not."""
        for actor in actors:
            reason = self._unaddressed(visit, actor)
            patient = parse_reference(actor, self._bases).type == "Patient"
            if reason in ("patient-elsewhere", "patient-contained") or (reason and patient):
                return reason
        return ""


_WHOLE, _NAMELESS, _LEFT = "whole", "without displays", "left out"
_MOST_MEMBERS = 1000


def _named_type(resource: Any, asked: str) -> str:
    found = object_of(resource).get("resourceType")
    if not isinstance(found, str) or not (found in BASE_ELEMENTS or _TYPE.fullmatch(found)):
        raise Unreadable("not-a-resource", "resourceType")
    if asked and found != asked:
        raise Unreadable("wrong-type", "resourceType")
    return found


def _id(resource: Json) -> str:
    id = resource.get("id")
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise Unreadable("no-id", "id")
    return id


def _check_status(resource: Json, type: str) -> None:
    status = resource.get("status")
    if type in _NEEDS_STATUS and not (isinstance(status, str) and _is_code(status)):
        raise Unreadable("no-status", f"{type}.status")


@lru_cache(maxsize=1024)  # a handful of words, in every resource
def _is_code(text: str) -> bool:
    return _CODE.fullmatch(text) is not None


def _labels(meta: Any) -> dict[str, Any]:
    held = object_of(meta)
    if "security" not in held and "tag" not in held:
        return {}
    return {key: held[key] for key in ("security", "tag") if isinstance(held.get(key), list) and held[key]}


@lru_cache(maxsize=8192)
def _is_element(key: str, wanted: frozenset[str]) -> bool:
    """Whether a JSON member is one of the elements, or one of its types: occurrence → occurrencePeriod."""
    if key in wanted:
        return True
    ends = [place for place, letter in enumerate(key) if letter.isupper()]
    return any(key[:end] in wanted and key[:end] in _CHOICES for end in ends)


_CHOICES = _names(
    "occurrence deceased effective serviced value onset performed asNeeded quantity multipleBirth"
)

# Where a Reference stands, so that even one of nothing but a display is seen as one.
_PEOPLE = _names(
    "actor subject patient beneficiary requester requestor performer insurer individual payor for"
)


def _without_display(value: Any, key: str = "") -> Any:
    """References without their display: it is a name more often than not, and its changes wake nobody.

    What holds none is given back as it is, not copied: most elements are.
    """
    kind = type(value)  # what a parser makes; asking for any Mapping costs a third of the whole keeping
    if kind is dict:
        return _object_without_display(value, key)
    if kind is not list:
        return value
    made = value
    for place, part in enumerate(value):
        kind = type(part)
        if kind is dict:
            new: Any = _object_without_display(part, key)
        elif kind is list:
            new = _without_display(part, key)
        else:
            continue
        if new is not part:
            made = list(value) if made is value else made
            made[place] = new
    return made


def _object_without_display(value: dict[str, Any], key: str) -> dict[str, Any]:
    made = value
    if "display" in value and (key in _PEOPLE or type(value.get("reference")) is str):
        made = {name: part for name, part in value.items() if name != "display"}
    for name, part in value.items():
        kind = type(part)
        if kind is str:
            continue
        if kind is dict:
            new: Any = _object_without_display(part, name)
        elif kind is list:
            new = _without_display(part, name)
        else:
            continue
        if new is not part and name in made:
            made = dict(value) if made is value else made
            made[name] = new
    return made


# What facts ask of an answer: which Coverage, is it in force, and of each item what it needs. Not what it pays.
_OF_INSURANCE = _names("coverage inforce reference identifier type")
_OF_ITEM = _names("category productOrService excluded authorizationRequired")


def _insurances(value: Any) -> Any:
    """The ``insurance`` of an answer without benefits and amounts; an order's is a list of references."""
    if type(value) is not list:
        return _without_display(value)
    return [_insurance(one) if type(one) is dict else one for one in value]


def _insurance(said: dict[str, Any]) -> dict[str, Any]:
    kept = {name: _without_display(part, name) for name, part in said.items() if name in _OF_INSURANCE}
    items = said.get("item")
    if type(items) is list:
        kept["item"] = [
            {name: part for name, part in item.items() if name in _OF_ITEM}
            for item in items
            if type(item) is dict
        ]
    elif items is not None:
        kept["item"] = _without_display(items)
    return kept


def _contained(resource: Json, id: str) -> Json:
    return next((inner for inner in objects(resource.get("contained")) if inner.get("id") == id), {})


def _contained_coverages(resource: Json) -> list[Json]:
    """The contained Coverages that an answer names: they have no address but this (HL7's own example)."""
    inside = objects(resource.get("contained"))
    if not inside:
        return []
    named = {text_of(r.get("reference")) for r in references_in(resource.get("insurance"))}
    return [
        {
            key: _without_display(value, key)
            for key, value in inner.items()
            if key in _CONTAINED_COVERAGE or key in ("resourceType", "id")
        }
        for inner in inside
        if inner.get("resourceType") == "Coverage" and f"#{inner.get('id')}" in named
    ]
