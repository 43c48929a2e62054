"""A small hospital in which anything may happen, in any order; what has to hold holds all the same.

The hospital books, cancels and revokes, a coordinator works on her list, the server has its habits and bad days,
Baton is killed, started anew, put back to an older ledger, and meets a second one that took over.
``BATON_EXAMPLES`` makes more of it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from adapter import control
from adapter.clock import FixedClock
from adapter.errors import BatonError, Unsafe
from adapter.model import EventKind, Task
from adapter.sandbox import Habits, Sandbox
from adapter.sandbox.messages import Incoming
from tests.consistency.hospital import DAY, START, Hospital, order, patient, text, visit

EXAMPLES = int(os.environ.get("BATON_EXAMPLES", "5"))
PEOPLE = ("p1", "p2", "p3")
OWN = "urn:baton:n1:need"
#: What a server may do to single requests. Left out: what nobody could notice (a page that hides rows and says so
#: nowhere, on the very first walk), and a 410 for what is there: that is what a deletion looks like.
KINDS = ("status", "rate-limit", "html", "drop", "lost-response", "late", "cut", "malformed", "repeat")
HABITS: dict[str, tuple[Any, ...]] = {
    "newest_first": (True, False),
    "ignore_sort": (True, False),
    "repeat_entries": (True, False),
    "reorder_entries": (True, False),
    "stale_status": (412, 409),
    "if_match_on_missing": ("refuse", "create"),
    "identical_put_makes_version": (True, False),
    "conditional_create": (False, True),
    "enforce_references": (False, True),
    "gone_status": (404, 410),
    "tags": ("dropped", "merged"),
    "truncate_at": (12, 0),
    "whole_days": (True, False),
    "history": (False, True),
    "updated_back": (timedelta(seconds=20), timedelta(0)),
    "search_cache": (timedelta(minutes=1), timedelta(0)),
}
REFUSED = ("Appointment", "ServiceRequest", "Encounter", "Task", "Patient", "DiagnosticReport")

numbers = st.integers(0, 40)


class Ward(RuleBasedStateMachine):
    """See the module's first lines."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="baton-ward-"))
        self.clock = FixedClock(START)
        self.ehr = Sandbox(clock=self.clock, habits=Habits())
        self.ehr.start()
        source = {"live_from": text(START - 30 * DAY)[:10], "page_size": 3}
        self.town = Hospital(self.folder, self.ehr, self.clock, source=source)
        self.orders = self.made = 0
        self.copies: list[str] = []
        self.hers: dict[str, dict[str, Any]] = {}
        self.touched: set[str] = set()
        for number in range(3):
            self.ehr.put({"resourceType": "Practitioner", "id": f"n{number}"})
        for who in PEOPLE:
            self.ehr.put(patient(who))
            self.orders_something(who, 10, hurried=False)
        self._foreign()
        self._pass()

    def teardown(self) -> None:
        try:
            self._settled()
        finally:
            self.town.stop()
            self.ehr.stop()
            shutil.rmtree(self.folder)

    # --- the hospital

    @rule(who=st.sampled_from(PEOPLE), days=st.integers(0, 12), hurried=st.booleans())
    def orders_something(self, who: str, days: int, hurried: bool) -> None:
        self.orders += 1
        more = {"priority": "urgent"} if hurried else {}
        at = text(self.clock.now() - days * DAY)
        self.ehr.put(order(f"o{self.orders}", who, authoredOn=at, **more))

    @rule(number=numbers, status=st.sampled_from(["active", "revoked", "on-hold", "active"]))
    def changes_an_order(self, number: int, status: str) -> None:
        if ref := self._some("ServiceRequest", number):
            self.ehr.edit(ref, status=status)

    @rule(number=numbers, days=st.integers(1, 30))
    def books(self, number: int, days: int) -> None:
        if ref := self._some("ServiceRequest", number):
            self._visit(ref, "booked", days)

    @rule(number=numbers, status=st.sampled_from(["cancelled", "booked"]))
    def changes_a_visit(self, number: int, status: str) -> None:
        if ref := self._some("Appointment", number):
            self.ehr.edit(ref, status=status)

    @rule(number=numbers, who=st.sampled_from(PEOPLE))
    def gives_an_order_to_another(self, number: int, who: str) -> None:
        ref = self._some("ServiceRequest", number)
        if ref and not self.ehr.get(f"Appointment/v{ref.partition('/o')[2]}"):
            self.ehr.edit(ref, subject={"reference": f"Patient/{who}"})

    @rule(who=st.sampled_from(PEOPLE), dead=st.booleans())
    def is_said_to_be_dead(self, who: str, dead: bool) -> None:
        self.ehr.edit(f"Patient/{who}", deceasedBoolean=dead or None)

    @rule(loser=st.sampled_from(PEOPLE[:2]), silently=st.booleans(), moved=st.booleans())
    def merges(self, loser: str, silently: bool, moved: bool) -> None:
        """Into the third, with the orders and visits or without, with new versions or in place."""
        kinds = ("ServiceRequest", "Appointment") if moved else ()
        self.ehr.merge(f"Patient/{loser}", "Patient/p3", repoint=kinds, silently=silently)

    @rule(who=st.sampled_from(PEOPLE))
    def parts_again(self, who: str) -> None:
        self.ehr.edit(f"Patient/{who}", link=None, active=True)

    @rule(kind=st.sampled_from(["", "ServiceRequest", "Appointment", "Task"]))
    def touches_everything(self, kind: str) -> None:
        self.ehr.touch_all(kind)
        self._foreign_versions()

    # --- the coordinator

    @rule(
        number=numbers,
        act=st.sampled_from(["status", "owner", "businessStatus", "due", "note", "delete"]),
        way=numbers,
    )
    def works(self, number: int, act: str, way: int) -> None:
        if ref := self._some_task(number):
            self._works_on(ref, act, way)

    @rule(
        number=numbers,
        act=st.sampled_from(["status", "owner", "due", "note"]),
        way=numbers,
        late=st.booleans(),
    )
    def works_between_a_read_and_a_write(self, number: int, act: str, way: int, late: bool) -> None:
        """Just before the next write of Baton's to a Task reaches the server; and something makes it write."""
        done: list[str] = []

        def hers(asked: Incoming) -> bool:
            ref = f"Task/{asked.path.rpartition('/')[2]}"
            if (
                not done
                and asked.method == "PUT"
                and asked.type == "Task"
                and self.ehr.get(ref) in self._open_work()
            ):
                done.append(ref)
                self._works_on(ref, act, way)
            return False

        self.ehr.faults.plan("drop", where=hers)
        if ref := self._some_task(number):
            focus = (self.ehr.get(ref) or {}).get("focus", {}).get("reference", "")
            if focus and self.ehr.get(focus) and focus.startswith("ServiceRequest/"):
                self.ehr.edit(focus, priority="asap" if late else "urgent", code={"text": f"Clinic {way}"})
        self._pass()

    def _works_on(self, ref: str, act: str, way: int) -> None:
        self.touched.add(ref)
        if act == "delete":
            for plan in self.ehr.all("CarePlan"):
                left = [a for a in plan.get("activity", []) if a.get("reference", {}).get("reference") != ref]
                self.ehr.put(
                    {**plan, "activity": left} if left else {k: v for k, v in plan.items() if k != "activity"}
                )
            self.ehr.delete(ref)
            self.hers.pop(ref, None)
            return
        value = _value(act, way, self.clock)
        held = self.ehr.get(ref)
        assert held is not None
        if act == "due":
            period = {**held.get("restriction", {}).get("period", {}), "end": value}
            self.ehr.edit(ref, restriction={**held.get("restriction", {}), "period": period})
        elif act == "note":
            value = [*held.get("note", []), {"text": f"called {way}"}]
            self.ehr.edit(ref, note=value)
        else:
            self.ehr.edit(ref, **{act: value})
        self.hers.setdefault(ref, {})[act] = value

    # --- the server

    @rule(name=st.sampled_from(sorted(HABITS)), other=st.booleans())
    def has_a_habit(self, name: str, other: bool) -> None:
        setattr(self.ehr.habits, name, HABITS[name][int(other)])

    @rule(type=st.sampled_from(REFUSED), status=st.sampled_from([403, 500]))
    def refuses_a_type(self, type: str, status: int) -> None:
        self.ehr.habits.refused = {type: status}

    @rule()
    def refuses_nothing(self) -> None:
        self.ehr.habits.refused = {}

    @rule(seed=st.integers(0, 999), rate=st.sampled_from([0.02, 0.1, 0.3]))
    def has_a_bad_day(self, seed: int, rate: float) -> None:
        self.ehr.faults.at_random(seed=seed, rate=rate, kinds=KINDS)  # type: ignore[arg-type]

    @rule()
    def has_a_good_day(self) -> None:
        self.ehr.faults.clear()

    # --- Baton and time

    @rule(hours=st.sampled_from([0, 1, 5, 30, 80]))
    def time_passes(self, hours: int) -> None:
        self.clock.advance(timedelta(hours=hours, seconds=2))
        self._pass()

    @rule(days=st.integers(1, 4))
    def days_pass(self, days: int) -> None:
        for _ in range(days):
            self.clock.advance(DAY)
            self._pass()

    @rule()
    def looks_twice(self) -> None:
        self._pass()
        self._pass()

    @rule(sweep=st.booleans())
    def passes(self, sweep: bool) -> None:
        self._pass(sweep=sweep)

    @rule()
    def starts_anew(self) -> None:
        self.town.start()

    @rule()
    def is_copied(self) -> None:
        self.made += 1
        name = f"copy{self.made}.db"
        self.town.ledger.export(self.folder / name)
        self.copies.append(name)

    @precondition(lambda self: self.copies)
    @rule(number=numbers)
    def is_put_back(self, number: int) -> None:
        """The ledger of some time ago takes over from the present one."""
        name = self.copies.pop(number % len(self.copies))
        self.town.start(name)
        self._take_over()

    @rule()
    def is_taken_over(self) -> None:
        """A second Baton with a ledger of its own takes over while the first goes on: that one stops by itself."""
        first = self.town.app
        self.copies.append(self.town.ledger_name)
        del self.town.app
        self.made += 1
        self.town.start(f"second{self.made}.db")
        try:
            taken = self._take_over()
            before = self._task_writes()
            if taken:
                try:
                    first.sync()
                except BatonError as fault:
                    assert isinstance(fault, Unsafe), fault
                assert self._task_writes() == before, "the first one still writes"
        finally:
            first.close()

    @rule(paused=st.booleans())
    def is_paused(self, paused: bool) -> None:
        (control.pause if paused else control.resume)(self.town.app, "schedule-referral")

    # --- what holds always

    def _pass(self, **options: Any) -> bool:
        """A pass, whatever the server does to it: True where it went through."""
        before = {t.id: t for t in self.town.tasks()}
        self.ehr.clear_requests()
        self.clock.advance(timedelta(seconds=2))
        try:
            report = self.town.app.sync(**options)
        except Unsafe:
            return False
        assert report.failed == 0, [s.errors for s in report.sources]
        for asked in self.ehr.sent("PUT"):
            id = asked.path.rpartition("/")[2]
            assert asked.type not in ("Task", "CarePlan") or id.startswith(("b-", "bp-")), asked.path
        self._justified(before)
        self._foreign_versions()
        self._hers_stand()
        return not any(source.failed for source in report.sources)

    def _justified(self, before: dict[str, Task]) -> None:
        """Whatever opened or ended in this pass, did so by what the EHR holds, not by what it hid."""
        for task in self.town.tasks():
            if not task.focus.startswith("ServiceRequest/") or task.code != "schedule-referral":
                continue
            for event in self.town.ledger.task_events(task.id)[
                before[task.id].row_version if task.id in before else 0 :
            ]:
                if event.kind is EventKind.OPENED:
                    assert self._needed(task.focus), f"{task.focus} opened without need"
                elif event.kind is EventKind.COMPLETED:
                    assert self._booked(task.focus), f"{task.focus} completed without a visit"

    def _needed(self, focus: str) -> bool:
        held = self.ehr.get(focus)
        return held is not None and held["status"] in ("active", "on-hold") and not self._booked(focus)

    def _booked(self, focus: str) -> bool:
        found = self.ehr.get(f"Appointment/v{focus.partition('/o')[2]}")
        return found is not None and found["status"] == "booked"

    def _foreign(self) -> None:
        """Work of another application, beside Baton's."""
        about = {"for": {"reference": "Patient/p1"}, "intent": "order", "status": "requested"}
        self.ehr.put({"resourceType": "Task", "id": "b-not-ours-1", **about})
        subject = {"subject": {"reference": "Patient/p1"}, "intent": "plan", "status": "active"}
        self.ehr.put({"resourceType": "CarePlan", "id": "bp-not-ours-1", **subject})
        self._foreign_versions()

    def _foreign_versions(self) -> None:
        for ref in ("Task/b-not-ours-1", "CarePlan/bp-not-ours-1"):
            assert all("identifier" not in (version.resource or {}) for version in self.ehr.versions(ref))
            assert (self.ehr.get(ref) or {}).get("status") in ("requested", "active")

    # --- what holds when everything has come to rest

    def _settled(self) -> None:
        self.ehr.faults.clear()
        self.ehr.deliver_late()
        self.ehr.habits = Habits(
            truncate_at=self.ehr.habits.truncate_at,
            whole_days=self.ehr.habits.whole_days,
            tags=self.ehr.habits.tags,
        )
        for who in PEOPLE:
            self.ehr.edit(f"Patient/{who}", deceasedBoolean=None)
        control.resume(self.town.app, "schedule-referral")
        if not self._pass() and self._is_unsafe():
            self._take_over()
        for _ in range(3):
            self.clock.advance(2 * DAY)
            assert self._pass(sweep=True)
        self._quiet()
        self._rebuilt()
        self._one_task_per_need()
        self._as_needed()
        self._hers_stand()
        self.ehr.touch_all()
        self._quiet()
        self._a_fresh_ledger_agrees()

    def _a_fresh_ledger_agrees(self) -> None:
        """Whatever was polled in whatever order: who comes new to this EHR leaves it as it is."""
        said = {body["id"]: body["status"] for body in self.ehr.all("Task")}
        touched = {task.focus for task in self.town.tasks() if f"Task/{task.id}" in self.touched}
        held = {task.focus for task in self.town.tasks() if task.closed_by == "command"} | touched
        self.made += 1
        self.town.start(f"fresh{self.made}.db")
        self._take_over()
        for _ in range(2):
            self.clock.advance(timedelta(minutes=5))
            assert self._pass()
        now = {body["id"]: body["status"] for body in self.ehr.all("Task")}
        assert {id: now.get(id) for id in said} == said
        assert {task.focus for task in self.town.tasks() if task.id not in said} <= held

    def _is_unsafe(self) -> bool:
        try:
            self.town.sync()
        except Unsafe:
            return True
        return False

    def _quiet(self) -> None:
        """A pass more writes nothing; that holds for the second at the latest, after what time alone has brought."""
        for last in (False, True):
            self.ehr.clear_requests()
            self.clock.advance(timedelta(seconds=2))
            report = self.town.app.sync()
            if not report.tasks and not self._task_writes():
                return
            assert not last, (report.tasks, [(r.path, r.status) for r in self.ehr.sent("PUT")])

    def _rebuilt(self) -> None:
        ledger = self.town.ledger
        assert ledger.check() == []
        before = self.town.tasks()
        ledger.rebuild()
        assert self.town.tasks() == before

    def _one_task_per_need(self) -> None:
        found: Counter[str] = Counter()
        rows = {task.id: task for task in self.town.tasks()}
        for body in self.ehr.all("Task"):
            own = [i["value"] for i in body.get("identifier", []) if i.get("system") == OWN]
            if not own:
                continue
            row = rows[body["id"]]
            assert row.status.value == body["status"], (row, body)
            found[own[0]] += row.open
        assert all(count <= 1 for count in found.values()), found
        for task in rows.values():
            assert not task.open or self.ehr.get(f"Task/{task.id}") is not None, "open work that nobody sees"

    def _as_needed(self) -> None:
        """Of orders whose work nobody touched: exactly those have an open task that need one."""
        by_focus: dict[str, list[Task]] = {}
        for task in self.town.tasks("schedule-referral"):
            by_focus.setdefault(task.focus, []).append(task)
        for body in self.ehr.all("ServiceRequest"):
            focus = f"ServiceRequest/{body['id']}"
            tasks = by_focus.get(focus, [])
            if any(f"Task/{task.id}" in self.touched or task.closed_by == "command" for task in tasks):
                continue
            if body["status"] == "on-hold":
                continue  # opens nothing, and ends nothing that is open
            there = sum(task.open for task in tasks)
            assert there == int(self._needed(focus)), (focus, body["status"], self._booked(focus), tasks)

    def _hers_stand(self) -> None:
        for ref, said in self.hers.items():
            held = self.ehr.get(ref)
            assert held is not None, ref
            for element, value in said.items():
                there = held["restriction"]["period"]["end"] if element == "due" else held.get(element)
                if element == "status" and value in ("in-progress", "accepted"):
                    continue  # work that was begun may end by evidence, two quiet business days later
                if element == "due" and self.ehr.habits.whole_days:
                    continue
                assert there == value, (ref, element, value, there)

    # --- small things

    def _take_over(self) -> bool:
        done = self._pass(take_over=True)
        self.clock.advance(timedelta(minutes=3))
        return done

    def _task_writes(self) -> list[str]:
        return [r.path for r in self.ehr.sent("PUT") if r.type in ("Task", "CarePlan")]

    def _some(self, kind: str, number: int) -> str | None:
        found = sorted(one["id"] for one in self.ehr.all(kind))
        return f"{kind}/{found[number % len(found)]}" if found else None

    def _open_work(self) -> list[dict[str, Any]]:
        return [
            one
            for one in self.ehr.all("Task")
            if any(i.get("system") == OWN for i in one.get("identifier", []))
            and one["status"] in ("requested", "in-progress", "accepted")
        ]

    def _some_task(self, number: int) -> str | None:
        found = sorted(one["id"] for one in self._open_work())
        return f"Task/{found[number % len(found)]}" if found else None

    def _visit(self, ref: str, status: str, days: int) -> None:
        id = ref.partition("/")[2]
        who = (self.ehr.get(ref) or {})["subject"]["reference"].partition("/")[2]
        at = self.clock.now() + (days + 60) * DAY
        self.ehr.put(visit(f"v{id[1:]}", who, of=id, at=at, status=status))


def _value(act: str, way: int, clock: FixedClock) -> Any:
    choices: dict[str, Callable[[], Any]] = {
        "status": lambda: ("in-progress", "completed", "rejected", "accepted")[way % 4],
        "owner": lambda: {"reference": f"Practitioner/n{way % 3}"},
        "businessStatus": lambda: {"coding": [{"code": ("left-message", "attempted")[way % 2]}]},
        "due": lambda: text(clock.now() + (way + 40) * DAY),
        "note": lambda: None,
    }
    return choices[act]()


def test_whatever_happens() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=24,
        deadline=None,
        suppress_health_check=checks,
        database=None,
        derandomize="BATON_EXAMPLES" not in os.environ,  # the same few in every `make test`
        report_multiple_bugs=False,
        phases=(Phase.generate,) if EXAMPLES > 50 else tuple(Phase),
    )
    run_state_machine_as_test(Ward, settings=profile)
