"""Real FHIR data that other people wrote, as servers that could be polled: one pretend server for each folder."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("FHIR_CORPUS") or Path(__file__).resolve().parents[3] / "shared" / "corpus")
#: Folders of other FHIR versions, or of other things than resources.
OTHERS = {"hl7-stu3-3.0.1", "hl7-dstu2-1.0.2", "hl7-r5-5.0.0", "fhirpath-suite", "ehr-metadata", "malformed"}
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_PATIENT = re.compile(r'"Patient/([A-Za-z0-9.\-]{1,64})"')

Resource = dict[str, Any]


def families() -> list[Path]:
    """The R4 and R4B folders, none where the corpus is missing."""
    if not ROOT.is_dir():
        return []
    return sorted(folder for folder in ROOT.iterdir() if folder.is_dir() and folder.name not in OTHERS)


def resources_of(family: Path) -> list[Resource]:
    """All resources of a folder, those inside Bundles too, with the Patients that are named and not there.

    As a server would: an id where one is missing or unfit, and "urn:uuid" references within a Bundle resolved.
    """
    found: dict[tuple[str, str], Resource] = {}
    for file in sorted(family.rglob("*.json")):
        if re.search(r"stu3|/r5|dstu2", str(file.relative_to(ROOT)).lower()):
            continue
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue
        for resource in _resolved(document, file.name):
            found[resource["resourceType"], resource["id"]] = resource
    for id in set(_PATIENT.findall(json.dumps(list(found.values())))):
        found.setdefault(("Patient", id), {"resourceType": "Patient", "id": id})
    return [r for (type, _), r in found.items() if type not in ("Task", "CarePlan", "Device")]


def _resolved(document: Any, name: str) -> list[Resource]:
    urls: dict[str, str] = {}
    found = []
    for url, resource in _resources(document):
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


def _resources(value: Any) -> Iterator[tuple[str, Resource]]:
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        return
    if value["resourceType"] != "Bundle":
        yield "", value
        return
    for entry in value.get("entry") or ():
        if isinstance(entry, dict):
            for url, resource in _resources(entry.get("resource")):
                yield str(url or entry.get("fullUrl") or ""), resource
