"""Faults for the next few requests, planned or drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import pytest

from adapter import fhirjson
from adapter.sandbox import FaultKind, Sandbox
from tests.sandbox.conftest import Standing, ids, link, patient, task

Put = Callable[..., httpx.Response]


def test_a_plan_counts_and_fits(server: Sandbox, ehr: httpx.Client) -> None:
    server.faults.plan("status", status=503, method="GET", type="Task", skip=1, times=2)
    assert ehr.get("/Patient").status_code == 200
    assert [ehr.get("/Task").status_code for _ in range(4)] == [200, 503, 503, 200]
    assert server.faults.waiting() == ()
    assert [kind for _, kind in server.faults.happened] == ["status", "status"]


def test_a_plan_by_predicate(server: Sandbox, ehr: httpx.Client) -> None:
    server.faults.plan("status", where=lambda request: "_count=1" in request.query)
    assert ehr.get("/Task?_count=2").status_code == 200
    assert ehr.get("/Task?_count=1").status_code == 500
    server.faults.plan("status")
    server.faults.clear()
    assert ehr.get("/Task").status_code == 200


def test_rate_limit(server: Sandbox, ehr: httpx.Client) -> None:
    server.faults.plan("rate-limit", retry_after="7")
    answer = ehr.get("/Task")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize("kind", ["drop", "lost-response", "late", "status"])
def test_whether_the_write_was_done(server: Sandbox, ehr: httpx.Client, put: Put, kind: FaultKind) -> None:
    server.faults.plan(kind, method="PUT")
    if kind == "status":
        assert put(task("t1")).status_code == 500
    else:
        with pytest.raises(httpx.TransportError):
            put(task("t1"))
    assert (server.get("Task/t1") is not None) == (kind == "lost-response")
    assert server.requests[-1].status == (500 if kind == "status" else 0)
    assert server.requests[-1].fault == kind
    assert ehr.get("/Patient").status_code == 200


def test_an_error_after_the_write(server: Sandbox, put: Put) -> None:
    server.faults.plan("status", status=502, executed=True)
    assert put(task("t1")).status_code == 502
    assert server.get("Task/t1") is not None


def test_delivered_after_the_client_gave_up(
    server: Sandbox, ehr: httpx.Client, put: Put, clock: Standing
) -> None:
    server.faults.plan("late", seconds=30)
    with pytest.raises(httpx.TransportError):
        put(task("t1"))
    assert ehr.get("/Task/t1").status_code == 404
    put(task("t1", status="completed"))
    clock.advance(seconds=30)
    overwritten = ehr.get("/Task/t1").json()
    assert (overwritten["status"], overwritten["meta"]["versionId"]) == ("requested", "2")


def test_late_by_requests_and_by_hand(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    server.faults.plan("late", requests=1)
    server.faults.plan("late")
    for name in ("t1", "t2"):
        with pytest.raises(httpx.TransportError):
            put(task(name))
    assert ehr.get("/Task/t1").status_code == 200
    assert server.get("Task/t2") is None
    assert server.deliver_late() == 1
    assert server.get("Task/t2") is not None


def test_cut_in_the_middle_of_the_body(server: Sandbox, ehr: httpx.Client) -> None:
    server.load(patient(f"p{number}") for number in range(20))
    server.faults.plan("cut")
    with pytest.raises(httpx.TransportError), ehr.stream("GET", "/Patient") as answer:
        assert answer.status_code == 200
        answer.read()
    assert len(ids(ehr.get("/Patient").json())) == 20


def test_a_body_that_stops_early_under_its_own_length(server: Sandbox, ehr: httpx.Client) -> None:
    server.put(patient("a"))
    server.faults.plan("malformed")
    answer = ehr.get("/Patient")
    assert answer.status_code == 200 and "json" in answer.headers["content-type"]
    with pytest.raises(fhirjson.NotJson):
        fhirjson.loads(answer.content)


def test_pages_damaged(server: Sandbox, ehr: httpx.Client) -> None:
    server.load(patient(name) for name in "abc")
    kinds: list[FaultKind] = ["repeat", "reverse", "misshapen-row", "empty", "warning", "no-next", "bad-row"]
    for kind in kinds:
        server.faults.plan(kind, text="4119")
    assert ids(ehr.get("/Patient").json()) == ["a", "a", "b", "b", "c", "c"]
    assert ids(ehr.get("/Patient").json()) == ["c", "b", "a"]
    assert "resourceType" not in ehr.get("/Patient").json()["entry"][1]["resource"]
    assert ids(ehr.get("/Patient").json()) == []
    assert ehr.get("/Patient").json()["entry"][-1]["resource"]["issue"][0]["diagnostics"] == "4119"
    assert link(ehr.get("/Patient?_count=1").json()) == ""
    with pytest.raises(fhirjson.NotJson):
        fhirjson.loads(ehr.get("/Patient").content)
    assert ids(ehr.get("/Patient").json()) == ["a", "b", "c"]


def test_expired_page_redirect_html_and_conflict(server: Sandbox, ehr: httpx.Client) -> None:
    server.load(patient(name) for name in "ab")
    url = link(ehr.get("/Patient?_count=1").json())
    server.faults.plan("expired", where=lambda request: "_getpages" in request.query)
    assert [ehr.get(url).status_code for _ in range(2)] == [410, 200]
    server.faults.plan("redirect", location="http://other.example/fhir/Patient")
    moved = ehr.get("/Patient")
    assert (moved.status_code, moved.headers["location"]) == (307, "http://other.example/fhir/Patient")
    server.faults.plan("html")
    assert "html" in ehr.get("/Patient").headers["content-type"]
    server.faults.plan("conflict")
    assert ehr.get("/Patient").status_code == 409


def test_slow_and_dripping_answers(server: Sandbox, ehr: httpx.Client) -> None:
    server.put(patient("a"))
    for kind in ("slow", "drip"):
        server.faults.plan(kind, seconds=0.02)
        assert ids(ehr.get("/Patient").json()) == ["a"]
    server.faults.plan("slow", seconds=5)
    with pytest.raises(httpx.ReadTimeout):
        ehr.get("/Patient", timeout=0.05)


def test_dice_fall_the_same_for_the_same_seed(server: Sandbox, ehr: httpx.Client) -> None:
    def run(seed: int) -> list[int]:
        server.faults.at_random(seed=seed, rate=0.5, kinds=("status", "rate-limit"))
        return [ehr.get("/Task").status_code for _ in range(30)]

    first = run(7)
    assert set(first) == {200, 429, 500}
    assert run(7) == first
    assert run(8) != first


def test_what_was_asked_is_written_down(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    put(task("t1"), if_match='W/"0"')
    ehr.get("/Task?status=requested&_count=5", headers={"Cache-Control": "no-cache"})
    ehr.post("/Task/_search", data={"status": "completed"})
    wrote, read, posted = server.requests
    assert (wrote.method, wrote.path, wrote.type, wrote.status) == ("PUT", "Task/t1", "Task", 201)
    assert wrote.header("If-Match") == 'W/"0"' and b"requested" in wrote.body
    assert read.header("cache-control") == "no-cache"
    assert read.parameters == [("status", "requested"), ("_count", "5")]
    assert posted.parameters == [("status", "completed")]
    assert server.sent("PUT") == [wrote] and server.sent(kind="Patient") == []
    server.clear_requests()
    assert server.requests == []


def test_many_clients_and_a_person_at_once(server: Sandbox) -> None:
    """Eight clients write and search while a person edits: nothing is lost, and each version counts once."""
    server.put(task("shared"))
    failures: list[str] = []

    def client(number: int) -> None:
        with httpx.Client(base_url=server.base_url, verify=False, trust_env=False) as ehr:
            for step in range(15):
                name = f"t{number}-{step}"
                if ehr.put(f"/Task/{name}", json=task(name)).status_code != 201:
                    failures.append(name)
                ehr.get("/Task?_sort=_lastUpdated&_count=200")

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for step in range(50):
        server.edit("Task/shared", description=str(step))
    for thread in threads:
        thread.join()
    assert failures == []
    assert server.count("Task") == {"Task": 121} and len(server.versions("Task/shared")) == 51
    assert len(server.requests) == 240


def test_starting_and_stopping_leaves_nothing_behind() -> None:
    never = Sandbox()
    never.stop()
    with Sandbox() as server:
        assert httpx.get(f"{server.base_url}/metadata", verify=False).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.base_url}/metadata", verify=False)
