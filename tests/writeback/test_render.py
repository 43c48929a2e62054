from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from adapter.fhirjson import dumps, loads
from adapter.model import Plan, Priority, Snapshot, SnapshotState, TaskStatus, Words
from adapter.writeback import codes
from adapter.writeback.contexts import labels_of
from adapter.writeback.render import RenderContext, render_task, title_of
from adapter.writeback.render_plan import PlanTask, render_plan
from adapter.writeback.valid import NotRenderable, check_valid
from tests.writeback.bench import DUE, START, WORDS, ZONE, task

CTX = RenderContext("ns", "srckey", START, device="Device/baton-1", zone=ZONE, plan_identifier="q1-1")


def render(row: Any = None, words: Words = WORDS, base: Any = None, **more: Any) -> dict[str, Any]:
    return render_task(row or task(), words, replace(CTX, **more), base)[0]


def inputs(body: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for one in body["input"]:
        found[one["type"]["coding"][0]["code"]] = next(v for k, v in one.items() if k.startswith("value"))
    return found


def test_what_a_new_task_says() -> None:
    body = render(task(performer="scheduler", group="cancelled-day:Practitioner/9:2025-12-01"))
    assert (body["status"], body["intent"], body["priority"]) == ("requested", "order", "routine")
    assert body["code"]["coding"] == [{"system": "urn:baton:code:task", "code": "schedule-referral"}]
    assert "fulfill" not in json.dumps(body)
    assert body["focus"] == {"reference": "ServiceRequest/s1"} and "basedOn" not in body
    assert body["for"] == {"reference": "Patient/p1"}
    assert body["requester"] == {"reference": "Device/baton-1", "display": "Baton (automatic)"}
    assert body["performerType"][0]["coding"] == [{"system": "urn:baton:code:role", "code": "scheduler"}]
    assert "owner" not in body and "profile" not in body["meta"] and "note" not in body
    assert body["restriction"]["period"] == {"start": "2025-11-28T07:00:00-05:00", "end": "2025-12-05"}
    assert body["reasonCode"] == {"text": WORDS.reason} and body["description"] == WORDS.next
    assert body["groupIdentifier"] == {"system": "urn:baton:ns:plan", "value": "q1-1"}
    assert {"system": "urn:baton:tag:group", "code": "cancelled-day:Practitioner/9:2025-12-01"} in body[
        "meta"
    ]["tag"]
    assert {"system": "urn:baton:tag", "code": "baton"} in body["meta"]["tag"]
    assert body["text"]["div"].count("&lt;on Monday&gt;") == 1 and "book." in body["text"]["div"]
    said = inputs(body)
    assert said["need"] == "visit-for:ServiceRequest/s1" and said["generation"] == 1
    assert said["rule"] == "referral/schedule-referral|1" and said["source"] == "srckey"
    assert said["renews"] == "00ff" and said["evidence"] == {"reference": "ServiceRequest/s1"}


def test_based_on_is_never_the_focus() -> None:
    body = render(task(focus="Coverage/c1", based_on=("ServiceRequest/s1", "Coverage/c1")))
    assert body["basedOn"] == [{"reference": "ServiceRequest/s1"}]


@pytest.mark.parametrize(
    ("words", "due", "title"),
    [
        ("Schedule cardiology visit", DUE, "Schedule cardiology visit, by Fri 5 Dec"),
        ("Schedule cardiology visit", None, "Schedule cardiology visit"),
        ("", DUE, "Schedule referral, by Fri 5 Dec"),
        ("Plan\x00 a\n\tvisit", None, "Plan a visit"),
    ],
)
def test_title(words: str, due: datetime | None, title: str) -> None:
    assert title_of(task(due=due), Words(words), ZONE) == title


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_any_words_are_valid_and_short(title: str, following: str, reason: str) -> None:
    body = render(words=Words(title, following, reason))
    assert len(body["code"]["text"]) <= 80 and body["code"]["text"].endswith(", by Fri 5 Dec")
    loads(dumps(body))


def test_closing_marks_and_holds_say_why() -> None:
    closed = render(task(status=TaskStatus.COMPLETED, closed_by="evidence", closing=("Appointment/4@3",)))
    assert closed["statusReason"]["coding"][0]["code"] == "evidence"
    assert closed["output"][0]["valueReference"]["identifier"]["value"] == "Appointment/4"
    # A closed Task lets go of what it was about, so that the hospital can delete its own order.
    assert "reference" not in closed["focus"] and closed["for"]["reference"].startswith("Patient/")
    marked = render(task(status=TaskStatus.IN_PROGRESS, started=True, mark="no-longer-needed"))
    assert marked["statusReason"]["coding"][0]["code"] == "mark-no-longer-needed"
    assert "businessStatus" not in marked
    held = render(task(status=TaskStatus.ON_HOLD, hold="deceased", held_status="requested"))
    assert held["statusReason"]["coding"][0]["code"] == "hold-deceased"
    assert "statusReason" not in render(task(status=TaskStatus.COMPLETED, closed_by="person"))


def test_last_modified_is_never_before_authored() -> None:
    body = render(now=START - timedelta(days=1))
    assert body["lastModified"] == body["authoredOn"]
    assert "lastModified" not in render_task(task(), WORDS, CTX)[1]


def test_a_start_after_the_end_is_left_out() -> None:
    body = render(task(opens=DUE + timedelta(days=1)))
    assert body["restriction"]["period"] == {"end": "2025-12-05"}


def test_logical_references() -> None:
    known = {"Patient/p1": {"system": "urn:mrn", "value": "7"}}
    body = render(references="logical", identifiers=known)
    assert body["for"] == {
        "type": "Patient",
        "identifier": {"system": "urn:mrn", "value": "7"},
        "display": "Patient p1",
    }
    assert body["focus"]["identifier"] == {"system": "urn:baton:reference", "value": "ServiceRequest/s1"}
    one = render(refused=frozenset({"ServiceRequest/s1"}))
    assert "reference" not in one["focus"] and one["for"] == {"reference": "Patient/p1"}


HERS: dict[str, Any] = {
    "note": [{"text": "Sister: 555\r\n<b>call</b>"}],
    "extension": [{"url": "https://ehr/x", "valueDecimal": Decimal("1.10")}],
    "contained": [{"resourceType": "Patient", "id": "c"}],
    "owner": {"reference": "Practitioner/anna", "display": "Anna"},
    "businessStatus": {"text": "left message"},
    "encounter": {"reference": "Encounter/1"},
    "unknownElement": {"kept": [1, 2]},
    "_priority": {"extension": [{"url": "https://ehr/y", "valueString": "z"}]},
}


def test_an_update_replaces_own_paths_only() -> None:
    base = {**render(), **HERS, "meta": {"versionId": "4", "tag": [{"system": "x", "code": "y"}]}}
    base["input"] = [{"type": {"text": "hers"}, "valueString": "q"}, *base["input"]]
    base["identifier"] = [{"system": "urn:his", "value": "1"}, *base["identifier"]]
    base["restriction"] = {**base["restriction"], "repetitions": 3}
    before = dumps(base)
    row = task(
        due=DUE + timedelta(days=7), mine=frozenset({"owner", "business_status"}), owner="Practitioner/anna"
    )
    body = render(row, base=base)
    assert dumps(base) == before
    for name, value in HERS.items():
        assert body[name] == value
    assert body["restriction"] == {
        "period": {"start": base["restriction"]["period"]["start"], "end": "2025-12-12"},
        "repetitions": 3,
    }
    assert body["code"]["text"].endswith("by Fri 12 Dec")
    assert body["input"][0]["valueString"] == "q" and body["identifier"][0]["system"] == "urn:his"
    assert body["meta"]["versionId"] == "4" and {"system": "x", "code": "y"} in body["meta"]["tag"]
    assert dumps(body["extension"]) == b'[{"url":"https://ehr/x","valueDecimal":1.10}]'


def test_nothing_changes_but_last_modified_where_nothing_has_changed() -> None:
    base = {**render(), **HERS}
    body = render(
        task(mine=frozenset({"owner", "business_status"})), base=base, now=START + timedelta(days=1)
    )
    assert {k: v for k, v in body.items() if k not in ("lastModified", "meta")} == {
        k: v for k, v in base.items() if k not in ("lastModified", "meta")
    }


@pytest.mark.parametrize("element", ["status", "owner", "due", "business_status"])
def test_what_is_hers_is_never_written(element: str) -> None:
    base = render()
    base |= {
        "status": "in-progress",
        "owner": {"reference": "Practitioner/anna"},
        "businessStatus": {"text": "submitted"},
        "restriction": {"period": {"end": "2026-01-01"}},
    }
    row = task(
        mine=frozenset({element}),
        status=TaskStatus.IN_PROGRESS,
        started=True,
        due=datetime(2026, 1, 1, 20, tzinfo=UTC),
    )
    body = render(row, base=base, roles={"referral-coordinator": "CareTeam/desk"})
    path = {"business_status": "businessStatus", "due": "restriction"}.get(element, element)
    assert body[path]["period"]["end"] == "2026-01-01" if element == "due" else body[path] == base[path]


def test_her_reason_stays_and_ours_goes() -> None:
    base = {**render(), "statusReason": {"text": "Patient abroad"}}
    row = task(
        mark="no-longer-needed", started=True, status=TaskStatus.IN_PROGRESS, mine=frozenset({"status"})
    )
    assert render(row, base=base)["statusReason"] == {"text": "Patient abroad"}
    marked = render(row, base=render())
    assert codes.code_in(marked["statusReason"], codes.STATUS_REASON)
    assert "statusReason" not in render(structs.replace(row, mark=""), base=marked)


def test_her_edit_alone_changes_nothing_of_ours() -> None:
    base = render()
    edited = {**base, "status": "in-progress", "note": [{"text": "x"}]}
    row = task(status=TaskStatus.IN_PROGRESS, started=True, mine=frozenset({"status"}), notes=1)
    body = render(row, base=edited)
    assert {k: v for k, v in body.items() if k != "meta"} == {k: v for k, v in edited.items() if k != "meta"}


def test_a_task_that_is_no_task_never_leaves() -> None:
    with pytest.raises(NotRenderable) as caught:
        check_valid(
            {"resourceType": "Task", "id": "x", "status": "requested", "intent": 3, "code": {"text": 7}}
        )
    assert "intent" in str(caught.value)
    with pytest.raises(NotRenderable):
        render(task(patient="Patient/has blanks and is much too long" * 9, code="a  b "))


def test_labels_are_as_high_as_the_evidence() -> None:
    def one(*labels: tuple[str, str]) -> Snapshot:
        body = {"meta": {"security": [{"system": s, "code": c, "display": "d"} for s, c in labels]}}
        return Snapshot("ehr", "Coverage", "1", SnapshotState.LIVE, body)

    level = codes.CONFIDENTIALITY
    found = labels_of([one((level, "N")), one((level, "R"), ("urn:s", "PSY")), one((level, "L"))])
    assert found == ({"system": level, "code": "R"}, {"system": "urn:s", "code": "PSY"})


PLAN = Plan("bp-q1-1", "ehr", "Patient/p1", "q1", "referral", started=START, mapping="referral")


def plan_of(*rows: Any, plan: Plan = PLAN, base: Any = None, **more: Any) -> dict[str, Any]:
    return render_plan(plan, [PlanTask(row, WORDS) for row in rows], replace(CTX, **more), base)[0]


def test_plan_names_only_acknowledged_open_and_recent_tasks() -> None:
    old = START - timedelta(days=120)
    body = plan_of(
        task("a", seen_version="1", priority=Priority.ROUTINE),
        task("b", seen_version="1", priority=Priority.STAT, due=DUE + timedelta(days=1)),
        task("c"),
        task("d", seen_version="1", gone=True),
        task("e", seen_version="1", status=TaskStatus.COMPLETED, closed_at=START),
        task("f", seen_version="1", status=TaskStatus.COMPLETED, closed_at=old),
    )
    refs = [one["reference"]["reference"] for one in body["activity"]]
    assert refs == ["Task/b-a-1", "Task/b-b-1", "Task/b-e-1"]
    assert body["text"]["div"].index("Sat 6 Dec") < body["text"]["div"].index("Fri 5 Dec")
    assert body["text"]["div"].count("<li>") == 2
    assert "author" not in body and body["contributor"][0]["reference"] == "Device/baton-1"
    assert body["category"][0]["coding"][0]["code"] == "care-coordination"
    assert body["identifier"] == [{"system": "urn:baton:ns:plan", "value": "q1-1"}]
    assert body["instantiatesUri"] == ["urn:baton:mapping:referral"]


def test_ended_plan_has_an_end() -> None:
    body = plan_of(plan=structs.replace(PLAN, status="completed", ended=START + timedelta(days=30)))
    assert body["status"] == "completed" and body["period"]["end"].startswith("2025-12-28")


def test_plan_keeps_an_activity_that_somebody_added_to() -> None:
    row = task("a", seen_version="1")
    base = plan_of(row, task("b", seen_version="1"))
    base["activity"][1]["progress"] = [{"text": "half"}]
    gone = [structs.replace(row, gone=True), task("b", seen_version="1", gone=True)]
    body = plan_of(*gone, base=base)
    assert [one["reference"]["reference"] for one in body["activity"]] == ["Task/b-b-1"]
