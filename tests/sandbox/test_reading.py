"""Reads, searches, pages and histories."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from adapter.sandbox import Sandbox
from tests.sandbox.conftest import Standing, ids, link, patient, task, text_of, walk


def test_it_says_what_it_is(server: Sandbox, ehr: httpx.Client) -> None:
    answer = ehr.get("/metadata")
    found = answer.json()
    assert found["software"]["name"] == "Baton sandbox"
    assert found["fhirVersion"] == "4.0.1"
    assert "sandbox" in answer.headers["server"]
    assert answer.headers["date"] == "Mon, 23 Nov 2026 15:00:00 GMT"
    assert server.base_url.startswith("http://127.0.0.1:") and server.base_url.endswith("/fhir")


def test_metadata_tells_the_truth_about_a_type(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.forbidden = frozenset({("Task", "create")})
    server.habits.absent = frozenset({"Coverage"})
    rest = ehr.get("/metadata").json()["rest"][0]
    types = {part["type"]: part for part in rest["resource"]}
    codes = {part["code"] for part in types["Task"]["interaction"]}
    assert "create" not in codes and {"read", "update", "search-type", "history-type"} <= codes
    assert types["Task"]["updateCreate"] is False and types["CarePlan"]["updateCreate"] is True
    assert "focus" in {part["name"] for part in types["Task"]["searchParam"]}
    assert "Coverage" not in types
    assert ehr.post("/Task", json=task("x")).status_code == 405
    assert ehr.get("/Coverage").status_code == 404


def test_read_gives_version_and_times(server: Sandbox, ehr: httpx.Client) -> None:
    server.put(patient("a"))
    answer = ehr.get("/Patient/a")
    assert answer.status_code == 200
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.headers["last-modified"] == "Mon, 23 Nov 2026 15:00:00 GMT"
    assert answer.json()["meta"] == {"versionId": "1", "lastUpdated": "2026-11-23T15:00:00.123+00:00"}


def test_what_never_was_and_what_was_deleted(server: Sandbox, ehr: httpx.Client) -> None:
    server.put(patient("a"))
    server.delete("Patient/a")
    gone = ehr.get("/Patient/a")
    assert (gone.status_code, ehr.get("/Patient/b").status_code) == (410, 404)
    assert "deleted at 2026-11-23T15:00:00.123" in text_of(gone)
    assert ehr.get("/Patient/a/_history/1").status_code == 200
    assert ehr.get("/Patient/a/_history/2").status_code == 410
    assert ehr.get("/Patient/a/_history/3").status_code == 404
    assert ids(ehr.get("/Patient").json()) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("_id=t1,t2", ["t1", "t2"]),
        ("identifier=urn:x|1", ["t1"]),
        ("identifier=urn:x|", ["t1", "t3"]),
        ("identifier=1", ["t1", "t2"]),
        ("status=requested,completed", ["t1", "t3"]),
        ("status:not=requested", ["t2", "t3"]),
        ("patient=Patient/p1", ["t1"]),
        ("patient=p1", ["t1"]),
        ("subject=Patient/p1", ["t1"]),
        ("patient=", ["t1", "t2", "t3"]),
        ("focus=ServiceRequest/s1", ["t2"]),
        ("focus:ServiceRequest=s1", ["t2"]),
        ("based-on=ServiceRequest/s1", ["t3"]),
        ("owner=Practitioner/d1", ["t3"]),
        ("owner:missing=true", ["t1", "t2"]),
        ("code=urn:c|call", ["t1"]),
        ("code=call", ["t1"]),
        ("code=urn:d|call", []),
        ("_tag=urn:run|r1", ["t1", "t2"]),
        ("_tag=urn:run|r1&status=rejected", ["t2"]),
        ("_security=http://terminology.hl7.org/CodeSystem/v3-ActReason|HTEST", ["t3"]),
        ("authored-on=ge2026-11-02", ["t1"]),
        ("authored-on=lt2026-11-02", ["t2"]),
        ("intent=order&_sort=-_id", ["t3", "t2", "t1"]),
    ],
)
def test_task_parameters(server: Sandbox, ehr: httpx.Client, query: str, found: list[str]) -> None:
    server.put(patient("p1"))
    tag = {"tag": [{"system": "urn:run", "code": "r1"}]}
    label = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}]}
    who, order = {"reference": "Patient/p1"}, {"reference": "ServiceRequest/s1"}
    one = [{"system": "urn:x", "value": "1"}]
    call = {"coding": [{"system": "urn:c", "code": "call"}]}
    server.put(task("t1", for_=None, meta=tag, identifier=one, code=call, authoredOn="2026-11-02T10:00:00Z"))
    server.edit("Task/t1", for_=who)
    server.put(task("t2", meta=tag, status="rejected", focus=order, identifier=[{"value": "1"}]))
    server.edit("Task/t2", authoredOn="2026-11-01")
    last = task("t3", meta=label, status="completed", basedOn=[order], owner={"reference": "Practitioner/d1"})
    server.put({**last, "identifier": [{"system": "urn:x", "value": "2"}]})
    assert ids(ehr.get(f"/Task?{query}").json()) == found
    assert (
        ids(ehr.post("/Task/_search", data=dict(p.split("=", 1) for p in query.split("&"))).json()) == found
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Appointment?patient=Patient/p1", ["v1"]),
        ("Appointment?actor=Practitioner/d1", ["v1", "v2"]),
        ("Appointment?practitioner=d1", ["v1", "v2"]),
        ("Appointment?date=ge2026-12-01T10:00:00Z&date=lt2026-12-02", ["v1"]),
        ("Appointment?date=2026-12", ["v1", "v2"]),
        ("Appointment?date=2026-12-01", ["v1"]),
        ("Appointment?date=ne2026-12-01", ["v2"]),
        ("Appointment?date=sa2026-12-01", ["v2"]),
        ("Appointment?date=eb2026-12-02", ["v1"]),
        ("Appointment?date=gt2026-12-01", ["v2"]),
        ("Appointment?based-on=ServiceRequest/s1", ["v2"]),
        ("Coverage?beneficiary=Patient/p1", ["c1"]),
        ("Coverage?patient=p1", ["c1"]),
        ("Encounter?appointment=Appointment/v1", ["n1"]),
        ("Encounter?date=le2026-12-01T09:00:00Z", ["n1"]),
        ("Patient?family=sand", ["p1"]),
        ("DiagnosticReport?based-on=ServiceRequest/s1", []),
    ],
)
def test_parameters_of_other_types(server: Sandbox, ehr: httpx.Client, query: str, found: list[str]) -> None:
    server.put(patient("p1", name=[{"family": "Sandbox"}]))
    doctor, who = {"actor": {"reference": "Practitioner/d1"}}, {"actor": {"reference": "Patient/p1"}}
    visit = {"resourceType": "Appointment", "status": "booked"}
    server.put({**visit, "id": "v1", "start": "2026-12-01T10:00:00Z", "participant": [who, doctor]})
    later = {**visit, "id": "v2", "start": "2026-12-02T12:00:00+01:00", "participant": [doctor]}
    server.put({**later, "basedOn": [{"reference": "ServiceRequest/s1"}]})
    server.put({"resourceType": "Coverage", "id": "c1", "beneficiary": {"reference": "Patient/p1"}})
    stay = {"period": {"start": "2026-11-30T10:00:00Z"}, "appointment": [{"reference": "Appointment/v1"}]}
    server.put({"resourceType": "Encounter", "id": "n1", **stay})
    assert ids(ehr.get(f"/{query}").json()) == found


def test_last_updated_to_the_millisecond(server: Sandbox, ehr: httpx.Client, clock: Standing) -> None:
    for name in "abc":
        server.put(patient(name))
        clock.advance(milliseconds=1)
    b = "2026-11-23T15:00:00.124Z"
    assert ids(ehr.get("/Patient", params={"_lastUpdated": f"ge{b}"}).json()) == ["b", "c"]
    assert ids(ehr.get("/Patient", params={"_lastUpdated": f"gt{b}"}).json()) == ["c"]
    assert ids(ehr.get("/Patient", params={"_lastUpdated": f"le{b}"}).json()) == ["a", "b"]
    assert ids(ehr.get("/Patient", params={"_lastUpdated": f"lt{b}"}).json()) == ["a"]
    both = {"_lastUpdated": [f"ge{b}", "lt2026-11-23T15:00:00.125Z"]}
    assert ids(ehr.get("/Patient", params=both).json()) == ["b"]
    # Less precision makes the value an interval: the rest of that second is skipped, as on HAPI.
    assert ids(ehr.get("/Patient", params={"_lastUpdated": "gt2026-11-23T15:00:00Z"}).json()) == []
    assert ehr.get("/Patient", params={"_lastUpdated": "ap2026"}).status_code == 400


def test_sorting(server: Sandbox, ehr: httpx.Client, clock: Standing) -> None:
    for name in "cab":
        server.put(patient(name))
    clock.advance(seconds=1)
    server.edit("Patient/a", active=True)
    assert ids(ehr.get("/Patient?_sort=_lastUpdated,_id").json()) == ["b", "c", "a"]
    assert ids(ehr.get("/Patient?_sort=-_lastUpdated,_id").json()) == ["a", "b", "c"]
    assert ids(ehr.get("/Patient?_sort=_id").json()) == ["a", "b", "c"]
    assert ehr.get("/Patient?_sort=nonsense").status_code == 400


def test_sorting_by_an_element_drops_what_lacks_it(server: Sandbox, ehr: httpx.Client) -> None:
    server.put(patient("a"))
    server.put(patient("b", birthDate="1980-01-01"))
    assert ids(ehr.get("/Patient?_sort=birthdate").json()) == ["b"]


def test_unknown_parameter_and_modifier_are_refused(ehr: httpx.Client) -> None:
    answer = ehr.get("/Task?baton=1")
    assert answer.status_code == 400 and "HAPI-0524" in text_of(answer)
    assert ehr.get("/Task?owner:identifier=x").status_code == 400
    assert ehr.get("/Nonsense").status_code == 404


def test_elements_and_totals(server: Sandbox, ehr: httpx.Client) -> None:
    for number in range(3):
        server.put(task(f"t{number}", description="words"))
    page = ehr.get("/Task?_elements=status&_count=2").json()
    assert set(page["entry"][0]["resource"]) == {"resourceType", "id", "meta", "status"}
    assert "total" not in page
    assert ehr.get("/Task?_count=2&_total=accurate").json()["total"] == 3
    counted = ehr.get("/Task?_summary=count").json()
    assert counted["total"] == 3 and "entry" not in counted


def test_pages_by_opaque_links(server: Sandbox, ehr: httpx.Client) -> None:
    for number in range(45):
        server.put(patient(f"p{number:02}"))
    first = ehr.get("/Patient?_sort=_id").json()
    assert len(first["entry"]) == 20 and "_getpages=" in link(first)
    assert walk(ehr, "/Patient?_sort=_id") == [f"p{number:02}" for number in range(45)]
    assert len(ehr.get("/Patient?_count=500").json()["entry"]) == 45
    for number in range(45, 205):
        server.put(patient(f"p{number:02}"))
    assert len(ehr.get("/Patient?_count=500").json()["entry"]) == 200


def test_list_fixed_at_the_search_contents_of_the_moment(server: Sandbox, ehr: httpx.Client) -> None:
    for number in range(6):
        server.put(task(f"t{number}"))
    first = ehr.get("/Task?_count=2&status=requested").json()
    server.edit("Task/t2", status="completed")
    server.delete("Task/t3")
    server.put(task("t9"))
    second = ehr.get(link(first)).json()
    assert [e["resource"]["status"] for e in second["entry"]] == ["completed"]
    assert ids(second) == ["t2"] and ids(ehr.get(link(second)).json()) == ["t4", "t5"]


def test_pages_expire(server: Sandbox, ehr: httpx.Client, clock: Standing) -> None:
    for number in range(3):
        server.put(patient(f"p{number}"))
    url = link(ehr.get("/Patient?_count=1").json())
    clock.advance(minutes=61)
    gone = ehr.get(url)
    assert gone.status_code == 410 and "HAPI-0427" in text_of(gone)
    again = link(ehr.get("/Patient?_count=1").json())
    server.forget_pages()
    assert ehr.get(again).status_code == 410


def test_type_history(server: Sandbox, ehr: httpx.Client, clock: Standing) -> None:
    server.put(task("t1"))
    clock.advance(seconds=1)
    server.put(task("t2"))
    clock.advance(seconds=1)
    server.edit("Task/t1", status="completed")
    server.delete("Task/t2")
    page = ehr.get("/Task/_history").json()
    said = [(e["request"]["method"], e["request"]["url"], "resource" in e) for e in page["entry"]]
    assert said == [
        ("DELETE", "Task/t2/_history/2", False),
        ("PUT", "Task/t1/_history/2", True),
        ("POST", "Task/t2/_history/1", True),
        ("POST", "Task/t1/_history/1", True),
    ]
    since = {"_since": "2026-11-23T15:00:01.123Z"}
    assert len(ehr.get("/Task/_history", params=since).json()["entry"]) == 3
    assert len(ehr.get("/Task/t1/_history").json()["entry"]) == 2
    assert ehr.get("/Task/t9/_history").status_code == 404
    assert ehr.get("/Task/_history?_since=2026-11-23").status_code == 400
    first = ehr.get("/Task/_history?_count=3").json()
    assert len(ehr.get(link(first)).json()["entry"]) == 1


def test_search_cache(server: Sandbox, ehr: httpx.Client, clock: Standing) -> None:
    server.habits.search_cache = timedelta(seconds=60)
    server.put(task("t1"))
    assert ids(ehr.get("/Task?status=requested").json()) == ["t1"]
    server.put(task("t2"))
    server.edit("Task/t1", status="completed")
    stale = ehr.get("/Task?status=requested&_format=json")
    assert ids(stale.json()) == ["t1"] and stale.headers["x-cache"].startswith("HIT")
    assert stale.json()["entry"][0]["resource"]["status"] == "completed"
    fresh = ehr.get("/Task?status=requested", headers={"Cache-Control": "no-cache"})
    assert ids(fresh.json()) == ["t2"] and "x-cache" not in fresh.headers
    assert ids(ehr.get("/Task?status=requested").json()) == ["t1"]  # no-cache did not replace what is kept
    clock.advance(seconds=61)
    assert ids(ehr.get("/Task?status=requested").json()) == ["t2"]


def test_token(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.token, server.habits.read_token = "writer", "reader"
    assert ehr.get("/metadata").status_code == 200
    refused = ehr.get("/Task")
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    wrong = ehr.get("/Task", headers={"Authorization": "Bearer other"})
    assert wrong.status_code == 401 and "invalid_token" in wrong.headers["www-authenticate"]
    reader, writer = {"Authorization": "Bearer reader"}, {"Authorization": "Bearer writer"}
    assert ehr.get("/Task", headers=reader).status_code == 200
    assert ehr.put("/Task/t1", json=task("t1"), headers=reader).status_code == 403
    assert ehr.put("/Task/t1", json=task("t1"), headers=writer).status_code == 201


def test_outside_the_base_is_html(server: Sandbox, ehr: httpx.Client) -> None:
    answer = ehr.get(server.base_url.removesuffix("/fhir") + "/elsewhere")
    assert answer.status_code == 404 and "html" in answer.headers["content-type"]
