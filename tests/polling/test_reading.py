"""Reads by id and for one patient: Patients, evidence, open work, the budget."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adapter.clock import FixedClock
from adapter.ledger import as_set
from adapter.model import Chart, Event, EventKind, Known, SnapshotState, SourceFacts, Task
from adapter.polling import Budget, Evidence, OpenWork, PatientReader
from adapter.polling.evidence import LEAST_READS
from adapter.polling.result import PollResult
from tests.polling.bench import START, Bench, order, patient, visit


def chart(bench: Bench, person: str = "Patient/p1") -> Chart:
    from datetime import UTC

    bench.ledger.request("ehr", [person], "test")
    requests = [r for r in bench.ledger.requests("ehr") if r.person == person]
    facts = SourceFacts(name="ehr", key="k1", zone=UTC)
    return bench.ledger.charts(requests, facts, bench.clock.now())[0]


def known(bench: Bench, type: str, person: str = "Patient/p1") -> Known:
    return chart(bench, person).known.get(type, Known())


def report(id: str = "r1", person: str = "p1", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "id": id,
        "status": "final",
        "subject": {"reference": f"Patient/{person}"},
        **more,
    }


# ---- Patients


def test_patients_who_wait_are_read_in_lists_and_dated(bench: Bench) -> None:
    for number in range(60):
        bench.server.put(patient(f"p{number}"))
        bench.server.put(order(f"o{number}", f"p{number}"))
    bench.good()
    bench.server.clear_requests()
    done = PatientReader(bench.context).refresh_pending()
    assert done.read == 60
    assert len(bench.server.sent("GET", "Patient")) == 2
    assert known(bench, "Patient", "Patient/p7").at == bench.clock.now()


def test_a_fresh_patient_is_not_read_again_and_after_a_day_it_is(bench: Bench) -> None:
    bench.server.put(patient("p1"))
    bench.server.put(order("o1", "p1"))
    bench.good()
    reader = PatientReader(bench.context)
    reader.refresh_pending()
    assert reader.refresh_pending().read == 0
    assert PatientReader(bench.context).refresh_pending().read == 0
    bench.tick(25 * 3600)
    assert reader.refresh_pending().read == 1
    assert known(bench, "Patient").at == bench.context.now()
    assert reader.refresh_pending().read == 0


def test_a_patient_that_is_gone_or_unknown_becomes_a_tombstone(bench: Bench) -> None:
    bench.server.put(patient("p1"))
    bench.server.delete("Patient/p1")
    done = PatientReader(bench.context).refresh(["Patient/p1", "Patient/never", "Practitioner/x"])
    assert done.gone == 2
    held = bench.ledger.snapshots("ehr", ["Patient/p1", "Patient/never"])
    assert {one.state for one in held.values()} == {SnapshotState.DELETED}


@pytest.mark.parametrize("known_before", [False, True])
def test_a_404_for_every_patient_deletes_nobody(bench: Bench, known_before: bool) -> None:
    for name in ("p1", "p2"):
        bench.server.put(patient(name))
    if known_before:
        PatientReader(bench.context).refresh(["Patient/p1", "Patient/p2"])
    bench.server.habits.refused = {"Patient": 404}
    done = PatientReader(bench.context).refresh(["Patient/p1"], always=True)
    assert done.gone == 0
    assert done.errors == ["Patients cannot be read (404, and no other Patient is found) → baton check"]
    states = {one.state for one in bench.ledger.snapshots("ehr", ["Patient/p1", "Patient/p2"]).values()}
    assert states == ({SnapshotState.LIVE} if known_before else set())
    bench.server.habits.refused = {}
    assert PatientReader(bench.context).refresh(["Patient/p1"], always=True).errors == []


def test_a_404_counts_while_another_patient_is_found(bench: Bench) -> None:
    bench.server.put(patient("p1"))
    PatientReader(bench.context).refresh(["Patient/p1"])
    done = PatientReader(bench.context).refresh(["Patient/never"])
    assert (done.gone, done.errors) == (1, [])


def test_merged_patients_are_followed(bench: Bench) -> None:
    for name in ("p1", "p2", "p3"):
        bench.server.put(patient(name))
    bench.server.merge("Patient/p1", "Patient/p2")
    bench.server.edit("Patient/p2", link=[{"other": {"reference": "Patient/p3"}, "type": "replaced-by"}])
    PatientReader(bench.context).refresh(["Patient/p1"])
    assert set(chart(bench).patients) == {"Patient/p1", "Patient/p2", "Patient/p3"}


def test_patients_that_are_refused_are_reported_and_blind(bench: Bench) -> None:
    bench.server.put(patient("p1"))
    bench.server.habits.refused = {"Patient": 403}
    done = PatientReader(bench.context).refresh(["Patient/p1"])
    assert done.errors == ["Patients cannot be read (403) → baton check"]
    assert known(bench, "Patient").blind == "403"


MRN = {"system": "urn:mrn", "value": "7,7|8"}


def by_identifier(bench: Bench) -> None:
    bench.server.put(order("o1", subject={"identifier": MRN}))
    bench.good()
    assert bench.ledger.identifiers_to_ask("ehr", bench.context.now(), 10) == ["urn:mrn|7,7|8"]


def whose(bench: Bench) -> tuple[str, ...]:
    held = bench.ledger.snapshot("ehr", "ServiceRequest/o1")
    assert held is not None
    return held.patients if held.state is SnapshotState.LIVE else ()


def test_a_patient_who_is_named_by_an_identifier_is_found(bench: Bench) -> None:
    """Whatever signs stand in it."""
    bench.server.put(patient("p1", identifier=[MRN]))
    bench.server.put(patient("p2", identifier=[{"system": "urn:mrn", "value": "7"}]))
    by_identifier(bench)
    report = PatientReader(bench.context).find_named()
    assert (report.read, report.changed, report.errors) == (1, 1, [])
    assert whose(bench) == ("Patient/p1",)
    assert known(bench, "Patient").at is not None, "he counts as read"
    bench.tick()
    bench.server.clear_requests()
    assert PatientReader(bench.context).find_named().read == 0 and bench.server.sent("GET") == []


def test_an_identifier_is_searched_for_though_somebody_bears_it(bench: Bench) -> None:
    """There may be two, and the other one is not known yet."""
    for who in ("p1", "p2"):
        bench.server.put(patient(who, identifier=[MRN]))
    PatientReader(bench.context).refresh(["Patient/p1"])
    by_identifier(bench)
    assert whose(bench) == ("Patient/p1",)
    PatientReader(bench.context).find_named()
    assert whose(bench) == ()


def test_a_search_that_ignores_the_identifier_is_not_believed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows the one Patient that there is, whoever was asked for."""
    bench.server.put(patient("p1", identifier=[{"system": "urn:mrn", "value": "1"}]))
    by_identifier(bench)
    search = bench.client.search
    monkeypatch.setattr(
        bench.client, "search", lambda type, params: search(type, [p for p in params if p[0] != "identifier"])
    )
    assert PatientReader(bench.context).find_named().read == 0
    assert bench.ledger.snapshot("ehr", "Patient/p1") is None


def test_a_search_for_an_identifier_that_fails_is_told_and_tried_again(bench: Bench) -> None:
    bench.server.put(patient("p1", identifier=[MRN]))
    by_identifier(bench)
    bench.server.habits.refused = {"Patient": 500}
    report = PatientReader(bench.context).find_named()
    assert report.failed and len(report.errors) == 1 and "7,7" not in report.errors[0]
    bench.server.habits.refused = {}
    PatientReader(bench.context).find_named()
    assert whose(bench) == ("Patient/p1",)


def test_where_patients_may_not_be_searched_it_waits_and_asks_again(bench: Bench) -> None:
    bench.server.put(patient("p1", identifier=[MRN]))
    by_identifier(bench)
    bench.server.habits.refused = {"Patient": 403}
    assert PatientReader(bench.context).find_named().errors == []
    bench.server.habits.refused = {}
    PatientReader(bench.context).find_named()
    assert whose(bench) == (), "not before an hour"
    bench.tick(3700)
    PatientReader(bench.context).find_named()
    assert whose(bench) == ("Patient/p1",)


# ---- evidence


def test_evidence_is_read_whole_and_dated(bench: Bench) -> None:
    for number in range(25):
        bench.server.put(report(f"r{number}"))
    bench.server.put(report("other", "p2"))
    done = Evidence(bench.context).read_for("Patient/p1", "DiagnosticReport")
    assert (done.complete, done.received, done.changed) == (True, 25, 25)
    assert known(bench, "DiagnosticReport").at == bench.clock.now()
    assert "DiagnosticReport/other" not in chart(bench).snapshots
    again = Evidence(bench.context).read_for("Patient/p1", "DiagnosticReport")
    assert (again.complete, again.changed) == (True, 0)


def test_no_rows_are_an_absence_that_is_known(bench: Bench) -> None:
    assert Evidence(bench.context).read_for("Patient/p1", "Encounter").complete
    assert known(bench, "Encounter").at is not None


def test_a_warning_leaves_the_absence_unknown(bench: Bench) -> None:
    """F64: 200, and more may exist."""
    bench.server.put(report())
    bench.server.habits.search_warning = "More data may exist"
    done = Evidence(bench.context).read_for("Patient/p1", "DiagnosticReport")
    assert not done.complete
    assert done.reason
    assert known(bench, "DiagnosticReport").at is None
    assert "DiagnosticReport/r1" in chart(bench).snapshots


def test_refused_evidence_is_blind_for_the_patient(bench: Bench) -> None:
    bench.server.habits.refused = {"DocumentReference": 403}
    done = Evidence(bench.context).read_for("Patient/p1", "DocumentReference")
    assert (done.complete, done.reason) == (False, "403")
    assert known(bench, "DocumentReference").blind == "403"


def test_a_passing_fault_leaves_what_was_known(bench: Bench) -> None:
    Evidence(bench.context).read_for("Patient/p1", "Encounter")
    before = known(bench, "Encounter")
    bench.server.faults.plan("status", status=503)
    assert not Evidence(bench.context).read_for("Patient/p1", "Encounter").complete
    assert known(bench, "Encounter") == before


def test_a_server_that_ignores_the_patient_is_not_believed(bench: Bench) -> None:
    bench.server.put(report("other", "p2"))
    plain = bench.client.pages
    bench.client.pages = lambda type, params: plain(type, [("_count", "10")])  # type: ignore[method-assign]
    done = Evidence(bench.context).read_for("Patient/p1", "DiagnosticReport")
    assert not done.complete
    assert bench.ledger.snapshot("ehr", "DiagnosticReport/other") is None


def test_rows_of_a_polled_type_that_no_poll_showed_are_out_of_scope(bench: Bench) -> None:
    bench.server.put(visit("old", "p1"), at=START - timedelta(days=400))
    bench.server.put(visit("new", "p1"), at=START - timedelta(days=1))
    bench.change(since={"Appointment": START - timedelta(days=30)})
    bench.good("Appointment")
    assert Evidence(bench.context).read_for("Patient/p1", "Appointment").complete
    held = chart(bench).snapshots
    assert {ref: one.in_scope for ref, one in held.items()} == {
        "Appointment/old": False,
        "Appointment/new": True,
    }
    assert known(bench, "Appointment").at is not None


def test_held_evidence_that_does_not_come_back_is_looked_up(bench: Bench) -> None:
    bench.server.put(report())
    evidence = Evidence(bench.context)
    evidence.read_for("Patient/p1", "DiagnosticReport")
    bench.server.delete("DiagnosticReport/r1")
    done = evidence.read_for("Patient/p1", "DiagnosticReport", held=["DiagnosticReport/r1"])
    assert done.complete
    assert chart(bench).snapshots["DiagnosticReport/r1"].state is SnapshotState.DELETED


def many_orders(bench: Bench, number: int = 30) -> list[str]:
    for place in range(number):
        bench.server.put(order(f"o{place}", f"p{place}"))
    bench.good()
    bench.tick()
    bench.server.clear_requests()
    return [f"Patient/p{place}" for place in range(number)]


def searches(bench: Bench) -> list[str]:
    """The queries of all searches since the last time; those for one patient hold "patient"."""
    found = [request.query for request in bench.server.sent("GET", "ServiceRequest")]
    bench.server.clear_requests()
    return found


def test_many_who_lack_a_polled_type_are_answered_by_its_second_walk(bench: Bench) -> None:
    people = many_orders(bench)
    first = known(bench, "ServiceRequest", people[-1])
    evidence = Evidence(bench.context, poller=bench.poller)
    assert all(evidence.read_for(person, "ServiceRequest").complete for person in people)
    asked = searches(bench)
    assert len([url for url in asked if "patient=" in url]) == LEAST_READS
    assert len(asked) < len(people)
    later = known(bench, "ServiceRequest", people[-1])
    assert later.seq > first.seq and later.at == bench.clock.now()
    assert evidence.read_for(people[-1], "ServiceRequest").complete
    assert ["patient=" in url for url in searches(bench)] == [True], "who lacks it still is asked for alone"


def test_who_is_known_to_lack_a_type_beforehand_costs_no_single_read(bench: Bench) -> None:
    people = many_orders(bench)
    evidence = Evidence(bench.context, poller=bench.poller)
    evidence.foresee({"ServiceRequest": len(people)})
    assert all(evidence.read_for(person, "ServiceRequest").complete for person in people)
    assert [url for url in searches(bench) if "patient=" in url] == []
    evidence = Evidence(bench.context, poller=bench.poller)
    evidence.foresee({"ServiceRequest": LEAST_READS})
    assert evidence.read_for(people[0], "ServiceRequest").complete
    assert ["patient=" in url for url in searches(bench)] == [True], "a few are read for singly"


def test_a_walk_that_filters_or_fails_answers_nobody(bench: Bench) -> None:
    people = many_orders(bench)
    bench.change(since={"ServiceRequest": START - timedelta(days=30)})
    bench.good()
    bench.server.clear_requests()
    evidence = Evidence(bench.context, poller=bench.poller)
    assert all(evidence.read_for(person, "ServiceRequest").complete for person in people)
    assert len(searches(bench)) == len(people) and not evidence.walked
    bench.change(since={})
    bench.good()
    bench.server.clear_requests()
    evidence = Evidence(bench.context, poller=bench.poller)

    def garbled(type: str) -> PollResult:
        return PollResult("ehr", type, errors=["no FHIR"])

    bench.poller.poll = garbled  # type: ignore[method-assign]
    assert all(evidence.read_for(person, "ServiceRequest").complete for person in people)
    assert len(searches(bench)) == len(people) and evidence.walked


def test_a_long_walk_is_not_made_for_a_few(bench: Bench) -> None:
    people = many_orders(bench, 200)
    evidence = Evidence(bench.context, poller=bench.poller)
    pages = bench.poller.pages["ServiceRequest"]
    assert pages > LEAST_READS
    assert all(evidence.read_for(person, "ServiceRequest").complete for person in people[: pages + 5])
    assert len([url for url in searches(bench) if "patient=" in url]) == pages


def test_the_patient_itself_can_be_asked_for(bench: Bench) -> None:
    bench.server.put(patient("p1"))
    assert Evidence(bench.context).read_for("Patient/p1", "Patient").complete
    assert known(bench, "Patient").at == bench.clock.now()


# ---- open work


def opened(bench: Bench, **more: Any) -> None:
    values: dict[str, Any] = {
        "id": "b-k1-1",
        "source": "ehr",
        "patient": "Patient/p1",
        "key": "k1",
        "generation": 1,
        "mapping": "referral",
        "mapping_version": 1,
        "rule": "r",
        "code": "c",
        "need": "n",
        "focus": "ServiceRequest/o1",
        "opening": ("Appointment/v1@1",),
        **more,
    }
    task = Task(**values)
    bench.ledger.append([Event(task.id, EventKind.OPENED, bench.clock.now(), as_set(task), "opened")])


def prepared(bench: Bench) -> None:
    bench.server.put(order("o1"))
    bench.server.put(visit("v1"))
    bench.good()
    bench.good("Appointment")
    opened(bench)


def test_open_work_is_read_again_once_a_business_day(bench: Bench) -> None:
    """F7: an update that no poll can see."""
    prepared(bench)
    bench.tick(7200)
    bench.server.put(order("newer", "p2"))  # else o1 is the anchor, which is looked after anyway
    bench.good()
    bench.server.put(order("o1", status="revoked"), at=START - timedelta(days=2))
    bench.good()
    held = bench.ledger.snapshot("ehr", "ServiceRequest/o1")
    assert held is not None
    assert held.body["status"] == "active"
    work = OpenWork(bench.context)
    assert work.due("2026-03-02")
    done = work.reread("2026-03-02")
    assert (done.complete, done.read, done.changed) == (True, 2, 1)
    held = bench.ledger.snapshot("ehr", "ServiceRequest/o1")
    assert held is not None
    assert (held.body["status"], held.in_scope) == ("revoked", True)
    assert not work.due("2026-03-02")
    assert work.due("2026-03-03")


def test_open_work_that_is_gone_becomes_a_tombstone(bench: Bench) -> None:
    bench.server.habits.history = False
    bench.open()
    prepared(bench)
    bench.server.delete("Appointment/v1")
    done = OpenWork(bench.context).reread("2026-03-02")
    assert done.gone == 1
    held = bench.ledger.snapshot("ehr", "Appointment/v1")
    assert held is not None
    assert (held.state, held.in_scope) == (SnapshotState.DELETED, True)


@pytest.mark.parametrize("dress", ["html", "empty", "outcome"])
def test_a_server_that_finds_nothing_at_all_buries_nothing(bench: Bench, dress: Any) -> None:
    """F18 (b)."""
    prepared(bench)
    bench.server.habits.missing = dress
    done = OpenWork(bench.context).reread("2026-03-02")
    assert done.gone == 0
    assert set(done.doubtful) == {"ServiceRequest/o1", "Appointment/v1"}
    states = {one.state for one in bench.ledger.snapshots("ehr", done.doubtful).values()}
    assert states == {SnapshotState.LIVE}


def test_an_own_task_that_is_404_is_lost_and_not_deleted(bench: Bench) -> None:
    prepared(bench)
    backup = bench.server.snapshot()
    bench.server.put({"resourceType": "Task", "id": "b-k1-1", "status": "requested", "intent": "order"})
    work = OpenWork(bench.context)
    assert work.read(["Task/b-k1-1"]).read == 0  # never seen: nothing to compare with
    from adapter.polling import Reader

    reader = Reader(bench.context)
    reader.store(reader.look("Task/b-k1-1").taken, "read-back")
    assert work.read(["Task/b-k1-1"]).read == 1
    bench.server.restore(backup)
    done = work.read(["Task/b-k1-1"])
    assert (done.lost, done.gone) == (("Task/b-k1-1",), 0)


def test_a_server_that_is_down_leaves_the_day_open(bench: Bench) -> None:
    prepared(bench)
    bench.server.faults.plan("drop", times=5)
    work = OpenWork(bench.context)
    assert not work.reread("2026-03-02").complete
    assert work.due("2026-03-02")


# ---- the budget


def test_the_budget_spreads_calls_over_the_minute() -> None:
    clock = FixedClock(START)
    budget = Budget(60, clock, burst=10)
    for _ in range(10):
        budget.take()
    assert clock.now() == START
    for _ in range(60):
        budget.take()
    assert timedelta(seconds=59) < clock.now() - START < timedelta(seconds=61)
    assert budget.spent == 70


def test_every_call_of_a_poll_is_counted(bench: Bench) -> None:
    bench.change(budget=Budget(0, bench.clock))
    bench.server.put(order("o1"))
    before = len(bench.server.requests)
    bench.good()
    bench.good()
    assert bench.context.budget.spent == len(bench.server.requests) - before
