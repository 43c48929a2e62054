"""Real FHIR data that other people wrote, as servers that could be polled: one pretend server per folder and version.

A file is served as what it is: a resource as a row of its type; a Bundle, a Parameters or a CDS Hooks message as
the resources within; a CapabilityStatement as metadata; what is no JSON as the bytes that it is.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("FHIR_CORPUS") or Path(__file__).resolve().parents[3] / "shared" / "corpus")
#: What each version calls itself in its metadata.
VERSIONS = {"R4": "4.0.1", "R4B": "4.3.0", "R5": "5.0.0", "STU3": "3.0.2", "DSTU2": "1.0.2"}
#: Folders of other things than a server's rows.
OTHERS = {"ehr-metadata", "malformed"}
#: Names that the authors gave to the server on which their examples are meant to lie.
OWN_NAMES = {
    "davinci-crd": ("http://example.org/fhir", "http://example.org/someEHR/fhir"),
    "inferno-crd-test-kit": ("http://example.org/fhir",),
}
_SIGNS = (("STU3", "stu3"), ("DSTU2", "dstu2"), ("R4B", "r4b"), ("R5", r"r5(?=[-./])"))
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_PATIENT = re.compile(r'"Patient/([A-Za-z0-9.\-]{1,64})"')
_ENCOUNTER = re.compile(r"(?:.*/)?Encounter/([A-Za-z0-9.\-]{1,64})")
_OURS = ("Task", "CarePlan", "Device")  # what Baton writes itself: not put there by others in a whole cycle

Resource = dict[str, Any]


@dataclass(slots=True)
class Family:
    """One pretend server. ``broken`` are files that are no JSON, by name; ``other`` are JSON and hold no resource."""

    name: str
    version: str
    resources: list[Resource] = field(default_factory=list)
    broken: dict[str, bytes] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)
    files: int = 0

    def count(self, type: str) -> int:
        """How many rows of a type there are."""
        return sum(resource["resourceType"] == type for resource in self.resources)


def families(*versions: str) -> list[Family]:
    """Every folder's pretend servers, of these versions or of all; none where the corpus is missing."""
    if not ROOT.is_dir():
        return []
    found: dict[tuple[str, str], Family] = {}
    for file in sorted(ROOT.rglob("*.json")):
        folder, version = file.relative_to(ROOT).parts[0], version_of(file)
        if folder in OTHERS or (versions and version not in versions):
            continue
        family = found.setdefault((folder, version), Family(folder, version))
        _take(family, file)
    for family in found.values():
        family.resources = _unique(family.resources)
    return sorted(found.values(), key=lambda family: (family.version, family.name))


def version_of(file: Path) -> str:
    """The FHIR version that a file was written for: its folder's or its name's."""
    path = str(file.relative_to(ROOT)).lower()
    return next((version for version, sign in _SIGNS if re.search(sign, path)), "R4")


def document_of(file: Path) -> Any:
    """A file's JSON, with or without a byte order mark.

    Raises:
        ValueError: where it is none.
    """
    return json.loads(file.read_text(encoding="utf-8-sig"))


def with_patients(resources: list[Resource]) -> list[Resource]:
    """What others put on a server, with the Patients and Encounters that are named there and not at hand."""
    kept = with_encounters([resource for resource in resources if resource["resourceType"] not in _OURS])
    there = {resource["id"] for resource in kept if resource["resourceType"] == "Patient"}
    named = sorted(set(_PATIENT.findall(json.dumps(kept))) - there)
    return kept + [{"resourceType": "Patient", "id": id} for id in named]


def with_encounters(resources: list[Resource]) -> list[Resource]:
    """With an ambulatory Encounter, long over, where an order names one that its author left out."""
    there = {resource["id"] for resource in resources if resource["resourceType"] == "Encounter"}
    made = {}
    for resource in resources:
        named = resource.get("encounter")
        found = _ENCOUNTER.fullmatch(str(named.get("reference"))) if isinstance(named, dict) else None
        if found and resource["resourceType"] == "ServiceRequest" and found[1] not in there:
            made[found[1]] = {
                "resourceType": "Encounter",
                "id": found[1],
                "status": "finished",
                "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
                "subject": resource.get("subject"),
                "period": {"start": "2010-01-04T09:00:00Z", "end": "2010-01-04T09:30:00Z"},
            }
    return [*resources, *made.values()]


def _take(family: Family, file: Path) -> None:
    family.files += 1
    try:
        document = document_of(file)
    except ValueError:
        family.broken[file.name] = file.read_bytes()
        return
    found = _resolved(document, file.name)
    family.resources += found
    if not found:
        family.other[file.name] = document


def _resolved(document: Any, name: str) -> list[Resource]:
    """As a server would store them: with an id each, "urn:uuid" references within the document resolved."""
    urls: dict[str, str] = {}
    found = []
    for url, resource in _resources(document, ""):
        if not isinstance(resource.get("id"), str) or not _ID.fullmatch(resource["id"]):
            text = f"{name}{url}{json.dumps(resource, sort_keys=True)}"
            resource["id"] = f"x{uuid.uuid5(uuid.NAMESPACE_URL, text).hex}"
        if url.startswith("urn:"):
            urls[url] = f"{resource['resourceType']}/{resource['id']}"
        found.append(resource)
    text = json.dumps(found)
    for url, ref in urls.items():
        text = text.replace(f'"{url}"', f'"{ref}"')
    resolved: list[Resource] = json.loads(text)
    return resolved


def _resources(value: Any, url: str) -> Iterator[tuple[str, Resource]]:
    """Every resource in a document with its fullUrl: a message's own parts, never what is contained in one."""
    if isinstance(value, list):
        for part in value:
            yield from _resources(part, "")
    if not isinstance(value, dict):
        return
    if isinstance(value.get("resourceType"), str) and value["resourceType"] not in ("Bundle", "Parameters"):
        yield url, value
        return
    inner = str(value.get("fullUrl") or "")
    for name, part in value.items():
        yield from _resources(part, inner if name == "resource" else "")


def _unique(resources: list[Resource]) -> list[Resource]:
    """Each row once. Two of one id that differ are two rows: a folder holds several authors' examples."""
    found: dict[tuple[str, str], Resource] = {}
    for resource in resources:
        id, number = resource["id"], 1
        while found.get((resource["resourceType"], resource["id"]), resource) != resource:
            number += 1
            resource = {**resource, "id": f"{id}-{number}"}
        found[resource["resourceType"], resource["id"]] = resource
    return list(found.values())
