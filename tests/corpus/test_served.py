"""Every JSON file of the corpus is served, as what it is, by a scripted server, and polled by the command line.

Each Appointment, ServiceRequest and CoverageEligibilityResponse ends as a snapshot or in quarantine with a true
reason; sources of other versions stop with a clear error; nothing raises. ``pytest -s`` prints the table.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.facts.keep import REASONS
from adapter.model import POLLED, SnapshotState
from tests.corpus.families import OWN_NAMES, ROOT, Family, Resource, families
from tests.corpus.serving import Capsys, configure, quarantine, rows_of, served, snapshots, sync

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"the corpus is missing: no folder {ROOT}"),
]
TABLE: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)


def _named(family: Family) -> str:
    return f"{family.name}-{family.version}"


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Print type, version, snapshots, quarantined by reason at the end."""
    yield
    print(f"\n{'type':28}{'version':9}{'served':>7}{'snapshots':>11}  quarantined by reason")
    for (type, version), counted in sorted(TABLE.items()):
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(counted.items()) if reason in REASONS)
        stopped = f"source stopped: {counted['stopped']} not polled" if counted["stopped"] else ""
        print(
            f"{type:28}{version:9}{counted['served']:7}{counted['snapshots']:11}  {reasons or stopped or '-'}"
        )


@pytest.mark.parametrize("family", families("R4", "R4B"), ids=_named)
def test_each_ends_as_a_snapshot_or_in_quarantine_with_a_true_reason(
    family: Family, tmp_path: Path, capsys: Capsys
) -> None:
    rows = rows_of(family.resources)
    with served(rows, family.version) as server:
        config = configure(server, tmp_path, page_size=7, aliases=list(OWN_NAMES.get(family.name, ())))
        done = sync(config, capsys)
        again = sync(config, capsys)
    polled = {f"{r['resourceType']}/{r['id']}": r for r in family.resources if r["resourceType"] in POLLED}
    held = snapshots(config, list(polled))
    reasons = {f"{row.type}/{row.res_id}": row.reason for row in quarantine(config) if row.type in POLLED}
    assert done.errors == [] and done.code == (3 if reasons else 0)
    assert sum(again.report["sources"][0]["changed"].values()) == 0, "a second look changes nothing"
    for type in POLLED:
        assert done.report["sources"][0]["polled"][type] == family.count(type)
    for ref, resource in polled.items():
        state, key = held[ref].state, (resource["resourceType"], family.version)
        TABLE[key]["served"] += 1
        if state is SnapshotState.QUARANTINED:
            assert _is_true(reasons[ref], resource), f"{ref} is not {reasons[ref]}"
            TABLE[key][reasons[ref]] += 1
        else:
            assert state is (
                SnapshotState.ERROR if resource.get("status") == "entered-in-error" else SnapshotState.LIVE
            )
            assert ref not in reasons
            TABLE[key]["snapshots"] += 1


def _is_true(reason: str, resource: Resource) -> bool:
    """A quarantine reason against the resource itself; of what a person could act upon, only these are right."""
    if reason == "no-status":
        return not isinstance(resource.get("status"), str)
    named = _patients(resource)
    texts = [one["reference"] for one in named if isinstance(one.get("reference"), str)]
    over = resource["resourceType"] == "ServiceRequest" and resource["status"] in ("completed", "revoked")
    return {
        "no-patient": not named,
        "patient-elsewhere": any(text.startswith(("urn:", "http")) for text in texts),
        "patient-contained": any(text.startswith("#") for text in texts),
        "patient-by-identifier": not texts and any("identifier" in one for one in named),
        "patient-unaddressed": not texts and not over and any("display" in one for one in named),
    }[reason]


def _patients(resource: Resource) -> list[dict[str, Any]]:
    if resource["resourceType"] == "Appointment":
        return [p["actor"] for p in resource["participant"] if isinstance(p.get("actor"), dict)]
    found = resource.get("subject") or resource.get("patient")
    return [found] if isinstance(found, dict) else []


@pytest.mark.parametrize("family", families("R5", "STU3", "DSTU2"), ids=_named)
def test_another_version_stops_the_source(family: Family, tmp_path: Path, capsys: Capsys) -> None:
    with served(rows_of(family.resources), family.version) as server:
        config = configure(server, tmp_path)
        done = sync(config, capsys)
        asked = server.paths()
    (error,) = done.errors
    said = {"R5": "FHIR 5.0.0", "STU3": "FHIR 3.0.2", "DSTU2": "FHIR DSTU2"}[family.version]
    assert done.code == 1 and said in error and "Baton needs R4" in error
    assert asked == ["GET metadata"], "no data of it is asked for"
    assert done.report["sources"][0]["polled"] == {}
    for resource in family.resources:
        if resource["resourceType"] in POLLED:
            counted = TABLE[resource["resourceType"], family.version]
            counted["served"] += 1
            counted["stopped"] += 1
