"""Each habit, turned on while the server runs, and what a client sees of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from adapter import fhirjson
from adapter.sandbox import Habits, Sandbox
from tests.sandbox.conftest import Json, Standing, ids, link, patient, task, text_of, walk

Put = Callable[..., httpx.Response]


def updated(resource: Json | None) -> str:
    assert resource is not None
    return str(resource["meta"]["lastUpdated"])[:23]


# --- time


def test_a_persons_late_commit_is_stamped_now_and_seen_later(
    server: Sandbox, ehr: httpx.Client, clock: Standing
) -> None:
    server.habits.late_commit = timedelta(seconds=12)
    server.put(task("slow"))
    server.habits.late_commit = timedelta(0)
    clock.advance(seconds=5)
    server.put(task("quick"))
    assert ids(ehr.get("/Task").json()) == ["quick"]
    assert ehr.get("/Task/slow").status_code == 404
    clock.advance(seconds=7)
    assert ids(ehr.get("/Task?_sort=_lastUpdated").json()) == ["slow", "quick"]
    assert updated(server.get("Task/slow")) == "2026-11-23T15:00:00.123"


def test_a_late_commit_can_overtake_backwards(server: Sandbox, ehr: httpx.Client, clock: Standing) -> None:
    """HAPI: v2 at .899 by PUT while a transaction runs, then the transaction's v3 at .620."""
    server.put(task("t1"))
    clock.advance(seconds=1)
    server.habits.late_commit_requests = 1
    server.edit("Task/t1", status="completed")
    server.habits.late_commit_requests = 0
    clock.advance(seconds=1)
    server.edit("Task/t1", status="accepted")
    second = updated(ehr.get("/Task/t1").json())
    newest = ehr.get("/Task/t1").json()
    assert (newest["meta"]["versionId"], newest["status"]) == ("3", "completed")
    assert updated(newest) < second
    assert ids(ehr.get("/Task", params={"_lastUpdated": f"gt{second}Z"}).json()) == []


def test_a_clients_late_commit_hides_from_search_and_history(
    server: Sandbox, ehr: httpx.Client, put: Put
) -> None:
    server.habits.late_commit_requests = 3
    assert put(task("t1")).status_code == 201
    assert ids(ehr.get("/Task").json()) == []
    assert "entry" not in ehr.get("/Task/_history").json()
    assert ehr.get("/Task/t1").status_code == 200
    assert ids(ehr.get("/Task").json()) == ["t1"]


def test_settle_commits_at_once(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.late_commit = timedelta(hours=1)
    server.put(task("t1"))
    server.settle(all_of_them=True)
    assert ehr.get("/Task/t1").status_code == 200


def test_a_lagging_index_shows_the_version_before(
    server: Sandbox, ehr: httpx.Client, clock: Standing
) -> None:
    server.put(task("t1"))
    server.habits.index_lag = timedelta(seconds=30)
    server.edit("Task/t1", status="completed")
    server.put(task("t2"))
    assert ids(ehr.get("/Task?status=requested").json()) == ["t1"]
    assert ehr.get("/Task/t1").json()["status"] == "completed"
    clock.advance(seconds=30)
    assert ids(ehr.get("/Task?status=requested").json()) == ["t2"]


def test_last_updated_goes_back(server: Sandbox, clock: Standing) -> None:
    first = server.put(task("t1"))
    clock.advance(milliseconds=10)
    server.habits.updated_back = timedelta(milliseconds=300)
    assert updated(server.edit("Task/t1", status="accepted")) < updated(first)


def test_skew(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.skew = timedelta(hours=1)
    server.habits.date_skew = timedelta(minutes=5)
    server.put(task("t1"))
    answer = ehr.get("/Task/t1")
    assert answer.headers["date"] == "Mon, 23 Nov 2026 16:05:00 GMT"
    assert updated(answer.json()) == "2026-11-23T16:00:00.123"


# --- versions


def test_opaque_versions(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    server.habits.opaque_versions = True
    first = put(task("t1")).headers["etag"]
    assert len(first) == len('W/""') + 36
    second = put(task("t1", status="accepted"), if_match=first)
    assert second.status_code == 200
    assert put(task("t1", status="completed"), if_match=first).status_code == 409
    label = second.json()["meta"]["versionId"]
    assert ehr.get(f"/Task/t1/_history/{label}").json()["status"] == "accepted"


def test_neither_version_nor_time(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.no_version_id = server.habits.no_last_updated = True
    server.put(task("t1"))
    answer = ehr.get("/Task/t1")
    assert "meta" not in answer.json()
    assert "etag" not in answer.headers and "last-modified" not in answer.headers


# --- searches


def test_newest_first_whatever_was_asked(server: Sandbox, ehr: httpx.Client, clock: Standing) -> None:
    for name in "abc":
        server.put(patient(name))
        clock.advance(seconds=1)
    server.edit("Patient/a", active=True)
    server.habits.newest_first = True
    assert ids(ehr.get("/Patient?_sort=_lastUpdated").json()) == ["a", "c", "b"]
    server.habits.newest_first, server.habits.ignore_sort = False, True
    assert ids(ehr.get("/Patient?_sort=-_id").json()) == ["a", "b", "c"]


def test_repeated_and_reordered_rows(server: Sandbox, ehr: httpx.Client) -> None:
    server.load(patient(name) for name in "abcd")
    server.habits.repeat_entries = server.habits.reorder_entries = True
    assert walk(ehr, "/Patient?_count=2&_sort=_id") == ["b", "a", "d", "c", "b"]


def test_next_that_leads_back(server: Sandbox, ehr: httpx.Client) -> None:
    server.load(patient(name) for name in "abc")
    server.habits.next_loops = True
    first = ehr.get("/Patient?_count=2").json()
    second = ehr.get(link(first)).json()
    assert ids(second) == ids(first) and link(second) == link(first)


def test_unknown_parameter_with_a_warning(server: Sandbox, ehr: httpx.Client) -> None:
    server.put(task("t1"))
    server.habits.unknown_parameter = "warn"
    page = ehr.get("/Task?baton=1&status=requested").json()
    warning = page["entry"][-1]
    assert warning["search"]["mode"] == "outcome" and "fullUrl" not in warning
    assert warning["resource"]["issue"][0]["severity"] == "warning"
    assert "baton" not in link(page, "self") and "status" in link(page, "self")
    server.habits.unknown_parameter = "ignore"
    assert len(ehr.get("/Task?baton=1").json()["entry"]) == 1


def test_no_last_updated_search(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.no_last_updated_search = True
    assert ehr.get("/Task?_lastUpdated=ge2026-11-01").status_code == 400
    types = ehr.get("/metadata").json()["rest"][0]["resource"]
    assert all(p["name"] != "_lastUpdated" for part in types for p in part["searchParam"])


def test_a_search_that_needs_a_parameter(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.require_one_of = {"Appointment": frozenset({"patient", "practitioner"})}
    assert ehr.get("/Appointment?status=booked").status_code == 400
    assert ehr.get("/Appointment?patient=Patient/p1").status_code == 200


def test_empty_search_with_data_behind_it(server: Sandbox, ehr: httpx.Client) -> None:
    server.put(task("t1"))
    server.habits.empty_search = frozenset({"Task"})
    assert ids(ehr.get("/Task").json()) == []
    assert ehr.get("/Task/t1").status_code == 200
    server.habits.empty_search = frozenset({"*"})
    assert ehr.get("/Task?_summary=count").json()["total"] == 0


def test_warning_in_every_search(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.search_warning = "4119 More data may exist"
    assert ehr.get("/Task").json()["entry"][0]["resource"]["issue"][0]["code"] == "incomplete"


def test_links_of_another_host(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    server.habits.link_base = "http://inside.example:443/fhir"
    created = put(patient("a"))
    assert created.headers["location"].startswith("http://inside.example:443/fhir/Patient/a")
    server.put(patient("b"))
    page = ehr.get("/Patient?_count=1").json()
    assert link(page).startswith("http://inside.example:443/fhir?_getpages=")
    assert page["entry"][0]["fullUrl"] == "http://inside.example:443/fhir/Patient/a"
    query = link(page).partition("?")[2]
    assert ids(ehr.get(f"{server.base_url}?{query}").json()) == ["b"]


# --- rows that break


def test_a_poisoned_row_breaks_its_page_alone(server: Sandbox, ehr: httpx.Client) -> None:
    server.load(patient(name) for name in "abc")
    server.habits.poison = frozenset({"Patient/b"})
    whole = ehr.get("/Patient")
    assert whole.status_code == 200
    with pytest.raises(fhirjson.NotJson):
        fhirjson.loads(whole.content)
    first = ehr.get("/Patient?_count=1").json()
    assert ids(first) == ["a"]
    broken = ehr.get(link(first))
    with pytest.raises(fhirjson.NotJson):
        fhirjson.loads(broken.content)
    with pytest.raises(fhirjson.NotJson):
        fhirjson.loads(ehr.get("/Patient/b").content)


def test_a_misshapen_row_is_json_and_no_resource(server: Sandbox, ehr: httpx.Client) -> None:
    server.load(patient(name) for name in "abc")
    server.habits.misshapen = frozenset({"Patient/b"})
    rows = [entry["resource"] for entry in ehr.get("/Patient").json()["entry"]]
    assert [("resourceType" in row) for row in rows] == [True, False, True]


# --- content


def test_titles_are_cut(server: Sandbox, put: Put) -> None:
    server.habits.truncate_at = 5
    kept = put(task("t1", description="too long", code={"text": "Schedule it"})).json()
    assert (kept["description"], kept["code"]["text"]) == ("too l", "Sched")


def test_times_are_rounded(server: Sandbox, put: Put) -> None:
    server.habits.whole_days = True
    until = {"period": {"end": "2026-12-05T17:00:00-05:00"}}
    assert put(task("t1", restriction=until)).json()["restriction"] == {"period": {"end": "2026-12-05"}}
    plan = {"resourceType": "CarePlan", "id": "c1", "period": {"start": "2026-12-05T17:00:00Z"}}
    assert put(plan).json()["period"] == {"start": "2026-12-05"}


def test_notes_are_added(server: Sandbox, put: Put) -> None:
    server.habits.append_notes = True
    put(task("t1", note=[{"text": "one"}]))
    kept = put(task("t1", note=[{"text": "one"}])).json()
    assert [note["text"] for note in kept["note"]] == ["one", "one"]


def test_status_is_set_on_routing(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    server.habits.routed_status = "received"
    answer = put(task("t1"))
    assert (answer.json()["status"], answer.headers["etag"]) == ("requested", 'W/"1"')
    now = ehr.get("/Task/t1")
    assert (now.json()["status"], now.headers["etag"]) == ("received", 'W/"2"')


# --- refusing


@pytest.mark.parametrize(("dress", "kind"), [("html", "html"), ("empty", ""), ("outcome", "json")])
def test_everything_is_missing(server: Sandbox, ehr: httpx.Client, dress: str, kind: str) -> None:
    server.put(patient("a"))
    server.habits = Habits(missing=dress)  # type: ignore[arg-type]
    for path in ("/Patient/a", "/Patient", "/metadata"):
        answer = ehr.get(path)
        assert answer.status_code == 404 and kind in answer.headers.get("content-type", "")
    assert (ehr.get("/Patient/a").content == b"") == (dress == "empty")


def test_a_deletion_answered_404(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.gone_status = 404
    server.put(patient("a"))
    server.delete("Patient/a")
    assert ehr.get("/Patient/a").status_code == 404


def test_one_type_refused(server: Sandbox, ehr: httpx.Client) -> None:
    server.habits.refused = {"Coverage": 403, "Encounter": 404}
    assert ehr.get("/Coverage").status_code == 403
    assert ehr.get("/Coverage/x").status_code == 403
    assert ehr.get("/Encounter").status_code == 404
    assert ehr.get("/Task").status_code == 200
    types = {part["type"] for part in ehr.get("/metadata").json()["rest"][0]["resource"]}
    assert "Coverage" in types


def test_presets(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    server.habits = Habits.hapi()
    assert server.habits.search_cache == timedelta(seconds=60)
    server.habits = Habits.big_ehr()
    assert put(task("t1")).status_code == 405
    assert ehr.get("/CoverageEligibilityResponse").status_code == 404
    assert ehr.get("/Task/_history").status_code == 404


# --- a person's hands


def test_put_edit_and_count(server: Sandbox, clock: Standing) -> None:
    made = server.put({"resourceType": "Patient", "active": True})
    ref = f"Patient/{made['id']}"
    clock.advance(seconds=1)
    changed = server.edit(ref, active=False, gender="female")
    assert changed["meta"]["versionId"] == "2" and changed["gender"] == "female"
    assert "gender" not in server.edit(ref, gender=None)
    changed["name"] = "a copy"
    assert "name" not in (server.get(ref) or {})
    assert server.count() == {"Patient": 1} and len(server.versions(ref)) == 3
    with pytest.raises(KeyError):
        server.edit("Patient/nope", active=True)


def test_edit_in_place_leaves_no_trace(server: Sandbox, clock: Standing) -> None:
    before = server.put(task("t1"))
    clock.advance(hours=1)
    after = server.edit("Task/t1", silently=True, status="completed")
    assert after["status"] == "completed" and after["meta"] == before["meta"]
    assert len(server.versions("Task/t1")) == 1


def test_a_form_opened_long_ago(server: Sandbox) -> None:
    server.put(task("t1", description="first"))
    server.edit("Task/t1", description="second")
    saved = server.save_stale("Task/t1", "1", status="in-progress")
    assert (saved["description"], saved["status"], saved["meta"]["versionId"]) == (
        "first",
        "in-progress",
        "3",
    )


def test_merge_repoints_what_it_is_told(server: Sandbox, ehr: httpx.Client, clock: Standing) -> None:
    server.put(patient("a"))
    server.put(patient("b"))
    server.put(task("t1", **{"for": {"reference": "Patient/a"}}))
    order = {"resourceType": "ServiceRequest", "id": "s1", "subject": {"reference": "Patient/a"}}
    server.put(order)
    clock.advance(seconds=1)
    server.merge("Patient/a", "Patient/b", repoint=["ServiceRequest"], silently=True)
    merged = server.get("Patient/a")
    assert merged is not None and merged["link"][0]["type"] == "replaced-by"
    moved = server.get("ServiceRequest/s1")
    assert moved is not None and moved["subject"] == {"reference": "Patient/b"}
    assert moved["meta"]["versionId"] == "1"
    assert ids(ehr.get("/ServiceRequest?patient=b").json()) == ["s1"]
    assert ids(ehr.get("/ServiceRequest?patient=a").json()) == []
    assert ids(ehr.get("/Task?patient=a").json()) == ["t1"]


def test_touch_all(server: Sandbox) -> None:
    server.load([task("t1"), task("t2"), patient("p1")])
    server.delete("Task/t2")
    assert server.touch_all() == 2
    assert [len(server.versions(ref)) for ref in ("Task/t1", "Patient/p1", "Task/t2")] == [2, 2, 2]


def test_restored_from_a_backup(server: Sandbox, ehr: httpx.Client, put: Put) -> None:
    server.put(task("old"))
    backup = server.snapshot()
    drawn = ehr.post("/Task", json=task("x")).json()["id"]
    server.edit("Task/old", status="completed")
    server.restore(backup)
    assert ehr.get(f"/Task/{drawn}").status_code == 404
    assert ehr.get("/Task/old").json()["status"] == "requested"
    assert put(task("old", status="accepted")).headers["etag"] == 'W/"2"'  # the number is used again
    assert ehr.post("/Task", json=task("y")).json()["id"] == drawn
    assert ids(ehr.get("/Task?status=accepted").json()) == ["old"]


def test_at_gives_the_time(server: Sandbox, clock: Standing) -> None:
    stored = server.put(task("t1"), at=clock.now() - timedelta(days=3))
    assert updated(stored) == "2026-11-20T15:00:00.123"


def test_text_of_a_refusal_is_an_outcome(ehr: httpx.Client) -> None:
    assert "HAPI-2001" in text_of(ehr.get("/Task/nope"))
