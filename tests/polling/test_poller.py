"""What a poll does with rows that break, types that are refused, deletions, and an EHR that was put back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapter.errors import NotFhir
from adapter.fhir import Limits, Page
from adapter.model import SnapshotState
from adapter.polling import QuarantineRetry
from adapter.polling.retry import Retried
from tests.polling.bench import NAMESPACE, START, Bench, order, visit
from tests.polling.test_walks import load


def snapshot(bench: Bench, ref: str) -> Any:
    found = bench.ledger.snapshot("ehr", ref)
    assert found is not None
    return found


# ---- rows that break


def test_a_row_that_is_no_json_is_set_aside_and_the_rest_goes_on(bench: Bench) -> None:
    load(bench.server, bench.clock, 15)
    bench.server.habits.poison = frozenset({"ServiceRequest/o007"})
    result = bench.good()
    assert result.quarantined == 1
    rows = bench.ledger.quarantine("ehr")
    assert [(row.res_id, row.reason) for row in rows] == [("o007", "not-json")]
    assert b"brokenRow" in rows[0].raw
    assert snapshot(bench, "ServiceRequest/o007").state is SnapshotState.QUARANTINED
    assert snapshot(bench, "ServiceRequest/o014").state is SnapshotState.LIVE


def test_a_newer_version_that_cannot_be_read_makes_the_held_one_unknown_and_wakes(bench: Bench) -> None:
    """F23, and once: the same bytes on the next poll wake nobody."""
    bench.server.put(order("o1", "p1"))
    bench.good()
    bench.settle_requests()
    bench.server.edit("ServiceRequest/o1", status=None)
    bench.good()
    held = snapshot(bench, "ServiceRequest/o1")
    assert held.state is SnapshotState.QUARANTINED
    assert held.body["status"] == "active"  # kept to be shown
    assert "Patient/p1" in bench.causes()
    bench.settle_requests()
    bench.good()
    assert not bench.causes()
    assert len(bench.ledger.quarantine("ehr")) == 1


def test_a_good_version_clears_the_quarantine(bench: Bench) -> None:
    bench.server.put(order("o1", status=None))
    bench.good()
    bench.server.edit("ServiceRequest/o1", status="active")
    bench.good()
    assert not bench.ledger.quarantine("ehr")
    assert snapshot(bench, "ServiceRequest/o1").state is SnapshotState.LIVE


def test_a_retry_reads_the_resource_and_never_replays_the_bytes(bench: Bench) -> None:
    """F48."""
    bench.server.put(order("o1", status=None))
    bench.server.put(order("o2", status=None))
    bench.server.put(order("o3", status=None))
    bench.good()
    ids = {row.res_id: row.id for row in bench.ledger.quarantine("ehr")}
    bench.server.edit("ServiceRequest/o1", status="revoked")
    bench.server.delete("ServiceRequest/o2")
    retry = QuarantineRetry(bench.context)
    assert retry.retry(ids["o1"]) is Retried.STORED
    assert snapshot(bench, "ServiceRequest/o1").body["status"] == "revoked"
    assert retry.retry(ids["o2"]) is Retried.GONE
    assert retry.retry(ids["o3"]) is Retried.STAYS
    assert [row.res_id for row in bench.ledger.quarantine("ehr")] == ["o3"]
    assert bench.ledger.quarantine("ehr")[0].tries >= 1
    assert retry.retry(999) is Retried.NOT_THERE
    assert retry.retry_all() == {Retried.STAYS: 1}


def poisoned(bench: Bench, *ids: str) -> None:
    """Pages that hold one of these rows cannot be read at all."""

    def check(page: Page) -> Page:
        if any(entry.resource and entry.resource.get("id") in ids for entry in page.entries):
            raise NotFhir("the answer is no JSON that could be cut into entries")
        return page

    search, follow = bench.client.search, bench.client.follow
    bench.client.search = lambda type, params: check(search(type, params))  # type: ignore[method-assign]
    bench.client.follow = lambda url: check(follow(url))  # type: ignore[method-assign]


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_page_that_cannot_be_read_is_halved_until_the_row_is_alone(
    bench: Bench, newest_first: bool
) -> None:
    """F24: everything else is read, the gap is recorded, and what is known moves."""
    bench.server.habits.newest_first = newest_first
    load(bench.server, bench.clock, 40, apart=7)
    poisoned(bench, "o013", "o030")
    result = bench.good()
    held = {one.ref.partition("/")[2] for one in bench.ledger.inventory("ehr", "ServiceRequest")}
    assert held == {f"o{n:03d}" for n in range(40)} - {"o013", "o030"}
    rows = bench.ledger.quarantine("ehr")
    assert [row.reason for row in rows] == ["unreadable-page"] * 2
    assert result.quarantined == 2
    assert bench.ledger.walk("ehr", "ServiceRequest").known_at is not None
    asked = bench.client.asked
    bench.server.put(order("newer"))
    bench.quiet()
    assert bench.client.asked - asked < 10
    assert len(bench.ledger.quarantine("ehr")) == 2


def test_a_page_beyond_the_limit_is_asked_for_in_smaller_pieces(bench: Bench) -> None:
    load(bench.server, bench.clock, 12)
    for number in (3, 4, 5):
        bench.server.edit(f"ServiceRequest/o{number:03d}", note=[{"text": "x" * 5000}])
    bench.open(limits=Limits(retries=0, max_bytes=40_000))
    bench.server.edit("ServiceRequest/o006", note=[{"text": "x" * 60_000}])
    bench.good()
    held = {one.ref.partition("/")[2] for one in bench.ledger.inventory("ehr", "ServiceRequest")}
    assert held == {f"o{n:03d}" for n in range(12)} - {"o006"}
    assert [row.reason for row in bench.ledger.quarantine("ehr")] == ["unreadable-page"]


def test_a_server_that_answers_no_fhir_at_all_leaves_no_gap(bench: Bench) -> None:
    load(bench.server, bench.clock, 12)
    bench.server.faults.plan("html", times=50)
    result = bench.poll()
    assert not result.complete
    assert result.errors
    assert not bench.ledger.quarantine("ehr")
    assert bench.client.asked < 10
    bench.server.faults.clear()
    bench.good()
    bench.same_as_server()


# ---- refusals


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_type_is_blind_with_a_reason_and_the_others_go_on(bench: Bench, status: int) -> None:
    bench.server.put(order("o1"))
    bench.server.put(visit("v1"))
    bench.good()
    known = bench.ledger.walk("ehr", "ServiceRequest").known_at
    bench.server.habits.refused = {"ServiceRequest": status}
    bench.tick()
    result = bench.poll()
    assert (result.complete, result.blind) == (False, str(status))
    row = bench.ledger.walk("ehr", "ServiceRequest")
    assert (row.blind, row.known_at) == (str(status), known)
    since = row.blind_since
    bench.tick()
    bench.poll()
    assert bench.ledger.walk("ehr", "ServiceRequest").blind_since == since
    bench.good("Appointment")
    bench.server.habits.refused = {}
    bench.good()
    assert bench.ledger.walk("ehr", "ServiceRequest").blind == ""


def test_a_missing_route_is_an_error_and_says_nothing_of_the_type(bench: Bench) -> None:
    """F18 (b): 404 without an OperationOutcome, as from a gateway."""
    bench.server.put(order("o1"))
    bench.good()
    bench.server.habits.missing = "html"
    bench.tick()
    result = bench.poll()
    assert (result.complete, result.blind) == (False, "")
    bench.server.habits.missing = ""
    bench.good()
    bench.same_as_server()


def test_a_passing_fault_ends_the_walk_and_the_next_goes_on(bench: Bench) -> None:
    load(bench.server, bench.clock, 45)
    bench.server.faults.plan("status", status=500, skip=2)
    result = bench.poll()
    assert (result.complete, result.blind) == (False, "")
    assert len(result.errors) == 1
    bench.good()
    bench.same_as_server()


def test_a_warning_about_an_ignored_parameter_is_not_trusted(bench: Bench) -> None:
    bench.server.habits.no_last_updated_search = True
    bench.server.habits.unknown_parameter = "warn"
    bench.change(since={"ServiceRequest": START - timedelta(days=1)})
    bench.server.put(order("o1"))
    result = bench.poll()
    assert not result.complete
    assert "warnings" in result.errors[0]
    assert bench.ledger.walk("ehr", "ServiceRequest").known_at is None
    assert not bench.ledger.inventory("ehr", "ServiceRequest")


def test_a_refused_incremental_search_never_becomes_a_full_one(bench: Bench) -> None:
    bench.server.put(order("o1"))
    bench.good()
    bench.server.habits.no_last_updated_search = True
    bench.server.clear_requests()
    result = bench.poll()
    assert (result.complete, result.blind) == (False, "400")
    assert all("_lastUpdated=" in r.query for r in bench.server.sent("GET", "ServiceRequest"))


def test_a_sort_that_is_refused_is_given_up_and_the_window_is_kept(bench: Bench) -> None:
    from adapter.errors import Issue, Rejected

    load(bench.server, bench.clock, 25)
    plain = bench.client.search

    def picky(type: str, params: Any) -> Page:
        if ("_sort", "_lastUpdated,_id") in params:
            raise Rejected("no", status=400, issues=[Issue("error", "invalid", text="cannot sort by _id")])
        return plain(type, params)

    bench.client.search = picky  # type: ignore[method-assign]
    bench.good()
    bench.same_as_server()


# ---- deletions


def test_a_deletion_is_found_in_the_history_and_confirmed(bench: Bench) -> None:
    load(bench.server, bench.clock, 5)
    bench.good()
    bench.settle_requests()
    bench.tick()
    bench.server.delete("ServiceRequest/o002")
    result = bench.good()
    assert result.deleted == 1
    held = snapshot(bench, "ServiceRequest/o002")
    assert held.state is SnapshotState.DELETED
    assert held.patients == ("Patient/p002",)
    assert set(bench.causes()) == {"Patient/p002"}
    bench.settle_requests()
    assert bench.good().deleted == 0
    assert not bench.causes()


def test_a_deletion_before_a_killed_first_load_ended_is_found(bench: Bench) -> None:
    from tests.polling.bench import Killed
    from tests.polling.test_walks import kill_at

    load(bench.server, bench.clock, 25)
    bench.client.before = kill_at(bench, 3)
    with pytest.raises(Killed):
        bench.poll()
    bench.tick(4000)
    bench.server.delete("ServiceRequest/o002")
    bench.open()
    bench.good()
    bench.same_as_server()


def test_what_was_deleted_and_made_again_is_alive(bench: Bench) -> None:
    """F41: a delete in a history is a reason to read, and no more."""
    load(bench.server, bench.clock, 3)
    bench.good()
    bench.tick()
    bench.server.delete("ServiceRequest/o001")
    bench.server.put(order("o001", "p001"))
    bench.good()
    assert snapshot(bench, "ServiceRequest/o001").state is SnapshotState.LIVE


def test_a_delete_that_stands_below_an_edit_in_the_history_is_seen(bench: Bench) -> None:
    """F41: stamps of one resource go back, or are the same; then a history shows its versions in any order."""
    bench.server.habits.reorder_entries = True
    load(bench.server, bench.clock, 3)
    bench.good()
    bench.tick()
    bench.server.edit("ServiceRequest/o001", priority="urgent")
    bench.server.delete("ServiceRequest/o001")
    bench.good()
    bench.same_as_server()


def test_where_deletes_answer_404_the_history_says_that_it_was_one(bench: Bench) -> None:
    bench.server.habits.gone_status = 404
    load(bench.server, bench.clock, 5)
    bench.good()
    bench.tick()
    bench.server.delete("ServiceRequest/o002")
    bench.server.delete("ServiceRequest/o004")  # the newest one: the anchor
    result = bench.good()
    assert not result.suspect
    bench.same_as_server()


def test_without_a_history_nothing_is_asked_of_it(bench: Bench) -> None:
    bench.server.habits.history = False
    bench.open()
    load(bench.server, bench.clock, 3)
    bench.good()
    bench.good()
    assert not [r for r in bench.server.requests if "_history" in r.path]


def test_a_history_that_fails_is_asked_again_from_the_same_time(bench: Bench) -> None:
    load(bench.server, bench.clock, 3)
    bench.good()
    bench.tick()
    bench.server.delete("ServiceRequest/o001")
    bench.server.faults.plan("status", where=lambda r: "_history" in r.path)
    assert any("deletions" in note for note in bench.good().notes)
    bench.tick(3000)
    bench.good()
    bench.same_as_server()


# ---- the anchor


def test_an_empty_search_with_data_behind_it_is_not_believed(bench: Bench) -> None:
    """F18 (c)."""
    load(bench.server, bench.clock, 3)
    bench.good()
    known = bench.ledger.walk("ehr", "ServiceRequest").known_at
    bench.server.habits.empty_search = frozenset({"ServiceRequest"})
    bench.tick()
    result = bench.poll()
    assert not result.complete
    assert "does not show" in result.errors[0]
    assert bench.ledger.walk("ehr", "ServiceRequest").known_at == known
    bench.server.habits.empty_search = frozenset()
    bench.good()


def suspect(bench: Bench) -> str:
    row = bench.ledger.source("ehr")
    assert row is not None
    return row.suspect


def test_an_ehr_put_back_to_a_backup_makes_the_source_suspect(bench: Bench) -> None:
    """F18 (a): rows are gone, versions fell back."""
    load(bench.server, bench.clock, 5)
    backup = bench.server.snapshot()
    bench.tick(600)
    for number in range(3):
        bench.server.put(order(f"new{number}"))
        bench.server.edit(f"ServiceRequest/o00{number}", status="revoked")
    bench.good()
    bench.tick(600)
    bench.server.restore(backup)
    result = bench.poll()
    assert not result.complete
    assert "restored" in result.suspect
    assert suspect(bench)
    assert bench.ledger.walk("ehr", "ServiceRequest").watermark is None
    bench.good()  # read again from the beginning
    bench.same_as_server()


def test_a_version_that_fell_back_makes_the_source_suspect(bench: Bench) -> None:
    load(bench.server, bench.clock, 2)
    backup = bench.server.snapshot()
    bench.tick(600)
    bench.server.edit("ServiceRequest/o001", status="revoked")
    bench.good()
    bench.tick(600)
    bench.server.restore(backup)
    assert "older" in bench.poll().suspect
    assert suspect(bench)


def test_the_newest_row_deleted_is_a_deletion_and_no_restore(bench: Bench) -> None:
    load(bench.server, bench.clock, 5)
    bench.good()
    bench.tick()
    bench.server.delete("ServiceRequest/o004")
    assert bench.good().deleted == 1
    assert not suspect(bench)
    bench.same_as_server()
    bench.quiet()


# ---- who is woken, what is asked


def test_a_change_of_patient_wakes_both(bench: Bench) -> None:
    bench.server.put(visit("v1", "p1"))
    bench.good("Appointment")
    bench.settle_requests()
    bench.server.put(visit("v1", "p2"))
    bench.good("Appointment")
    assert set(bench.causes()) == {"Patient/p1", "Patient/p2"}


def test_a_participant_that_is_removed_wakes_the_former_patient(bench: Bench) -> None:
    bench.server.put(visit("v1", "p1"))
    bench.good("Appointment")
    bench.settle_requests()
    bench.server.edit("Appointment/v1", participant=[{"status": "accepted", "actor": {"display": "Room"}}])
    bench.good("Appointment")
    assert set(bench.causes()) == {"Patient/p1"}


def test_since_and_search_bound_what_is_asked_and_what_is_known(bench: Bench) -> None:
    bench.server.put(order("old"), at=START - timedelta(days=40))
    bench.server.put(order("new"), at=START - timedelta(days=3))
    bench.server.put(order("draft", status="draft"), at=START - timedelta(days=2))
    bench.change(
        since={"ServiceRequest": START - timedelta(days=10)},
        search={"ServiceRequest": (("status", "active"),)},
    )
    bench.good()
    assert {one.ref for one in bench.ledger.inventory("ehr", "ServiceRequest")} == {"ServiceRequest/new"}
    assert bench.ledger.walk("ehr", "ServiceRequest").bounded
    bench.good("Appointment")
    assert not bench.ledger.walk("ehr", "Appointment").bounded


def test_a_server_that_ignores_the_window_does_not_bring_what_since_excludes(bench: Bench) -> None:
    bench.server.habits.no_last_updated_search = True
    bench.server.habits.unknown_parameter = "ignore"
    bench.server.put(order("old"), at=START - timedelta(days=40))
    bench.server.put(order("new"), at=START - timedelta(days=3))
    bench.change(since={"ServiceRequest": START - timedelta(days=10)})
    bench.good()
    assert {one.ref for one in bench.ledger.inventory("ehr", "ServiceRequest")} == {"ServiceRequest/new"}


def test_own_tasks_are_polled_by_our_identifier_and_kept_whole(bench: Bench) -> None:
    own = {
        "resourceType": "Task",
        "id": "b-k1-1",
        "status": "accepted",
        "intent": "order",
        "identifier": [{"system": f"urn:baton:{NAMESPACE}:task", "value": "k1-1"}],
        "for": {"reference": "Patient/p1"},
        "note": [{"text": "called"}],
    }
    bench.server.put(own)
    bench.server.put({**own, "id": "theirs", "identifier": [{"system": "urn:other", "value": "x"}]})
    bench.good("Task")
    assert {one.ref for one in bench.ledger.inventory("ehr", "Task")} == {"Task/b-k1-1"}
    assert snapshot(bench, "Task/b-k1-1").body["note"] == [{"text": "called"}]
    assert bench.causes()["Patient/p1"] == {"read-back"}


def test_the_cause_tells_a_first_load_from_the_day(bench: Bench) -> None:
    bench.server.put(order("o1", "p1"))
    bench.good()
    assert bench.causes() == {"Patient/p1": frozenset({"load"})}
    bench.settle_requests()
    bench.tick()
    bench.server.put(order("o2", "p2"))
    bench.good()
    assert bench.causes() == {"Patient/p2": frozenset({"resource"})}


def test_what_is_declared_none_is_known(bench: Bench) -> None:
    bench.poller.declare_none("DocumentReference")
    assert bench.ledger.walk("ehr", "DocumentReference").declared_none


def test_no_text_of_a_result_holds_patient_data(bench: Bench) -> None:
    bench.server.put(order("o1", status=None, note=[{"text": "Zaphod"}]))
    bench.server.habits.refused = {"Appointment": 403}
    for result in (bench.poll(), bench.poll("Appointment")):
        assert "Zaphod" not in repr(result)
        assert "o1" not in repr([*result.errors, *result.notes])
