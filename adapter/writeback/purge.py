"""Cleaning up after a test: everything that a run has written or seeded, and nothing else.

Only on sources whose environment is ``test``, and only resources that carry the test label HTEST and the
run's tag, or that Baton wrote about the run's Patients (WORKFLOW 5.10). Care plans go first, then Tasks,
Device and seeds, each before what it names: a server that enforces references refuses any other order (409
on HAPI), so what is refused is tried again after the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from adapter.errors import (
    AccessRefused,
    Conflict,
    Gone,
    NotFound,
    OutcomeUnknown,
    Rejected,
    ServerError,
    Unsafe,
)
from adapter.fhir import FhirClient
from adapter.model import Json
from adapter.references import parse_reference
from adapter.writeback import codes

#: What a seeded cohort may hold, each type before those that it names.
SEEDED = (
    "CarePlan",
    "Task",
    "Provenance",
    "Communication",
    "DocumentReference",
    "DiagnosticReport",
    "Observation",
    "CoverageEligibilityResponse",
    "CoverageEligibilityRequest",
    "Appointment",
    "Slot",
    "Schedule",
    "Procedure",
    "ServiceRequest",
    "Encounter",
    "EpisodeOfCare",
    "Condition",
    "Coverage",
    "Flag",
    "CareTeam",
    "RelatedPerson",
    "Patient",
    "PractitionerRole",
    "HealthcareService",
    "Practitioner",
    "Location",
    "Device",
    "Organization",
)
PASSES = 6


@dataclass(frozen=True, slots=True)
class PurgeList:
    """What a purge would delete, in that order, and what it leaves because it lacks a tag or the label."""

    refs: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()
    unsearched: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many of each type: what the person has to repeat."""
        return _counts(self.refs)


@dataclass(slots=True)
class PurgeReport:
    """How many were deleted of each type; ``left`` with the reason that the server gave, without its text."""

    deleted: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def find(
    client: FhirClient,
    *,
    namespace: str,
    run_tag: Json,
    environment: str,
    types: Sequence[str] = SEEDED,
) -> PurgeList:
    """List what a test run left: Baton's resources of the namespace, and seeds by the run's tag.

    Args:
        client: speaks to the source.
        namespace: Baton's in this run.
        run_tag: system and code of the tag that everything of the run carries.
        environment: the source's.
        types: the types that may have been seeded, each before those that it names.

    Raises:
        Unsafe: the source is not for tests.
    """
    if environment != "test":
        raise Unsafe("purge works on test sources only", remedy="set `environment: test` if it is one")
    found: dict[str, None] = {}
    bare: dict[str, None] = {}
    unsearched: list[str] = []
    marks: list[str] = []
    own = {
        "CarePlan": f"{codes.plan_system(namespace)}|",
        "Task": f"{codes.task_system(namespace)}|",
        "Device": f"{codes.WRITERS}|{namespace}",
    }
    tag = f"{run_tag['system']}|{run_tag['code']}"
    patients = _patients(client, tag, run_tag)
    for kind in _in_order(types):
        queries = [("_tag", tag)] + ([("identifier", own[kind])] if kind in own else [])
        for query in queries:
            try:
                for resource in _all(client, kind, query):
                    mine = _is_test(resource, run_tag) or (
                        query[0] == "identifier" and _is_about(resource, patients)
                    )
                    target = found if mine else bare
                    ref = f"{kind}/{resource.get('id', '')}"
                    target[ref] = None
                    if kind == "Device" and not mine and _is_labelled(resource):
                        marks.append(ref)
            except (AccessRefused, NotFound, Rejected):
                unsearched.append(kind)
    if not any(ref.startswith(("CarePlan/", "Task/")) for ref in bare):
        for ref in marks:  # the mark goes with the last of what it stands for; the next pass writes it anew
            del bare[ref]
            found[ref] = None
    return PurgeList(tuple(found), tuple(bare), tuple(dict.fromkeys(unsearched)))


def purge(client: FhirClient, listed: PurgeList) -> PurgeReport:
    """Delete what was listed. What is refused because something names it is tried again after the rest."""
    report = PurgeReport()
    waiting = list(listed.refs)
    for _ in range(PASSES):
        refused = [ref for ref in waiting if not _deleted(client, ref, report)]
        if not refused or len(refused) == len(waiting):
            waiting = refused
            break
        waiting = refused
    report.left = {ref: why for ref, why in report.left.items() if ref in waiting}
    return report


def _patients(client: FhirClient, tag: str, run_tag: Json) -> frozenset[str]:
    """The run's own Patients."""
    try:
        found = [p for p in _all(client, "Patient", ("_tag", tag)) if _is_test(p, run_tag)]
    except (AccessRefused, NotFound, Rejected):
        return frozenset()
    return frozenset(f"Patient/{patient.get('id', '')}" for patient in found)


def _is_about(resource: Json, patients: frozenset[str]) -> bool:
    """Whether what Baton wrote is a test's, and about a Patient of the run: Baton itself knows no run."""
    return _is_labelled(resource) and any(
        parse_reference(resource.get(name)).local in patients for name in ("for", "subject")
    )


def _is_labelled(resource: Json) -> bool:
    meta = resource.get("meta")
    return isinstance(meta, Mapping) and _has(meta.get("security"), codes.TEST_LABEL)


def _in_order(types: Sequence[str]) -> list[str]:
    """CarePlan, Task and Device first, then the seeds."""
    return list(dict.fromkeys(["CarePlan", "Task", "Device", *types]))


def _all(client: FhirClient, kind: str, query: tuple[str, str]) -> Iterator[Json]:
    for page in client.pages(kind, [query, ("_count", "200")]):
        for entry in page.entries:
            if entry.resource and entry.resource.get("resourceType") == kind:
                yield entry.resource


def _is_test(resource: Json, run_tag: Json) -> bool:
    meta = resource.get("meta")
    return isinstance(meta, Mapping) and _has(meta.get("tag"), run_tag) and _is_labelled(resource)


def _has(labels: object, wanted: Json) -> bool:
    return isinstance(labels, list) and any(
        isinstance(one, Mapping)
        and one.get("system") == wanted["system"]
        and one.get("code") == wanted["code"]
        for one in labels
    )


def _deleted(client: FhirClient, ref: str, report: PurgeReport) -> bool:
    kind, _, id = ref.partition("/")
    try:
        client.delete(kind, id)
    except (Gone, NotFound):
        return True
    except (Conflict, OutcomeUnknown, Rejected) as fault:
        report.left[ref] = _why(fault)
        return False
    report.deleted[kind] = report.deleted.get(kind, 0) + 1
    return True


def _why(fault: ServerError) -> str:
    return fault.codes() or f"status {fault.status}"


def _counts(refs: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for ref in refs:
        kind = ref.partition("/")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return counts
