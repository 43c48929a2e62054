"""The corpus read as a coordinator would: every resource looked at shortly after its own date, with codes mapped.

Each resource is seen as it is, and as its story would go on: a draft is signed, a visit falls through or takes
place, a payer says no. ``pytest -s`` prints each task to be read, and the table of tasks by family and rule.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from adapter.facts.times import parse_when
from adapter.mapping.calendar import calendar_of
from adapter.model import Task, Words
from adapter.reconcile.reconciler import look
from adapter.reconcile.scenarios import BASE, chart_of
from adapter.references import Bases, patients_of
from tests.corpus.codes import ORDER_KIND
from tests.corpus.families import OWN_NAMES, ROOT, Resource, families, with_encounters
from tests.mapping.making import shipped

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"the corpus is missing: no folder {ROOT}"),
]
BASES = Bases(BASE)
UNDATED = datetime(2026, 3, 2, 15, tzinfo=UTC)  # what has no date was first seen then
_REASONS = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"
PROVIDER = {"coding": [{"system": _REASONS, "code": "prov"}]}


@dataclass(frozen=True, slots=True)
class Read:
    """One task as a coordinator would find it."""

    family: str
    story: str
    task: Task
    words: Words


def people(resources: list[Resource]) -> Iterator[tuple[str, dict[str, Resource]]]:
    """Every patient with what is known of them."""
    known: dict[str, dict[str, Resource]] = defaultdict(dict)
    for resource in resources:
        for patient in patients_of(resource, BASES):
            known[patient][f"{resource['resourceType']}/{resource['id']}"] = resource
    for patient, chart in sorted(known.items()):
        chart.setdefault(patient, {"resourceType": "Patient", "id": patient.partition("/")[2]})
        yield (
            patient,
            {f"{one['resourceType']}/{one['id']}": one for one in with_encounters([*chart.values()])},
        )


def moment(body: Resource) -> datetime:
    """The date that a look hangs on."""
    for name in ("start", "authoredOn", "created"):
        when = parse_when(body.get(name), UTC)
        if when is not None:
            return when.instant
    return UNDATED


def stories(ref: str, body: Resource) -> Iterator[tuple[str, int, dict[str, Resource]]]:
    """What may become of a resource: a name of the story, days until the look, and what is other or new in it."""
    type = ref.partition("/")[0]
    if type == "ServiceRequest":
        yield "as it is", 7, {}
        yield from _of_order(ref, body)
    elif type == "Appointment":
        yield "as it is", -3 if "start" in body else 6, {}
        if body.get("status") in ("booked", "proposed"):
            yield "missed", 4, {ref: {**body, "status": "noshow"}}
            yield (
                "clinic cancelled",
                -5,
                {ref: {**body, "status": "cancelled", "cancelationReason": PROVIDER}},
            )
    elif type == "CoverageEligibilityResponse":
        yield "as it is", 3, {}
        yield from _of_answer(ref, body)


def _of_order(ref: str, body: Resource) -> Iterator[tuple[str, int, dict[str, Resource]]]:
    at, signed = moment(body), {**body}
    if body.get("status") == "draft":
        signed["status"] = "active"
        yield "signed", 7, {ref: signed}
    visit = {
        "resourceType": "Appointment",
        "status": "fulfilled",
        "start": at.isoformat(),
        "end": at.isoformat(),
        "basedOn": [{"reference": ref}],
        "participant": [{"actor": body.get("subject"), "status": "accepted"}],
    }
    yield "visit took place", 10, {ref: signed, "Appointment/story": visit}
    yield "payer asks first", 1, asked_of(ref, signed, {"authorizationRequired": True}, at)
    yield "payer leaves it out", 1, asked_of(ref, signed, {"excluded": True}, at)


def _of_answer(ref: str, body: Resource) -> Iterator[tuple[str, int, dict[str, Resource]]]:
    if not body.get("insurance"):
        return
    patient, start = body.get("patient"), (moment(body) + timedelta(days=8)).isoformat()
    participant = [{"actor": patient, "status": "accepted"}]
    visit = {"resourceType": "Appointment", "status": "booked", "start": start, "end": start}
    seen: dict[str, Resource] = {"Appointment/story": {**visit, "participant": participant}}
    for one in body["insurance"]:
        named = str((one.get("coverage") or {}).get("reference", ""))
        if named.startswith("Coverage/"):  # its author left it out, or made it somebody else's
            seen[named] = {"resourceType": "Coverage", "status": "active", "beneficiary": patient}
    refused = [{**one, "inforce": False} for one in body["insurance"]]
    yield "payer says no", 3, {ref: {**body, "insurance": refused}, **seen}
    yield "check failed", 3, {ref: {**body, "outcome": "error"}, **seen}


def asked_of(ref: str, order: Resource, said: Resource, at: datetime) -> dict[str, Resource]:
    """A payer's answer that speaks of an order's own code."""
    patient = order.get("subject")
    item = {"productOrService": order.get("code"), **said}
    answer = {
        "resourceType": "CoverageEligibilityResponse",
        "status": "active",
        "outcome": "complete",
        "purpose": ["auth-requirements"],
        "created": at.isoformat(),
        "patient": patient,
        "insurance": [{"coverage": {"reference": "Coverage/story"}, "inforce": True, "item": [item]}],
    }
    return {
        ref: order,
        "CoverageEligibilityResponse/story": answer,
        "Coverage/story": {"resourceType": "Coverage", "status": "active", "beneficiary": patient},
    }


def tasks_of(patient: str, chart: dict[str, Resource], ref: str, now: datetime) -> list[tuple[Task, Words]]:
    """What stands after one look at this time; of the future nothing is known yet."""
    given = {
        other: {
            **body,
            "_seen": min(now, moment(body) if other != ref else now - timedelta(days=10)).isoformat(),
        }
        for other, body in chart.items()
    }
    scenario = {
        "now": now.isoformat(),
        "zone": "UTC",
        "given": given,
        "patients": [patient],
        "source": {"codes": {"order-kind": ORDER_KIND}},
    }
    seen = look(chart_of(scenario, shipped()), shipped(), lambda task, chart: (), BASES)
    assert not seen.errors
    words = seen.decision.words
    return [(task, words[id]) for id, task in seen.rows.items() if task.open and task.focus in chart]


@pytest.fixture(scope="module")
def read() -> list[Read]:
    """Every task of every story, each need once."""
    found: dict[tuple[str, str, str, str], Read] = {}
    for family in families("R4", "R4B"):
        text = json.dumps(family.resources)
        for name in OWN_NAMES.get(family.name, ()):
            text = text.replace(name, BASE)
        for patient, chart in people(json.loads(text)):
            for ref, body in chart.items():
                for story, days, other in stories(ref, body):
                    now = moment(body) + timedelta(days=days)
                    for task, words in tasks_of(patient, {**chart, **other}, ref, now):
                        if task.focus == ref or ref in task.opening or task.focus in other:
                            key = (family.name, story, task.rule, task.focus)
                            found.setdefault(key, Read(family.name, story, task, words))
    return list(found.values())


def test_at_least_fifty_tasks_can_be_read(read: list[Read]) -> None:
    table: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in read:
        table[one.family, one.story][one.task.rule] += 1
        print(
            f"{one.family} | {one.story} | {one.task.rule} | {one.words.title} | {one.words.reason} | "
            f"{one.task.priority.value} | opens {one.task.opens:%a %Y-%m-%d %H:%M} "
            f"due {one.task.due:%a %Y-%m-%d %H:%M} | {one.task.focus}"
        )
    print()
    for (family, story), rules in sorted(table.items()):
        print(f"{family:24}{story:18}{dict(rules)}")
    assert len(read) >= 50


def test_each_reads_as_a_coordinator_would_want_it(read: list[Read]) -> None:
    calendar = calendar_of(chart_of({"now": UNDATED.isoformat(), "zone": "UTC"}, shipped()).source)
    for one in read:
        title, reason, task = one.words.title, one.words.reason, one.task
        said = f"{one.family} {one.story} {task.rule} {task.focus}: {title} | {reason}"
        assert title[0].isupper() and not title.endswith((".", " ")) and "  " not in title, said
        assert reason.endswith(".") and reason.count(". ") == 0 and "  " not in reason, said
        assert len(title) <= 120 and len(reason) <= 200 and len(one.words.next) > 10, said
        assert not re.search(r"https?://|\bnull\b|None|\{|\}|\[|\]|_|\((procedure|regime)", title + reason), (
            said
        )
        assert task.opens and task.due and task.opens <= task.due, said
        assert task.priority.value == "stat" or calendar.is_open(task.due) or task.due >= task.opens, said
