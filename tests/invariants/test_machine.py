"""A small hospital in which anything may happen, in any order; what has to hold holds all the same.

The hospital books, cancels and revokes, a coordinator works on her list, the server has its habits and bad days,
Baton is killed, started anew, put back to an older ledger, and meets a second one that took over.
``BATON_EXAMPLES`` makes more of it; ``BATON_SHRINK=0`` stops at the first failure, as it is.
"""

from __future__ import annotations

import copy
import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from adapter import control
from adapter.clock import FixedClock
from adapter.errors import BatonError, Unsafe
from adapter.ledger import SourceRow
from adapter.model import Task
from adapter.sandbox import Habits, Sandbox
from adapter.sandbox.messages import Incoming
from tests.consistency.hospital import DAY, START, Hospital, order, patient, text, visit
from tests.invariants.watch import LATE, OWN, Watch

EXAMPLES = int(os.environ.get("BATON_EXAMPLES", "5"))
#: Whether a failure is made as short as can be, which takes minutes.
SHRINKS = os.environ.get("BATON_SHRINK", "1" if EXAMPLES <= 50 else "0") == "1"
PEOPLE = ("p1", "p2", "p3")
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
        self.town.ledger.save_source(SourceRow(name="general", key="ward"))  # else each ledger draws its own
        self.orders = self.made = 0
        self.copies: list[str] = []
        self.hers: dict[str, dict[str, Any]] = {}
        self.touched: set[str] = set()
        self.theirs: dict[str, Any] = {}
        self.copied: set[str] = set()
        self.ordered: dict[str, datetime] = {}
        self.bad_day = False
        self.watch = Watch(self.town, self.ehr)
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

    @rule(
        who=st.sampled_from(PEOPLE),
        days=st.integers(0, 12),
        hurried=st.booleans(),
        dated=st.sampled_from([1, 1, 0]),
    )
    def orders_something(self, who: str, days: int, hurried: bool, dated: int = 1) -> None:
        self.orders += 1
        more = {"priority": "urgent"} if hurried else {}
        made = order(f"o{self.orders}", who, **more)
        made["authoredOn"] = text(self.clock.now() - days * DAY)
        if not dated:
            del made["authoredOn"]
        self.ehr.put(made)
        self.ordered[f"ServiceRequest/o{self.orders}"] = self.clock.now() - days * DAY
        self._happened(f"ServiceRequest/o{self.orders}")

    @rule(number=numbers, status=st.sampled_from(["active", "revoked", "on-hold", "active"]))
    def changes_an_order(self, number: int, status: str) -> None:
        if ref := self._some("ServiceRequest", number):
            self.ehr.edit(ref, status=status)
            self._happened(ref)

    @rule(number=numbers)
    def garbles_an_order(self, number: int) -> None:
        """Its newest version cannot be used: what it says is unknown until somebody mends it."""
        if ref := self._some("ServiceRequest", number):
            self.ehr.edit(ref, status=None)
            self._happened(ref)

    @rule(number=numbers, days=st.integers(1, 30))
    def books(self, number: int, days: int) -> None:
        if ref := self._some("ServiceRequest", number):
            self._visit(ref, "booked", days)

    @rule(number=numbers, times=st.integers(1, 3))
    def books_and_cancels(self, number: int, times: int) -> None:
        """A visit that comes and goes, a few days each time."""
        if ref := self._some("ServiceRequest", number):
            for _ in range(times):
                self._visit(ref, "booked", 10)
                self._pass()
                self._visit(ref, "cancelled", 10)
                for _ in range(2):
                    self.clock.advance(DAY)
                    self._pass()

    @rule(number=numbers, status=st.sampled_from(["cancelled", "booked"]))
    def changes_a_visit(self, number: int, status: str) -> None:
        if ref := self._some("Appointment", number):
            self.ehr.edit(ref, status=status)
            self._happened(ref)

    @rule(number=numbers, who=st.sampled_from(PEOPLE))
    def gives_an_order_to_another(self, number: int, who: str) -> None:
        ref = self._some("ServiceRequest", number)
        if ref and not self.ehr.get(f"Appointment/v{ref.partition('/o')[2]}"):
            self.ehr.edit(ref, subject={"reference": f"Patient/{who}"})
            self.watch.moved.add(ref)
            self._happened(ref)

    @rule(who=st.sampled_from(PEOPLE), dead=st.booleans())
    def is_said_to_be_dead(self, who: str, dead: bool) -> None:
        self._dies(who, dead)

    @rule(who=st.sampled_from(PEOPLE), hours=st.integers(0, 3))
    def is_said_to_be_dead_by_mistake(self, who: str, hours: int) -> None:
        """It is put right the same day: work waits meanwhile, and nothing of it is lost."""
        self._dies(who, True)
        self._pass()
        self.clock.advance(timedelta(hours=hours))
        self._pass()
        self._dies(who, False)
        self._pass()

    def _dies(self, who: str, dead: bool) -> None:
        self.ehr.edit(f"Patient/{who}", deceasedBoolean=dead or None)
        self.watch.died(f"Patient/{who}", dead)

    @rule(loser=st.sampled_from(PEOPLE[:2]), silently=st.booleans(), moved=st.booleans())
    def merges(self, loser: str, silently: bool, moved: bool) -> None:
        """Into the third, with the orders and visits or without, with new versions or in place."""
        kinds = ("ServiceRequest", "Appointment") if moved else ()
        self.watch.merged(f"Patient/{loser}", "Patient/p3", kinds, silently=silently)
        self.ehr.merge(f"Patient/{loser}", "Patient/p3", repoint=kinds, silently=silently)

    @rule(who=st.sampled_from(PEOPLE))
    def parts_again(self, who: str) -> None:
        self.ehr.edit(f"Patient/{who}", link=None, active=True)
        self.watch.changed()

    @rule(kind=st.sampled_from(["", "ServiceRequest", "Appointment", "Task"]))
    def touches_everything(self, kind: str) -> None:
        self.ehr.touch_all(kind)
        self._foreign_versions()

    @rule(minutes=st.integers(0, 6))
    def works_on_during_a_long_walk(self, minutes: int) -> None:
        """A walk of several pages takes longer than any overlap, and what it has shown, and will show, changes."""
        while self.orders < 7:
            self.orders += 1
            self.ehr.put(order(f"o{self.orders}", PEOPLE[0], status="draft"))
            self.ordered[f"ServiceRequest/o{self.orders}"] = self.clock.now()
        self.ehr.touch_all("ServiceRequest")
        pages = itertools.count()

        def meanwhile(asked: Incoming) -> bool:
            if asked.method == "GET" and asked.type in ("ServiceRequest", "") and "_id" not in asked.query:
                self.clock.advance(timedelta(minutes=minutes))
                number = next(pages)
                ref = f"ServiceRequest/o{1 if number < 2 else self.orders}"
                if number and self.ehr.get(ref):
                    self.ehr.edit(ref, reasonCode=[{"text": f"seen {number} {self.clock.now()}"}])
            return False

        fault = self.ehr.faults.plan("drop", where=meanwhile)
        self._pass(meanwhile=True)
        fault.left = 0
        self._pass()

    # --- the coordinator

    @rule(
        number=numbers,
        act=st.sampled_from(["status", "owner", "businessStatus", "due", "note", "delete", "error"]),
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
        before=st.sampled_from(["GET", "PUT"]),
    )
    def works_between_a_read_and_a_write(
        self, number: int, act: str, way: int, late: bool, before: str
    ) -> None:
        """Just before Baton reads a Task to write it, or writes it; and something makes it write, twice."""
        done: list[str] = []

        def hers(asked: Incoming) -> bool:
            ref = f"Task/{asked.path.rpartition('/')[2]}"
            if not done and asked.method == before and asked.type == "Task" and self._is_open_work(ref):
                done.append(ref)
                self._works_on(ref, act, way)
            return False

        fault = self.ehr.faults.plan("drop", where=hers)
        ref = self._some_task(number)
        focus = (self.ehr.get(ref) or {}).get("focus", {}).get("reference", "") if ref else ""
        for more in ({"priority": "asap" if late else "urgent"}, {}):
            if focus.startswith("ServiceRequest/") and self.ehr.get(focus):
                self.ehr.edit(focus, code={"text": f"Clinic {way + len(more)}"}, **more)
            self._pass(meanwhile=True)
        fault.left = 0

    @rule(number=numbers, ends=st.booleans(), hours=st.sampled_from([1, 30, 60]))
    def begins_and_is_overtaken(self, number: int, ends: bool, hours: int) -> None:
        """She has begun when the visit is booked, or the order is revoked."""
        ref = self._some_task(number)
        focus = (self.ehr.get(ref) or {}).get("focus", {}).get("reference", "") if ref else ""
        if not ref or not focus.startswith("ServiceRequest/") or not self.ehr.get(focus):
            return
        self._works_on(ref, "status", 0)
        if ends:
            self.ehr.edit(focus, status="revoked")
            self._happened(focus)
        else:
            self._visit(focus, "booked", 5)
        self._pass()
        self.clock.advance(timedelta(hours=hours))
        self._pass()

    @rule(number=numbers, back=st.integers(1, 3))
    def saves_a_form_of_long_ago(self, number: int, back: int) -> None:
        """With all that stood in it then: what is Baton's is put right."""
        ref = self._some_task(number)
        if not ref or ref in self.touched or self.ehr.habits.whole_days or self.bad_day or not self._pass():
            return
        versions = self.ehr.versions(ref)
        if len(versions) <= back or versions[-1 - back].resource is None:
            return
        now = self.ehr.get(ref) or {}
        self.ehr.save_stale(ref, versions[-1 - back].label)
        if self._pass() and self._pass():
            after = self.ehr.get(ref) or {}
            if after.get("status") == now.get("status") == "requested":
                assert after["restriction"] == now["restriction"], (ref, "an old due date of ours came back")

    @rule(number=numbers)
    def copies_a_task(self, number: int) -> None:
        """The EHR's "Duplicate" button, with all identifiers."""
        if (ref := self._some_task(number)) and len(self.watch.copies) < 2:
            self.watch.copies.add(f"Task/{self.ehr.duplicate(ref)['id']}")
            self.copied.add(ref)

    @rule(way=numbers)
    def adds_to_a_plan(self, way: int) -> None:
        """A clinician adds to Baton's care plan what is hers."""
        for plan in self.ehr.all("CarePlan"):
            if plan["id"].startswith("bp-") and "identifier" in plan:
                ref, detail = (
                    f"CarePlan/{plan['id']}",
                    {"status": "in-progress", "description": f"Her own {way}"},
                )
                self.ehr.edit(ref, activity=[*plan.get("activity", []), {"detail": detail}])
                self.theirs[ref] = detail

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
            self.watch.person_deleted(ref)
            return
        act, value = ("status", "entered-in-error") if act == "error" else (act, _value(act, way, self.clock))
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
        if held.get(act) != value:  # what was there before is no touch that anybody could see
            self.watch.person_set(ref, act, value)

    # --- the server

    @rule(name=st.sampled_from(sorted(HABITS)), other=st.booleans())
    def has_a_habit(self, name: str, other: bool) -> None:
        setattr(self.ehr.habits, name, HABITS[name][int(other)])

    @rule(number=numbers, plans=st.booleans())
    def loses_a_task(self, number: int, plans: bool) -> None:
        """It was acknowledged, and is gone without a trace, alone or with its plan: nobody deleted it."""
        ref = self._some_task(number)
        if not ref or ref in self.touched | self.copied | self.watch.vanished:
            return  # what is lost twice counts as deleted; where only a copy is left, a person has to say
        naming = {f"CarePlan/{p['id']}" for p in self.ehr.all("CarePlan") if ref in str(p.get("activity"))}
        if not naming & set(self.theirs):
            self._lose(ref, *(naming if plans else ()))

    def _lose(self, *refs: str) -> None:
        state = copy.deepcopy(self.ehr.snapshot())
        for ref in refs:
            state.chains.pop(ref, None)
            self.watch.lost(ref)
        self.ehr.restore(state)

    @rule()
    def finds_nothing(self) -> None:
        """For the length of a pass everything is 404, as behind a lost route or tenant: nothing was deleted."""
        before = {task.id: (task.status, task.gone) for task in self.town.tasks()}
        self.ehr.habits.missing = "outcome"
        self._pass()
        self.ehr.habits.missing = ""
        assert {task.id: (task.status, task.gone) for task in self.town.tasks()} == before

    @rule(number=numbers)
    def breaks_a_row(self, number: int) -> None:
        """One row is no JSON: the page that holds it does not parse, and all others count."""
        ref = self._some("ServiceRequest", number)
        self.ehr.habits.poison = frozenset({ref}) if ref and not self.ehr.habits.poison else frozenset()

    @rule(number=numbers, status=st.sampled_from(["revoked", "active"]))
    def hides_a_change(self, number: int, status: str) -> None:
        """A new version is stamped hours back: no poll shows it."""
        if ref := self._some("ServiceRequest", number):
            held = self.ehr.habits.updated_back
            self.ehr.habits.updated_back = LATE
            self.ehr.edit(ref, status=status)
            self.ehr.habits.updated_back = held
            self.watch.hidden.add(ref)
            self._happened(ref)

    @rule(type=st.sampled_from(REFUSED), status=st.sampled_from([403, 500]))
    def refuses_a_type(self, type: str, status: int) -> None:
        self.ehr.habits.refused = {type: status}

    @rule()
    def refuses_nothing(self) -> None:
        self.ehr.habits.refused = {}

    @rule(seed=st.integers(0, 999), rate=st.sampled_from([0.02, 0.1, 0.3]))
    def has_a_bad_day(self, seed: int, rate: float) -> None:
        self.ehr.faults.at_random(seed=seed, rate=rate, kinds=KINDS)  # type: ignore[arg-type]
        self.bad_day = True

    @rule()
    def has_a_good_day(self) -> None:
        self.ehr.faults.clear()
        self.bad_day = False

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
    def a_season_passes(self) -> None:
        """Nothing ends by the clock alone."""
        self.clock.advance(100 * DAY)
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
        self.watch.new_ledger()
        self.town.start(name)
        self._take_over()

    @rule()
    def is_taken_over(self) -> None:
        """A second Baton with a ledger of its own takes over while the first goes on: that one stops by itself."""
        first = self.town.app
        self.watch.new_ledger()
        self.copies.append(self.town.ledger_name)
        del self.town.app
        self.made += 1
        self.town.start(f"second{self.made}.db")
        try:
            taken = self._take_over()
            before = self._task_writes()
            if taken:
                for body in self._open_work():  # there is something to write
                    focus = body.get("focus", {}).get("reference", "")
                    if focus.startswith("ServiceRequest/") and self.ehr.get(focus):
                        self.ehr.edit(focus, code={"text": f"Clinic {self.made}"})
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

    def _pass(self, *, meanwhile: bool = False, **options: Any) -> bool:
        """A pass, whatever the server does to it: True where it went through; ``meanwhile``: while work goes on."""
        before = {t.id: t for t in self.town.tasks()}
        self.ehr.clear_requests()
        self.clock.advance(timedelta(seconds=2))
        self.watch.before_pass()
        try:
            report = self.town.app.sync(**options)
        except Unsafe:
            return False
        assert report.failed == 0, [s.errors for s in report.sources]
        for asked in self.ehr.sent("PUT"):
            id = asked.path.rpartition("/")[2]
            assert asked.type not in ("Task", "CarePlan") or id.startswith(("b-", "bp-")), asked.path
        habits = self.ehr.habits
        odd = habits.truncate_at or habits.whole_days or habits.tags != "merged" or habits.missing
        quiet = not (self.bad_day or odd or habits.refused or meanwhile)
        through = not any(source.failed for source in report.sources)
        self.watch.after_pass(before, through=through, quiet=quiet)
        self._foreign_versions()
        self._hers_stand()
        return through

    def _happened(self, ref: str) -> None:
        """Something happened to an order, or to the visit of one."""
        kind, _, id = ref.partition("/")
        self.watch.changed(ref if kind == "ServiceRequest" else f"ServiceRequest/o{id[1:]}")

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
        self.bad_day = False
        for who in PEOPLE:
            self._dies(who, False)
        for body in self.ehr.all("ServiceRequest"):
            if "status" not in body:
                self.ehr.edit(f"ServiceRequest/{body['id']}", status="active")
                self._happened(f"ServiceRequest/{body['id']}")
        control.resume(self.town.app, "schedule-referral")
        self._goes_on()
        self.clock.advance(4 * DAY)  # a business day, at least, without a sweep
        self._goes_on()
        assert self._pass()
        self.watch.agrees(open_work_only=True)
        for _ in range(2):
            self.clock.advance(2 * DAY)
            assert self._pass(sweep=True)
        self.watch.agrees()
        self._quiet()
        self._rebuilt()
        self._one_task_per_need()
        self._as_needed()
        self._hers_stand()
        self._theirs_stand()
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

    def _goes_on(self) -> None:
        """A pass; where so much was lost that the EHR may have been restored, a person says go."""
        if not self._pass() and self._is_unsafe():
            self._take_over()

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
            if not own or f"Task/{body['id']}" in self.watch.copies:
                continue
            row = rows[body["id"]]
            if row.gone:
                assert body["status"] == "entered-in-error", (row, body)
                continue
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
            if body["status"] == "on-hold" or len(tasks) >= 3:
                continue  # opens nothing, and ends nothing that is open; or may wait since it came and went
            there = sum(task.open for task in tasks)
            if not there and self.clock.now() - self.ordered[focus] > 170 * DAY:
                continue  # what ended so late does not open again: nobody acts on an order of half a year ago
            assert there == int(self.watch.needed(focus)), (
                focus,
                body["status"],
                self.watch.booked(focus),
                tasks,
            )

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

    def _theirs_stand(self) -> None:
        for ref, detail in self.theirs.items():
            plan = self.ehr.get(ref)
            assert plan is not None and {"detail": detail} in plan.get("activity", []), (ref, detail, plan)

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
            and one["id"].startswith("b-")
            and one["status"] in ("requested", "in-progress", "accepted")
        ]

    def _is_open_work(self, ref: str) -> bool:
        return any(f"Task/{one['id']}" == ref for one in self._open_work())

    def _some_task(self, number: int) -> str | None:
        found = sorted(one["id"] for one in self._open_work())
        return f"Task/{found[number % len(found)]}" if found else None

    def _visit(self, ref: str, status: str, days: int) -> None:
        id = ref.partition("/")[2]
        who = (self.ehr.get(ref) or {})["subject"]["reference"].partition("/")[2]
        at = self.clock.now() + (days + 60) * DAY
        self.ehr.put(visit(f"v{id[1:]}", who, of=id, at=at, status=status))
        self._happened(ref)


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
        phases=tuple(Phase) if SHRINKS else (Phase.generate,),
    )
    run_state_machine_as_test(Ward, settings=profile)
