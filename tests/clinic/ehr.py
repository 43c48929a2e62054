"""The clinic's FHIR server: in memory, in this process, quick enough for a million resources.

It answers what Baton asks (metadata, read, search by ``_lastUpdated``, ``_id``, ``patient`` and ``identifier``,
PUT under If-Match) over the client's own HTTP, without a network. The sandbox can more, but looks through all
resources of a type at each search.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, quote

import httpx
import msgspec

from adapter.clock import FixedClock

Resource = dict[str, Any]

BASE = "http://clinic.example/fhir"
TYPES = (
    "Appointment",
    "CarePlan",
    "Coverage",
    "CoverageEligibilityResponse",
    "Device",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Patient",
    "ServiceRequest",
    "Task",
)
_SEARCHES = {"_lastUpdated": "date", "_id": "token", "identifier": "token", "patient": "reference"}
_IDENTIFIED = frozenset({"CarePlan", "Device", "Task"})
_NAMES_PATIENT = ("subject", "patient", "beneficiary", "for")
_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Ehr(httpx.BaseTransport):
    """All newest versions, as bytes. ``clock`` is the server's and, in the simulation, everybody's."""

    def __init__(self, clock: FixedClock) -> None:
        self.clock = clock
        self._bytes: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._log: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
        self._of_patient: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        self._identified: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        self._walks: dict[str, list[str]] = {}
        self.requests = 0

    # --- the hospital's own side

    def put(self, resource: Resource, at: datetime) -> None:
        """Save a resource as it is at a moment, which is its lastUpdated. Moments never go back."""
        kind, ref = resource["resourceType"], f"{resource['resourceType']}/{resource['id']}"
        version = self._versions.get(ref, 0) + 1
        stamp = int(at.timestamp() * 1000)
        meta = {**resource.get("meta", {}), "versionId": str(version), "lastUpdated": _text(stamp)}
        self._bytes[ref] = _encode({**resource, "meta": meta})
        self._versions[ref] = version
        self._log[kind].append((stamp, ref, version))
        for patient in _patients(resource):
            self._of_patient[kind, patient][ref] = None
        if kind in _IDENTIFIED:
            for identifier in resource.get("identifier", ()):
                self._identified[kind, f"{identifier['system']}|{identifier['value']}"][ref] = None
                self._identified[kind, f"{identifier['system']}|"][ref] = None

    def get(self, ref: str) -> Resource:
        """The newest version."""
        found: Resource = _decode(self._bytes[ref])
        return found

    def change(self, ref: str, at: datetime, **values: Any) -> None:
        """Save a resource with other elements; None takes one away."""
        body = {**self.get(ref), **values}
        self.put({name: value for name, value in body.items() if value is not None}, at)

    def all(self, kind: str) -> Iterator[Resource]:
        """Every resource of a type."""
        for ref in dict.fromkeys(ref for _, ref, _ in self._log[kind]):
            yield self.get(ref)

    def count(self, kind: str) -> int:
        """How many resources of a type there are."""
        return len({ref for _, ref, _ in self._log[kind]})

    def newest(self, kind: str, among: int) -> str | None:
        """The reference of one that was saved lately: ``among`` versions ago."""
        log = self._log[kind]
        return log[-1 - among % len(log)][1] if log else None

    # --- what Baton sees

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests += 1
        path = request.url.path.removeprefix("/fhir").strip("/")
        if path == "metadata":
            return self._answer(200, _encode(_statement()))
        if request.method == "PUT":
            return self._write(path, request)
        if "/" in path:
            return self._read(path)
        return self._search(path, parse_qs(request.url.query.decode()))

    def _answer(self, status: int, body: bytes, **headers: str) -> httpx.Response:
        date = format_datetime(self.clock.now().replace(microsecond=0), usegmt=True)
        kind = {"content-type": "application/fhir+json", "date": date, **headers}
        return httpx.Response(status, headers=kind, content=body)

    def _refuse(self, status: int, code: str) -> httpx.Response:
        issue = {"severity": "error", "code": code, "diagnostics": code}
        return self._answer(status, _encode({"resourceType": "OperationOutcome", "issue": [issue]}))

    def _read(self, ref: str) -> httpx.Response:
        if ref not in self._bytes:
            return self._refuse(404, "not-found")
        return self._answer(200, self._bytes[ref], etag=f'W/"{self._versions[ref]}"')

    def _write(self, ref: str, request: httpx.Request) -> httpx.Response:
        wanted = request.headers.get("if-match", "").removeprefix('W/"').rstrip('"')
        held = self._versions.get(ref, 0)
        if wanted != str(held):
            return self._refuse(412, "conflict")
        self.put(_decode(request.content), self.clock.now())
        return self._answer(201 if held == 0 else 200, self._bytes[ref], etag=f'W/"{held + 1}"')

    def _search(self, kind: str, query: dict[str, list[str]]) -> httpx.Response:
        count = int(query.get("_count", ["100"])[0])
        if "_walk" in query:
            key, start = query["_walk"][0], int(query["_from"][0])
            refs = self._walks[key]
        else:
            key, start = str(self.requests), 0
            refs = self._found(kind, query)
        following = ""
        if start + count < len(refs):
            self._walks[key] = refs
            following = f"{BASE}/{kind}?_walk={key}&_from={start + count}&_count={count}"
        elif start:
            del self._walks[key]
        return self._answer(
            200, _bundle([self._bytes[ref] for ref in refs[start : start + count]], following)
        )

    def _found(self, kind: str, query: dict[str, list[str]]) -> list[str]:
        if "_id" in query:
            named = (f"{kind}/{id}" for id in query["_id"][0].split(","))
            return [ref for ref in named if ref in self._bytes]
        if "patient" in query:
            return list(self._of_patient.get((kind, query["patient"][0].removeprefix("Patient/")), ()))
        bounds = dict(_bound(text) for text in query.get("_lastUpdated", ()))
        log = self._log[kind]
        first = bisect_left(log, (bounds.get("ge", 0), "", 0))
        last = bisect_left(log, (bounds["lt"], "", 0)) if "lt" in bounds else len(log)
        shown = [ref for _, ref, version in log[first:last] if self._versions[ref] == version]
        if "identifier" in query:
            named = self._identified.get((kind, query["identifier"][0]), {})
            return [ref for ref in shown if ref in named]
        return shown


def _bound(text: str) -> tuple[str, int]:
    return text[:2], int(datetime.fromisoformat(text[2:]).timestamp() * 1000)


def _text(stamp: int) -> str:
    at = datetime.fromtimestamp(stamp // 1000, UTC) + timedelta(milliseconds=stamp % 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _patients(resource: Resource) -> list[str]:
    named = [resource.get(name) for name in _NAMES_PATIENT]
    named += [part.get("actor") for part in resource.get("participant", ())]
    refs = [one.get("reference", "") for one in named if isinstance(one, dict)]
    return [ref.removeprefix("Patient/") for ref in refs if ref.startswith("Patient/")]


def _bundle(bodies: list[bytes], following: str) -> bytes:
    link = _encode([{"relation": "next", "url": quote(following, safe=":/?=&")}] if following else [])
    entries = b",".join(b'{"resource":' + body + b',"search":{"mode":"match"}}' for body in bodies)
    return b'{"resourceType":"Bundle","type":"searchset","link":' + link + b',"entry":[' + entries + b"]}"


def _statement() -> Resource:
    interactions = [{"code": code} for code in ("read", "search-type", "create", "update")]
    parameters = [{"name": name, "type": kind} for name, kind in _SEARCHES.items()]
    resources = [
        {
            "type": kind,
            "interaction": interactions,
            "versioning": "versioned-update",
            "updateCreate": True,
            "searchParam": parameters,
        }
        for kind in TYPES
    ]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "software": {"name": "Simulated clinic", "version": "1"},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [{"mode": "server", "resource": resources}],
    }
