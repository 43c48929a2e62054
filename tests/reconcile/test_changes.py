"""What one look decides: opening, keeping, closing, silence, and that a second look finds nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapter.facts.patient import PatientGuard
from adapter.mapping.finding import Step, Tri
from adapter.model import Chart, Event, EventKind, Known, Priority, Request, SnapshotState, TaskStatus, Words
from tests.reconcile.making import NOW, after, chart, decide, finding, opened, rule, snapshot


def kinds(decision: Any) -> list[str]:
    return [event.kind.value for event in decision.events]


def only(held: Chart) -> Any:
    (task,) = held.tasks
    return task


def touched(held: Chart, **values: Any) -> Chart:
    """The chart after a person changed the task in the EHR."""
    event = Event(
        only(held).id, EventKind.READ_BACK, held.now, {"touched_at": held.now.isoformat(), **values}
    )
    return after(held, decide(held, finding(), read_back=(event,)))


def started(held: Chart) -> Chart:
    return touched(held, status="in-progress", started=True, mine=["status"])


def rejected(held: Chart) -> Chart:
    done = {
        "status": "rejected",
        "closed_by": "person",
        "closed_at": held.now.isoformat(),
        "mine": ["status"],
    }
    return touched(held, **done)


# --- opening


def test_a_need_that_is_yes_and_unsatisfied_opens_one_task_and_asks_for_its_writing() -> None:
    decision = decide(chart(), finding())
    assert kinds(decision) == ["opened"]
    (event,) = decision.events
    assert f"Task/{event.task}" in decision.wants
    assert {target.partition("/")[0] for target in decision.wants} == {"Task", "CarePlan"}
    assert decision.words[event.task].title == "Schedule the visit"


def test_a_second_look_changes_nothing() -> None:
    held = opened()
    again = decide(held, finding())
    assert (again.events, again.wants, again.plans) == ((), frozenset(), ())


@pytest.mark.parametrize(
    "change",
    [
        {"when": Tri.UNKNOWN},
        {"satisfied": Tri.UNKNOWN},
        {"when": Tri.NO},
        {"satisfied": Tri.YES},
        {"opens_known": False, "opens": None},
        {"opens": NOW + timedelta(hours=1)},
        {"old": True},
        {"need": None},
        {"ended": True, "when": Tri.NO},
    ],
)
def test_nothing_opens_on_less(change: dict[str, Any]) -> None:
    assert decide(chart(), finding(**change)).events == ()


def test_an_opening_that_lies_ahead_is_the_next_look() -> None:
    at = NOW + timedelta(days=2)
    assert decide(chart(), finding(opens=at)).next_look == at


def test_what_a_reading_could_settle_is_asked_for_and_looked_at_again() -> None:
    decision = decide(chart(), finding(satisfied=Tri.UNKNOWN, missing=frozenset({"Encounter"})))
    assert decision.missing == {"Encounter"}
    assert decision.next_look is not None


def test_nothing_is_asked_for_while_the_opening_lies_ahead() -> None:
    ahead = finding(satisfied=Tri.UNKNOWN, missing=frozenset({"Encounter"}), opens=NOW + timedelta(days=3))
    assert decide(chart(), ahead).missing == frozenset()


@pytest.mark.parametrize(
    ("why", "goes_out"),
    [
        ("a version seen before", True),
        ("stale save: due", True),
        ("same values", False),
        ("acknowledged", False),
    ],
)
def test_what_the_server_or_a_stale_screen_took_back_goes_out_again(why: str, goes_out: bool) -> None:
    """The row is as it was, and the EHR is not: only a write mends that (F13, F18)."""
    held = opened()
    task = held.tasks[0].id
    event = Event(task, EventKind.CONFIRMED, NOW, {"seen_version": "1"}, why)
    assert (f"Task/{task}" in decide(held, finding(), read_back=(event,)).wants) is goes_out


def test_what_may_close_a_task_that_stands_is_asked_for_though_it_would_not_open_yet() -> None:
    """A new answer moves the opening ahead, and is itself what the task waits for."""
    ahead = finding(satisfied=Tri.UNKNOWN, missing=frozenset({"Encounter"}), opens=NOW + timedelta(days=3))
    decision = decide(opened(), ahead)
    assert decision.missing == {"Encounter"}
    assert decision.next_look is not None and decision.next_look < NOW + timedelta(days=3)


@pytest.mark.parametrize("state", ["deceased", "inactive", "test", "opted-out", "unknown"])
def test_a_guard_opens_nothing(state: str) -> None:
    guard = PatientGuard(state=state, blocks=state)
    assert decide(chart(), finding(), guard=guard).events == ()


def test_nobody_is_called_while_the_patient_is_in_hospital() -> None:
    guard = PatientGuard(hold="in-hospital")
    assert decide(chart(), finding(), guard=guard).events == ()
    assert kinds(decide(chart(), finding(hold_policy="none"), guard=guard)) == ["opened"]


def test_nobody_is_called_while_it_is_unknown_whether_the_patient_is_in_hospital() -> None:
    unread = PatientGuard(wants=frozenset({"Encounter"}))
    decision = decide(chart(), finding(), guard=unread)
    assert decision.events == () and decision.missing == {"Encounter"} and decision.next_look is not None
    refused = replace(chart(), known={"Encounter": Known(blind="403")})
    assert decide(refused, finding()).events == ()
    assert kinds(decide(refused, finding(hold_policy="none"))) == ["opened"]


# --- one need, one task


def test_two_rules_of_one_need_make_one_task_with_the_face_of_the_lower_rank() -> None:
    noshow = finding(rule=rule("rebook-visit", 2), focus="Appointment/a1")
    held = chart(snapshot(), snapshot("Appointment/a1"))
    decision = decide(held, finding(), noshow)
    (event,) = decision.events
    assert (event.set["code"], event.set["focus"]) == ("rebook-visit", "Appointment/a1")


def test_a_need_stays_open_while_any_of_its_rules_says_so() -> None:
    noshow = finding(rule=rule("rebook-visit", 2), focus="Appointment/a1")
    held = chart(snapshot(), snapshot("Appointment/a1"))
    held = after(held, decide(held, finding(), noshow))
    booked = replace(noshow, satisfied=Tri.YES)
    assert "completed" not in kinds(decide(held, finding(), booked))
    assert "completed" in kinds(decide(held, finding(satisfied=Tri.YES), booked))


def test_a_task_that_another_rule_keeps_says_what_that_rule_says() -> None:
    """Its own rule has no words any more, and no due time: what stands there without a reason is not understood."""
    held = opened()
    done = finding(when=Tri.NO, words=Words(), opens=None, opens_known=False, due=None)
    due = NOW + timedelta(days=2)
    confirm = Words("Confirm the visit", "Reach the patient.", "It is not yet booked.")
    visit = finding(rule=rule("confirm-visit", 1), focus="Appointment/a1", words=confirm, due=due)
    decision = decide(held, done, visit)
    assert kinds(decision) == ["revised"] and list(decision.words.values()) == [confirm]
    kept = only(after(held, decision))
    assert (kept.due, kept.code, kept.focus) == (due, "schedule-referral", "ServiceRequest/o1")
    again = decide(after(held, decision), finding(), visit)
    assert list(again.words.values()) == [finding().particulars.words], "its own rule speaks again"


def test_who_works_at_a_task_reads_what_she_began_with_and_its_deadline_goes_on() -> None:
    begun = started(opened())
    done = finding(when=Tri.NO, words=Words(), opens=None, opens_known=False, due=None)
    due = NOW + timedelta(days=2)
    steps = (Step("a", due, Priority.URGENT),)
    visit = finding(rule=rule("confirm-visit", 1), focus="Appointment/a1", due=due, steps=steps)
    decision = decide(begun, done, visit)
    assert decision.events == () and decision.words == {}
    late = replace(begun, now=NOW + timedelta(days=6))
    decision = decide(late, done, visit)
    assert kinds(decision) == ["escalated"] and decision.words == {}
    assert only(after(late, decision)).due == only(begun).due


@pytest.mark.parametrize(
    "ending", [{"when": Tri.NO}, {"satisfied": Tri.YES}, {"when": Tri.NO, "ended": True}]
)
def test_a_task_closes_when_it_is_known_that_no_other_rule_speaks_of_its_need(ending: dict[str, Any]) -> None:
    face = finding(**ending)
    (focus,) = opened().snapshots.values()
    read = Known(at=NOW, seq=focus.received_seq + 1)
    waiting = decide(opened(), face, speakers=frozenset({"Appointment"}))
    assert waiting.events == () and waiting.missing == {"Appointment"} and waiting.next_look is not None
    for known in (read, Known(declared_none=True), Known(blind="403")):
        held = replace(opened(), known={"Appointment": known})
        decision = decide(held, face, speakers=frozenset({"Appointment"}))
        assert len(decision.events) == 1 and not only(after(held, decision)).open
        assert decision.missing == frozenset()


def test_what_is_unknown_for_one_rule_closes_nothing_by_another() -> None:
    noshow = finding(rule=rule("rebook-visit", 2), focus="Appointment/a1", satisfied=Tri.UNKNOWN)
    held = opened()
    assert decide(held, finding(satisfied=Tri.YES), noshow).events == ()


def test_a_group_visit_makes_a_task_for_each_participant() -> None:
    group = snapshot("Appointment/g", patients=("Patient/p1", "Patient/p2"))
    one = finding(focus="Appointment/g", need="visit-for:Appointment/g")
    mine = decide(chart(group), one).events[0].task
    hers = decide(replace(chart(group), person="Patient/p2", patients=("Patient/p2",)), one).events[0].task
    assert mine != hers


def test_a_link_that_arrives_later_changes_the_need_and_not_the_task() -> None:
    visit = finding(focus="Appointment/a1", rule=rule("confirm-visit", 1), need="visit-for:Appointment/a1")
    held = chart(snapshot("Appointment/a1"))
    held = after(held, decide(held, visit))
    linked = replace(visit, need="visit-for:ServiceRequest/o9")
    assert decide(held, linked).events == ()


def confirming(id: str, need: str, **more: Any) -> Any:
    """A visit that has to be confirmed, for a need of that name."""
    values = {"rule": rule("confirm-visit", 1), "due": NOW + timedelta(days=ord(id)), **more}
    return finding(focus=f"Appointment/{id}", need=f"visit-for:{need}", **values)


def test_a_visit_that_leaves_an_order_has_a_need_of_its_own_and_the_order_keeps_its_task() -> None:
    """The task was opened for the first visit: both needs took it for theirs, and gave it their due dates in turn."""
    held = chart(snapshot(), snapshot("Appointment/a"), snapshot("Appointment/b"))
    held = after(
        held, decide(held, confirming("a", "ServiceRequest/o1"), confirming("b", "ServiceRequest/o1"))
    )
    parted = confirming("a", "Appointment/a"), confirming("b", "ServiceRequest/o1")
    held = after(held, decide(held, *parted))
    assert {t.need for t in held.tasks if t.open} == {
        "visit-for:Appointment/a",
        "visit-for:ServiceRequest/o1",
    }
    assert decide(held, *parted).events == ()


@pytest.mark.parametrize("working", ["a", "b", ""])
def test_needs_that_become_one_leave_one_task(working: str) -> None:
    held = chart(snapshot("Appointment/a"), snapshot("Appointment/b"))
    held = after(held, decide(held, confirming("a", "Appointment/a"), confirming("b", "Appointment/b")))
    begun = tuple(replace(t, started=True) if t.focus.endswith(f"/{working}") else t for t in held.tasks)
    held = replace(held, tasks=begun)
    linked = confirming("a", "ServiceRequest/o1"), confirming("b", "ServiceRequest/o1")
    decision = decide(held, *linked)
    assert kinds(decision).count("withdrawn") == 1
    held = after(held, decision)
    (left,) = [t for t in held.tasks if t.open]
    assert not working or left.focus == f"Appointment/{working}", "her work goes on"
    assert decide(held, *linked).events == ()


def test_needs_that_a_merge_makes_one_stay_for_some_hours() -> None:
    """Two patients merged by mistake: each has her own task of a group visit, and nobody has to lose one (F19)."""
    held = chart(snapshot("Appointment/a"), snapshot("Appointment/b"))
    held = after(held, decide(held, confirming("a", "Appointment/a"), confirming("b", "Appointment/b")))
    merged = confirming("a", "Appointment/g"), confirming("b", "Appointment/g")
    held = replace(held, request=Request("general", held.person, 1, frozenset({"link"})))
    decision = decide(held, *merged)
    assert kinds(decision) == ["noted"] and decision.next_look is not None
    held = replace(after(held, decision), now=decision.next_look)
    assert kinds(decide(held, *merged)) == ["withdrawn"]
    parted = decide(held, confirming("a", "Appointment/a"), confirming("b", "Appointment/b"))
    assert kinds(parted) == ["noted"] and not any(t.mark for t in after(held, parted).tasks)


@pytest.mark.parametrize("noted", [True, False])
def test_what_she_closed_stays_closed_though_a_link_gives_its_need_another_name(noted: bool) -> None:
    own, linked = confirming("a", "Appointment/a"), confirming("a", "ServiceRequest/o1")
    held = chart(snapshot("Appointment/a"))
    held = after(held, decide(held, own))
    done = {"status": "rejected", "closed_by": "person", "closed_at": NOW.isoformat(), "mine": ["status"]}
    event = Event(only(held).id, EventKind.READ_BACK, NOW, {"touched_at": NOW.isoformat(), **done})
    held = after(held, decide(held, own if noted else linked, read_back=(event,)))
    later = replace(held, now=NOW + timedelta(days=9))
    later = after(later, decide(later, linked))
    assert not only(later).open and only(later).renews == "values-1"
    assert decide(later, linked).events == ()
    (event,) = decide(later, confirming("a", "ServiceRequest/o1", renews="values-2")).events
    assert event.kind is EventKind.OPENED and event.set["follows"] == only(later).id
    other = replace(linked, rule=rule("schedule-referral"), focus="ServiceRequest/o1")
    assert kinds(decide(later, other)) == ["opened"], "of the order nobody has said anything"


def test_a_task_goes_on_where_the_need_of_its_text_ends_and_its_own_visit_does_not() -> None:
    """The order of the text is done; the visit names a second one by now, so that its need cannot be told."""
    held = chart(snapshot(), snapshot("Appointment/a"))
    held = after(held, decide(held, confirming("a", "ServiceRequest/o1")))
    two = replace(confirming("a", ""), need=None)
    decision = decide(held, finding(when=Tri.NO), two)
    assert decision.events == () and only(held).open


# --- keeping


def test_a_new_due_date_revises_the_task_unless_she_moved_it() -> None:
    later = finding(due=NOW + timedelta(days=9))
    assert kinds(decide(opened(), later)) == ["revised"]
    moved = touched(opened(), due=(NOW + timedelta(days=20)).isoformat(), mine=["due"])
    assert decide(moved, later).events == ()
    assert only(moved).due == NOW + timedelta(days=20)


def test_escalation_takes_each_step_once_and_only_raises() -> None:
    due = NOW + timedelta(days=5)
    steps = (Step("a", due, Priority.URGENT), Step("b", due + timedelta(days=3), None, "lead"))
    held = replace(opened(), now=due + timedelta(days=10))
    face = finding(steps=steps, due=due)
    decision = decide(held, face)
    assert kinds(decision) == ["escalated"]
    assert decision.events[0].set["priority"] == "urgent"
    assert len(decision.events[0].set["steps"]) == 2
    assert decide(after(held, decision), face).events == ()


def test_an_overdue_task_stays_open() -> None:
    held = replace(opened(), now=NOW + timedelta(days=400))
    assert all(e.kind is EventKind.ESCALATED for e in decide(held, finding(old=True)).events)


def test_a_bound_gates_opening_only() -> None:
    assert decide(opened(), finding(old=True)).events == ()


# --- closing


@pytest.mark.parametrize(
    ("change", "status", "by"),
    [
        ({"satisfied": Tri.YES}, "completed", "evidence"),
        ({"when": Tri.NO}, "cancelled", "contrary"),
        ({"when": Tri.NO, "ended": True}, "cancelled", "clock"),
    ],
)
def test_evidence_completes_and_a_contrary_fact_withdraws(change: Any, status: str, by: str) -> None:
    task = only(after(opened(), decide(opened(), finding(**change))))
    assert (task.status.value, task.closed_by) == (status, by)


@pytest.mark.parametrize("change", [{"when": Tri.UNKNOWN}, {"satisfied": Tri.UNKNOWN}])
def test_unknown_closes_nothing(change: dict[str, Any]) -> None:
    assert decide(opened(), finding(**change)).events == ()


def test_no_finding_at_all_closes_nothing() -> None:
    assert decide(opened()).events == ()


@pytest.mark.parametrize("state", [SnapshotState.DELETED, SnapshotState.ERROR])
def test_a_focus_that_is_gone_withdraws_its_task(state: SnapshotState) -> None:
    held = opened()
    gone = replace(held, snapshots={"ServiceRequest/o1": replace(snapshot(), state=state)})
    assert kinds(decide(gone)) == ["withdrawn"]


def test_a_focus_in_quarantine_withdraws_nothing() -> None:
    held = opened()
    bad = replace(snapshot(), state=SnapshotState.QUARANTINED)
    assert decide(replace(held, snapshots={bad.ref: bad})).events == ()


def test_a_focus_that_names_somebody_else_closes_here() -> None:
    held = opened()
    moved = snapshot(patients=("Patient/other",))
    assert kinds(decide(replace(held, snapshots={moved.ref: moved}))) == ["withdrawn"]


def test_a_rule_that_is_gone_leaves_its_tasks_alone() -> None:
    held = opened()
    dead = replace(snapshot(), state=SnapshotState.DELETED)
    decision = decide(replace(held, snapshots={dead.ref: dead}), rules=frozenset())
    assert decision.events == ()


@pytest.mark.parametrize(
    ("change", "mark"), [({"satisfied": Tri.YES}, "evidence"), ({"when": Tri.NO}, "no-longer-needed")]
)
def test_a_started_task_is_marked_and_closes_after_two_quiet_business_days(
    change: dict[str, Any], mark: str
) -> None:
    held = started(opened())
    decision = decide(held, finding(**change))
    assert kinds(decision) == ["marked"]
    held = after(held, decision)
    assert (only(held).mark, only(held).status) == (mark, TaskStatus.IN_PROGRESS)
    assert decide(replace(held, now=NOW + timedelta(days=1)), finding(**change)).events == ()
    closed = decide(replace(held, now=NOW + timedelta(days=3)), finding(**change))
    assert kinds(closed) in (["completed"], ["withdrawn"])


def test_her_touch_keeps_a_marked_task_open_longer() -> None:
    held = started(opened())
    held = after(held, decide(held, finding(when=Tri.NO)))
    later = replace(held, now=NOW + timedelta(days=1, hours=20))
    event = Event(only(later).id, EventKind.READ_BACK, later.now, {"touched_at": later.now.isoformat()})
    later = after(later, decide(later, finding(when=Tri.NO), read_back=(event,)))
    assert decide(replace(later, now=NOW + timedelta(days=3)), finding(when=Tri.NO)).events == ()


def test_a_mark_is_taken_back_when_the_answer_turns() -> None:
    held = started(opened())
    held = after(held, decide(held, finding(when=Tri.NO)))
    held = after(held, decide(held, finding()))
    assert only(held).mark == ""


# --- silence


def test_what_a_person_closed_stays_silent_until_its_values_differ() -> None:
    held = rejected(opened())
    assert only(held).renews == "values-1"
    for days in (1, 30, 400):
        later = replace(held, now=NOW + timedelta(days=days))
        assert decide(later, finding()).events == ()
    decision = decide(held, finding(renews="values-2"))
    assert kinds(decision) == ["opened"]
    assert decision.events[0].set["follows"] == only(held).id
    assert decision.events[0].set["generation"] == 2


def test_unknown_values_wake_nothing() -> None:
    assert decide(rejected(opened()), finding(renews=None)).events == ()


def test_values_that_were_not_noted_are_noted_first() -> None:
    held = rejected(opened())
    bare = replace(held, tasks=(replace(only(held), renews=""),))
    decision = decide(bare, finding(renews="values-7"))
    assert kinds(decision) == ["noted"]
    assert decision.wants == frozenset()


def test_a_deleted_task_is_not_made_again() -> None:
    held = opened()
    gone = {"gone": True, "closed_by": "deleted", "closed_at": NOW.isoformat()}
    event = Event(only(held).id, EventKind.DELETED, NOW, gone)
    held = after(held, decide(held, finding(), read_back=(event,)))
    assert decide(replace(held, now=NOW + timedelta(days=90)), finding()).events == ()


def test_a_need_that_returns_after_evidence_is_a_new_task_a_business_day_later() -> None:
    held = opened()
    held = after(held, decide(held, finding(satisfied=Tri.YES)))
    assert decide(held, finding()).events == ()
    decision = decide(replace(held, now=NOW + timedelta(days=1, hours=1)), finding())
    assert kinds(decision) == ["opened"]
    assert decision.events[0].set["follows"] == only(held).id


# --- death


def test_death_holds_at_once_withdraws_next_business_day_and_can_be_undone() -> None:
    dead = PatientGuard(state="deceased", blocks="deceased", withdraw="deceased")
    held = opened()
    held = after(held, decide(held, finding(), guard=dead))
    assert (only(held).status, only(held).hold) == (TaskStatus.ON_HOLD, "deceased")
    undone = after(held, decide(held, finding()))
    assert (only(undone).status, only(undone).hold) == (TaskStatus.REQUESTED, "")
    next_day = replace(held, now=NOW + timedelta(days=2))
    assert kinds(decide(next_day, finding(), guard=dead)) == ["withdrawn"]


def test_death_marks_started_work_and_never_closes_it() -> None:
    dead = PatientGuard(state="deceased", blocks="deceased", withdraw="deceased")
    held = started(opened())
    assert kinds(decide(held, finding(), guard=dead)) == ["marked"]


def test_a_death_by_mistake_is_undone_though_the_rule_is_paused() -> None:
    """Or gone, or silent: else the task stays on hold, and the next mistake withdraws it at once."""
    dead = PatientGuard(state="deceased", blocks="deceased", withdraw="deceased")
    held = opened()
    held = after(held, decide(held, guard=dead, rules=frozenset()))
    assert only(held).hold == "deceased"
    undone = after(held, decide(held, rules=frozenset()))
    assert (only(undone).status, only(undone).hold) == (TaskStatus.REQUESTED, "")


def test_started_work_of_an_older_ledger_closes_two_days_after_it_was_adopted() -> None:
    """Its mark stands on the Task, since when does not: neither a fault nor a mark without end (F16)."""
    change = {"satisfied": Tri.YES}
    held = started(opened())
    held = after(held, decide(held, finding(**change)))
    held = replace(held, tasks=(replace(only(held), marked_at=None, touched_at=None),))
    held = after(held, decide(held, finding(**change)))
    assert (only(held).mark, only(held).marked_at) == ("evidence", held.now)
    assert kinds(decide(replace(held, now=NOW + timedelta(days=3)), finding(**change))) == ["completed"]


def test_a_death_that_an_older_ledger_adopts_withdraws_the_next_business_day() -> None:
    dead = PatientGuard(state="deceased", blocks="deceased", withdraw="deceased")
    held = opened()
    held = after(held, decide(held, finding(), guard=dead))
    held = replace(held, tasks=(replace(only(held), marked_at=None),))
    held = after(held, decide(held, finding(), guard=dead))
    assert kinds(decide(replace(held, now=NOW + timedelta(days=2)), finding(), guard=dead)) == ["withdrawn"]


# --- properties

TRIS = st.sampled_from(list(Tri))
FINDINGS = st.builds(
    lambda when, satisfied, known, ahead, old, renews: finding(
        when=when,
        satisfied=satisfied,
        opens_known=known,
        opens=NOW + timedelta(days=1 if ahead else -1) if known else None,
        old=old,
        renews=renews,
    ),
    TRIS,
    TRIS,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "values-1", "values-2"]),
)


@given(st.lists(st.tuples(FINDINGS, st.integers(0, 72), st.booleans()), max_size=8))
def test_looking_twice_changes_nothing_and_one_need_has_one_open_task(steps: list[Any]) -> None:
    held = chart()
    for face, hours, starts in steps:
        held = replace(held, now=held.now + timedelta(hours=hours))
        before = {t.id: t for t in held.tasks}
        decision = decide(held, face)
        held = after(held, decision)
        again = decide(held, face)
        assert (again.events, again.plans) == ((), ())
        live = [t for t in held.tasks if t.open]
        assert len(live) <= 1
        if (
            Tri.UNKNOWN in (face.when, face.satisfied)
            and face.satisfied is not Tri.YES
            and face.when is not Tri.NO
        ):
            assert not {e.kind for e in decision.events} & {
                EventKind.OPENED,
                EventKind.COMPLETED,
                EventKind.WITHDRAWN,
            }
        for task in held.tasks:
            if (
                task.id in before
                and before[task.id].started
                and before[task.id].open
                and not before[task.id].mark
            ):
                assert task.open, "a started task is never closed under her hands"
        if starts and live:
            event = Event(
                live[0].id,
                EventKind.READ_BACK,
                held.now,
                {
                    "status": "in-progress",
                    "started": True,
                    "mine": ["status"],
                    "touched_at": held.now.isoformat(),
                },
            )
            held = after(held, decide(held, face, read_back=(event,)))
