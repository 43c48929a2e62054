"""Creates, updates and deletes over HTTP, single and in Bundles, as HAPI answers them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest

from adapter import fhirjson
from adapter.sandbox import Habits, Sandbox
from tests.sandbox.conftest import Json, Standing, ids, patient, task, text_of

Put = Callable[..., httpx.Response]


def test_put_creates_then_updates(server: Sandbox, put: Put) -> None:
    first = put(task("t1"))
    assert first.status_code == 201
    assert first.headers["location"] == f"{server.base_url}/Task/t1/_history/1"
    second = put(task("t1", status="completed"))
    assert (second.status_code, second.headers["etag"]) == (200, 'W/"2"')
    assert second.json()["status"] == "completed" and second.json()["meta"]["versionId"] == "2"


def test_identical_put_keeps_the_version(server: Sandbox, put: Put) -> None:
    read = put(task("t1")).json()
    assert put(read).headers["etag"] == 'W/"1"'
    server.habits.identical_put_makes_version = True
    assert put(read).headers["etag"] == 'W/"2"'


@pytest.mark.parametrize("sent", ['W/"1"', '"1"', "1"])
def test_if_match(server: Sandbox, put: Put, sent: str) -> None:
    put(task("t1"))
    assert put(task("t1", status="accepted"), if_match=sent).status_code == 200
    stale = put(task("t1", status="completed"), if_match=sent)
    assert stale.status_code == 409 and "HAPI-0989" in text_of(stale)
    assert server.get("Task/t1")["status"] == "accepted"  # type: ignore[index]
    server.habits.stale_status = 412
    assert put(task("t1"), if_match=sent).status_code == 412


def test_version_zero_creates_only(server: Sandbox, put: Put) -> None:
    assert put(task("t1"), if_match='W/"0"').status_code == 201
    assert put(task("t1", status="accepted"), if_match='W/"0"').status_code == 409
    server.delete("Task/t1")
    assert put(task("t1"), if_match='W/"0"').status_code == 409
    assert put(task("t1"), if_match='W/"1"').status_code == 409
    brought_back = put(task("t1"))
    assert (brought_back.status_code, brought_back.headers["etag"]) == (201, 'W/"3"')


def test_if_match_on_what_never_was(server: Sandbox, put: Put) -> None:
    assert put(task("t1"), if_match='W/"7"').status_code == 201
    server.habits.if_match_on_missing = "refuse"
    server.habits.stale_status = 412
    assert put(task("t2"), if_match='W/"0"').status_code == 412
    assert server.get("Task/t2") is None


def test_racing_creates_make_one(server: Sandbox) -> None:
    found: list[int] = []

    def race() -> None:
        body = task("t1")
        answer = httpx.put(
            f"{server.base_url}/Task/t1", json=body, headers={"If-Match": 'W/"0"'}, verify=False
        )
        found.append(answer.status_code)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [201] + [409] * 7
    assert len(server.versions("Task/t1")) == 1


def test_no_update_as_create(server: Sandbox, put: Put) -> None:
    server.habits.update_as_create = False
    assert put(task("t1")).status_code == 405
    server.put(task("t1"))
    assert put(task("t1", status="accepted")).status_code == 200


def test_conditional_create(server: Sandbox, ehr: httpx.Client) -> None:
    body = {**task("ignored"), "identifier": [{"system": "urn:x", "value": "a+b"}]}
    condition = {"If-None-Exist": "identifier=urn%3Ax%7Ca%2Bb"}
    first = ehr.post("/Task", json=body, headers=condition)
    assert first.status_code == 201 and first.json()["id"] != "ignored"
    second = ehr.post("/Task", json={**body, "status": "completed"}, headers=condition)
    assert second.status_code == 200 and second.json() == first.json()
    server.duplicate(f"Task/{first.json()['id']}")
    several = ehr.post("/Task", json=body, headers=condition)
    assert several.status_code == 412
    assert server.count("Task") == {"Task": 2}
    assert ehr.post("/Task", json=body, headers={"If-None-Exist": "?identifier=x"}).status_code == 400


def test_conditional_create_that_lags_makes_duplicates(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.index_lag_requests = 5
    server.habits.conditional_create_lags = True
    body = {**task("x"), "identifier": [{"system": "urn:x", "value": "1"}]}
    for _ in range(2):
        answer = ehr.post("/Task", json=body, headers={"If-None-Exist": "identifier=urn:x|1"})
        assert answer.status_code == 201
    assert server.count("Task") == {"Task": 2}


def test_wrong_bodies(ehr: httpx.Client) -> None:
    assert ehr.put("/Task/t1", json=task("t2")).status_code == 400
    assert ehr.put("/Task/t1", json={"resourceType": "Task"}).status_code == 400
    assert ehr.put("/Task/t1", json=patient("t1")).status_code == 400
    assert ehr.put("/Task/a_b", json=task("a_b")).status_code == 400
    assert ehr.put(f"/Task/{'x' * 65}", json=task("x" * 65)).status_code == 400
    assert ehr.put("/Task/t1", content=b"{").status_code == 400
    plain = ehr.put("/Task/t1", content=b"{}", headers={"Content-Type": "text/plain"})
    assert plain.status_code == 400


def test_prefer(put: Put) -> None:
    minimal = put(task("t1"), prefer="return=minimal")
    assert minimal.content == b"" and minimal.headers["etag"] == 'W/"1"'
    assert put(task("t2"), prefer="return=OperationOutcome").json()["resourceType"] == "OperationOutcome"


def test_references_are_enforced(server: Sandbox, put: Put) -> None:
    refused = put(task("t1", **{"for": {"reference": "Patient/p1"}}))
    assert refused.status_code == 400 and "HAPI-1094" in text_of(refused)
    assert put(task("t1", focus={"reference": "urn:uuid:1"})).status_code == 400
    put(patient("p1"))
    assert put(task("t1", **{"for": {"reference": "Patient/p1"}})).status_code == 201
    assert put(task("t2", **{"for": {"identifier": {"value": "1"}}})).status_code == 201
    server.delete("Patient/p1")
    assert put(task("t3", **{"for": {"reference": "Patient/p1"}})).status_code == 400
    server.habits.enforce_references = False
    assert put(task("t3", **{"for": {"reference": "Patient/p1"}})).status_code == 201


def test_delete_of_what_is_named(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    put(patient("p1"))
    put(task("t1", **{"for": {"reference": "Patient/p1"}}))
    refused = ehr.delete("/Patient/p1")
    assert refused.status_code == 409 and "HAPI-0550" in text_of(refused)
    assert ehr.delete("/Task/t1").status_code == 200
    assert ehr.delete("/Patient/p1").status_code == 200
    assert ehr.get("/Patient/p1").status_code == 410
    assert ehr.delete("/Patient/p1").status_code == 200
    server.habits.delete_missing_status = 404
    assert ehr.delete("/Patient/p1").status_code == 404


def test_delete_with_a_stale_if_match(ehr: httpx.Client, put: Put) -> None:
    put(task("t1"))
    put(task("t1", status="accepted"))
    assert ehr.delete("/Task/t1", headers={"If-Match": 'W/"1"'}).status_code == 409
    assert ehr.delete("/Task/t1", headers={"If-Match": 'W/"2"'}).status_code == 200


def test_references_are_brought_into_the_servers_form(server: Sandbox, put: Put) -> None:
    put(patient("p1"))
    put({"resourceType": "ServiceRequest", "id": "s1"})
    body = task("t1", focus={"reference": "ServiceRequest/s1/_history/1"})
    body["for"] = {"reference": f"{server.base_url}/Patient/p1"}
    body["owner"] = {"reference": "https://other.example/fhir/Practitioner/1"}
    kept = put(body).json()
    assert kept["focus"] == {"reference": "ServiceRequest/s1"}
    assert kept["for"] == {"reference": "Patient/p1"}
    assert kept["owner"] == {"reference": "https://other.example/fhir/Practitioner/1"}
    server.habits = Habits.helios()
    kept = put(body).json()
    assert kept["focus"] == {"reference": "ServiceRequest/s1/_history/1"}
    assert kept["for"] == body["for"]


def test_tags_are_merged_or_dropped(server: Sandbox, put: Put) -> None:
    put(task("t1", meta={"tag": [{"system": "urn:a", "code": "1"}], "security": [{"code": "R"}]}))
    kept = put(task("t1", meta={"tag": [{"system": "urn:a", "code": "2"}]}, priority="urgent")).json()
    assert [tag["code"] for tag in kept["meta"]["tag"]] == ["1", "2"]
    assert kept["meta"]["security"] == [{"code": "R"}]
    assert put(task("t1", priority="urgent")).headers["etag"] == 'W/"2"'  # fewer tags alone: no new version
    server.habits.tags = "dropped"
    assert "tag" not in put(task("t1")).json()["meta"]


def test_decimals_keep_their_digits(server: Sandbox, ehr: httpx.Client) -> None:
    text = b'{"resourceType":"Basic","id":"b1","extension":[{"url":"urn:x","valueDecimal":1.10}]}'
    assert b"1.10" in ehr.put("/Basic/b1", content=text).content
    stored = server.get("Basic/b1")
    assert stored is not None and stored["extension"][0]["valueDecimal"] == Decimal("1.10")
    assert b"1.10" in fhirjson.dumps(stored)


def test_validate(server: Sandbox, ehr: httpx.Client) -> None:
    def severities(body: Json) -> list[str]:
        answer = ehr.post("/Task/$validate", json=body)
        assert answer.status_code == 200
        return [issue["severity"] for issue in answer.json()["issue"]]

    good = task("t1")
    assert severities(good) == ["information"]
    wrapped = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": good}]}
    assert severities(wrapped) == ["information"]
    assert severities({"resourceType": "Task", "status": "requested"}) == ["error"]
    assert severities(task("t1", status="nonsense")) == ["error"]
    assert severities(task("t1", nonsense=1)) == ["error"]
    plan = {"resourceType": "CarePlan", "status": "active", "intent": "plan"}
    missing = ehr.post("/CarePlan/$validate", json=plan).json()["issue"][0]
    assert missing["severity"] == "error" and "subject" in missing["diagnostics"]
    server.habits.validate_writes = True
    assert ehr.put("/Task/t1", json=task("t1", status="nonsense")).status_code == 422
    assert ehr.put("/Task/t1", json=good).status_code == 201


# --- Bundles


def bundle(kind: str, *entries: tuple[str, str, Json | None, Json]) -> Json:
    made = []
    for method, url, resource, more in entries:
        entry: Json = {"request": {"method": method, "url": url, **more}}
        if resource is not None:
            entry |= {"resource": resource, "fullUrl": more.pop("fullUrl", f"http://x/{url}")}
            entry["request"] = {"method": method, "url": url, **more}
        made.append(entry)
    return {"resourceType": "Bundle", "type": kind, "entry": made}


def statuses(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["response"]["status"] for entry in answer.json()["entry"]]


def test_transaction_resolves_urns_in_any_order(server: Sandbox, ehr: httpx.Client) -> None:
    who = {"reference": "urn:uuid:1"}
    sent = bundle(
        "transaction",
        ("PUT", "Task/t1", task("t1", **{"for": who}), {}),
        ("POST", "Patient", {"resourceType": "Patient"}, {"fullUrl": "urn:uuid:1"}),
    )
    answer = ehr.post("", json=sent)
    assert statuses(answer) == ["201 Created", "201 Created"]
    location = answer.json()["entry"][1]["response"]["location"].split("/_history")[0]
    stored = server.get("Task/t1")
    assert stored is not None and stored["for"] == {"reference": location}
    assert answer.json()["entry"][0]["response"]["etag"] == "1"


def test_transaction_is_all_or_nothing(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    put(task("t1"))
    put(task("t1", status="accepted"))
    before = server.snapshot()
    sent = bundle(
        "transaction",
        ("PUT", "Task/t2", task("t2"), {}),
        ("PUT", "Task/t1", task("t1", status="completed"), {"ifMatch": 'W/"1"'}),
    )
    assert ehr.post("", json=sent).status_code == 409
    assert server.snapshot().chains == before.chains
    server.habits.stale_status = 412
    assert ehr.post("", json=sent).status_code == 400
    dangling = bundle("transaction", ("PUT", "Task/t3", task("t3", focus={"reference": "Task/no"}), {}))
    refused = ehr.post("", json=dangling)
    assert refused.status_code == 400 and "HAPI-1094" in text_of(refused)
    assert server.get("Task/t3") is None and ids(ehr.get("/Task").json()) == ["t1"]


def test_transaction_conditions(server: Sandbox, ehr: httpx.Client) -> None:
    body = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "1"}]}
    condition = {"ifNoneExist": "identifier=urn:x|1"}
    first = bundle("transaction", ("POST", "Patient", body, {**condition, "fullUrl": "urn:uuid:1"}))
    assert statuses(ehr.post("", json=first)) == ["201 Created"]
    again = bundle(
        "transaction",
        ("POST", "Patient", body, {**condition, "fullUrl": "urn:uuid:1"}),
        ("PUT", "Task/t1", task("t1", **{"for": {"reference": "urn:uuid:1"}}), {}),
    )
    assert statuses(ehr.post("", json=again)) == ["200 OK", "201 Created"]
    assert server.count("Patient") == {"Patient": 1}
    twice = bundle("transaction", ("PUT", "Task/t1", task("t1"), {}), ("PUT", "Task/t1", task("t1"), {}))
    assert ehr.post("", json=twice).status_code == 400


def test_one_transaction_has_one_time(clock: Standing) -> None:
    class Running(Standing):
        def now(self):  # type: ignore[no-untyped-def]
            self.advance(milliseconds=5)
            return self.at

    with Sandbox(clock=Running()) as server:
        sent = bundle("transaction", *(("PUT", f"Task/t{n}", task(f"t{n}"), {}) for n in range(3)))
        httpx.post(server.base_url, json=sent, verify=False)
        assert len({task["meta"]["lastUpdated"] for task in server.all("Task")}) == 1
        assert server.count("Task") == {"Task": 3}


def test_batch_entries_stand_alone(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    put(task("t1"))
    put(task("t1", status="accepted"))
    sent = bundle(
        "batch",
        ("PUT", "Task/t1", task("t1"), {"ifMatch": 'W/"1"'}),
        ("PUT", "Task/t2", task("t2"), {"ifMatch": 'W/"0"'}),
        ("GET", "Task/t1", None, {}),
        ("GET", "Task?status=accepted", None, {}),
        ("GET", "Task/nope", None, {}),
        ("DELETE", "Task/t1", None, {}),
    )
    answer = ehr.post("", json=sent, headers={"Prefer": "return=representation"})
    assert [text[:3] for text in statuses(answer)] == ["409", "201", "200", "200", "404", "204"]
    entries = answer.json()["entry"]
    assert entries[0]["response"]["outcome"]["resourceType"] == "OperationOutcome"
    assert entries[1]["resource"]["id"] == "t2" and entries[2]["resource"]["id"] == "t1"
    assert ids(entries[3]["resource"]) == ["t1"]
    assert server.get("Task/t1") is None


def test_a_bundle_of_another_type_is_refused(ehr: httpx.Client) -> None:
    assert ehr.post("", json={"resourceType": "Bundle", "type": "collection"}).status_code == 400
    assert ehr.post("", json=task("t1")).status_code == 400
